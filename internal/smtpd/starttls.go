package smtpd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// handleStartTLS (RFC 3207). What the peer sent in plaintext behind the command is dropped, so that nobody on the way can
// put commands before those of the TLS session; the dialogue begins anew.
func (c *Conn) handleStartTLS(args []byte) {
	switch {
	case len(args) > 0:
		c.mistake(501, "5.5.4", "STARTTLS has no arguments")
		return
	case c.tls != nil:
		c.mistake(503, "5.5.1", "TLS is active")
		return
	case c.server.cfg.TLS == nil:
		c.mistake(502, "5.5.1", "STARTTLS is not offered here")
		return
	case c.mail:
		c.mistake(503, "5.5.1", "not during a transaction")
		return
	case c.authenticated:
		c.mistake(503, "5.5.1", "not after AUTH")
		return
	}
	c.reply(220, "2.0.0", "go ahead")
	if err := c.flush(); err != nil {
		c.failed(err)
		return
	}
	c.in.drop()
	if err := c.handshake(); err != nil {
		c.end("TLS handshake failed")
		return
	}
	c.helo, c.esmtp = "", false
	c.session.Reset()
}

// handshake puts TLS over the connection.
func (c *Conn) handshake() error {
	conn := tls.Server(c.raw, c.server.cfg.TLS)
	timeout := c.server.cfg.Timeouts.Handshake
	c.raw.SetDeadline(time.Now().Add(timeout))
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	c.server.stats.handshakes.Add(1)
	if err := conn.HandshakeContext(ctx); err != nil {
		c.server.stats.failedHandshakes.Add(1)
		c.log.LogAttrs(c.ctx, slog.LevelInfo, "TLS handshake failed", obs.Client(c.client), obs.Error(err))
		c.writeErr = errWrite // Nothing can be said any more.
		return err
	}
	c.raw.SetDeadline(time.Time{})
	state := conn.ConnectionState()
	c.conn, c.in.conn, c.tls = conn, conn, &state
	return nil
}
