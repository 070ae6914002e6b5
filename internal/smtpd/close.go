package smtpd

import (
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// recover turns a panic into the end of this connection.
func (c *Conn) recover() {
	p := recover()
	if p == nil {
		return
	}
	c.server.stats.panics.Add(1)
	c.log.LogAttrs(c.ctx, slog.LevelError, "panicked", slog.Any("panic", p), obs.Stack(debug.Stack()))
	c.out = c.out[:min(c.answered, len(c.out))] // What a half-done command left is no reply.
	c.reply(421, "4.3.0", "internal error")
	c.end("panic")
}

// close is the last thing that happens to a connection.
func (c *Conn) close() {
	if c.endReason != "drained" && c.writeErr == nil {
		c.lastFlush()
	}
	c.flush()
	c.closeSession()
	c.conn.Close()
	c.in.release()
	c.log.LogAttrs(c.ctx, slog.LevelInfo, "disconnected", obs.Client(c.client), obs.Reason(c.endReason), obs.Count(c.messages))
}

// lastFlush sends the last replies and, where the peer has sent more than we read, lets it read them: closing a socket
// with unread octets resets it, and the peer would lose the reply that tells why.
func (c *Conn) lastFlush() {
	const patience, most = 500 * time.Millisecond, 1 << 20
	if c.flush() != nil || len(c.in.buffered()) == 0 {
		return
	}
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(patience))
	for n := 0; n < most; {
		c.in.drop()
		m, err := c.conn.Read(c.in.buf)
		if n += m; err != nil {
			return
		}
	}
}

// closeSession ends an open message and the session, whatever state a panic left them in.
func (c *Conn) closeSession() {
	defer func() {
		if p := recover(); p != nil {
			c.log.LogAttrs(c.ctx, slog.LevelError, "panicked", slog.Any("panic", p), obs.Stack(debug.Stack()))
		}
	}()
	if c.session == nil {
		return
	}
	c.resetTransaction()
	c.session.Close()
}

// resetTransaction forgets sender, recipients and any open message.
func (c *Conn) resetTransaction() {
	open := c.mail
	c.mail, c.utf8, c.declared, c.rcpts, c.deadline = false, false, 0, 0, time.Time{}
	clear(c.batch)
	c.batch = c.batch[:0]
	c.chunks.abort()
	if open {
		c.session.Reset()
	}
}
