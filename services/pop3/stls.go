package pop3

import (
	"log/slog"
)

// stls changes to TLS (RFC 2595 §4). What was sent in the clear behind the command is dropped, not executed, and what the
// client said before is forgotten.
func (c *session) stls(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	switch {
	case c.secure:
		return c.out.misused("TLS is on already")
	case c.svc.deps.TLS == nil:
		return c.out.misused("no TLS here")
	case c.utf8:
		// RFC 6856 §2: not behind UTF8.
		return c.out.misused("STLS comes before UTF8")
	}
	c.out.ok("begin TLS now")
	if c.out.flush() != nil {
		c.hangUp("write failed")
		return silent
	}
	if c.in.reset(c.raw) {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "plaintext behind STLS dropped")
	}
	c.user = ""
	if !c.handshake() {
		return silent
	}
	return good
}

// utf8On lets headers be UTF-8 (RFC 6856 §2); see downgrade.
func (c *session) utf8On(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	c.utf8 = true
	return c.out.ok("UTF-8 it is")
}
