package pop3

import "bytes"

// dele marks a message; QUIT removes it (RFC 1939 §5).
func (c *session) dele(args []byte) result {
	_, m, r := c.message(bytes.TrimSpace(args))
	if m == nil {
		return r
	}
	m.state |= deleted
	c.drop.left--
	c.drop.size -= m.size
	return c.out.ok("marked")
}

// rset takes all marks back.
func (c *session) rset(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	d := c.drop
	d.left, d.size = 0, 0
	for i := range d.messages {
		d.messages[i].state &^= deleted
		d.left++
		d.size += d.messages[i].size
	}
	return c.out.ok("nothing is marked")
}

// noop does nothing, and keeps the session from being logged out.
func (c *session) noop(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	return c.out.ok("still here")
}
