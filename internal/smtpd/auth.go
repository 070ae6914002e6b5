package smtpd

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// Outcomes of an exchange that are not the mechanism's.
var (
	errCancelled = reply.Permanent(501, "5.7.0", "authentication cancelled")
	errBase64    = reply.Permanent(501, "5.5.2", "base64 expected")
	errFinal     = reply.Permanent(501, "5.5.2", "empty response expected")
	errSteps     = reply.Permanent(535, "5.7.8", "authentication takes too many steps")
)

// handleAuth runs an exchange (RFC 4954 §4). Its lines are never logged.
func (c *Conn) handleAuth(args string) {
	mechanism, initial, hasInitial := strings.Cut(args, " ")
	mechanism = strings.ToUpper(mechanism)
	offered := c.session.AuthMechanisms()
	switch {
	case c.helo == "" || !c.esmtp:
		c.mistake(503, "5.5.1", "say "+c.helloVerb()+" first")
		return
	case c.authenticated:
		c.mistake(503, "5.5.1", "already authenticated")
		return
	case c.mail:
		c.mistake(503, "5.5.1", "not during a transaction")
		return
	case len(offered) == 0 && c.server.cfg.RequireAuth && c.tls == nil:
		c.mistake(538, "5.7.11", "authentication needs encryption: say STARTTLS first")
		return
	case len(offered) == 0:
		c.mistake(502, "5.5.1", "authentication is not offered here")
		return
	case !slices.Contains(offered, mechanism):
		c.mistake(504, "5.5.4", "unknown mechanism")
		return
	}
	var response []byte
	if hasInitial {
		var r *reply.Error
		if response, r = decodeResponse([]byte(initial)); r != nil {
			c.mistake(r.Code, r.Enhanced, r.Text)
			return
		}
	}
	err := c.exchange(mechanism, response)
	switch {
	case err == nil:
		c.authenticated = true
		c.authFailures, c.errors = 0, 0
		c.reply(235, "2.7.0", "authenticated")
	case c.closing:
	default:
		c.authFailed(mechanism, err)
	}
}

// exchange runs the rounds. After an error of the connection c is closing.
func (c *Conn) exchange(name string, response []byte) error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	mechanism, err := c.session.Auth(ctx, name)
	if err != nil {
		return err
	}
	for range maxAuthSteps {
		challenge, done, err := mechanism.Next(response)
		switch {
		case err != nil:
			return err
		case done && len(challenge) == 0:
			return nil
		}
		if response, err = c.challenge(challenge); err != nil {
			return err
		}
		if done {
			if len(response) > 0 {
				return errFinal
			}
			return nil
		}
	}
	return errSteps
}

// challenge sends a challenge and reads the response.
func (c *Conn) challenge(challenge []byte) ([]byte, error) {
	c.out = append(c.out, "334 "...)
	c.out = base64.StdEncoding.AppendEncode(c.out, challenge)
	c.out = append(c.out, '\r', '\n')
	c.trace("sent", []byte("334 ***"))
	c.read = readCommand
	c.lineDeadline = time.Time{}
	line, err := c.in.line(maxAuthLine)
	switch {
	case errors.Is(err, errLongLine):
		return nil, reply.Permanent(500, "5.5.2", "line too long") // RFC 4954 §4
	case err != nil:
		c.failed(err)
		return nil, err
	}
	c.trace("received", []byte("***"))
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	switch {
	case !ok:
		return nil, errBase64
	case string(text) == "*":
		return nil, errCancelled
	case len(text) == 0:
		return []byte{}, nil
	}
	response, r := decodeResponse(text)
	if r != nil {
		return nil, r
	}
	return response, nil
}

// decodeResponse decodes base64; "=" is an empty initial response. It never returns nil without an error.
func decodeResponse(text []byte) ([]byte, *reply.Error) {
	if string(text) == "=" {
		return []byte{}, nil
	}
	response := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(response, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") {
		return nil, errBase64
	}
	return response[:n], nil
}

// authFailed answers a failed exchange: all that go wrong count, since a guess that is cancelled was a guess.
func (c *Conn) authFailed(mechanism string, err error) {
	r := replyOf(err)
	c.server.stats.authFailures.Add(1)
	c.log.LogAttrs(c.ctx, slog.LevelInfo, "authentication failed",
		obs.Client(c.client), slog.String("mechanism", mechanism), obs.Reply(r.String()))
	if r.Code == 451 {
		r = reply.Transient(454, "4.7.0", "temporary authentication failure").Because(err) // RFC 4954 §6
	}
	c.replyError(r)
	if c.authFailures++; c.authFailures >= c.server.cfg.Limits.AuthFailures {
		c.reply(421, "4.7.0", "too many failed authentications")
		c.end("too many failed authentications")
	}
}
