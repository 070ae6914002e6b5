package pop3

import (
	"bytes"
	"strconv"
)

// stat tells how many messages are left and their size (RFC 1939 §5).
func (c *session) stat(args []byte) result {
	if r, fine := c.noArgs(args); !fine {
		return r
	}
	b := append(c.out.take(), "+OK "...)
	b = numbers(b, int64(c.drop.left), c.drop.size)
	c.out.give(append(b, "\r\n"...))
	return good
}

// list tells sizes, of one message or of all (RFC 1939 §5): octets as RETR sends them, dots not counted twice.
func (c *session) list(args []byte) result {
	return c.listing(args, func(b []byte, _ *maildrop, m *message) []byte { return strconv.AppendInt(b, m.size, 10) })
}

// uidl tells unique ids (RFC 1939 §7): what the message was called where it was imported from, or else UIDVALIDITY and UID, so
// that none is ever used again.
func (c *session) uidl(args []byte) result {
	return c.listing(args, func(b []byte, d *maildrop, m *message) []byte {
		if kept, ok := d.kept[m.uid]; ok {
			return append(b, kept...)
		}
		return hex32(hex32(b, d.validity), uint32(m.uid))
	})
}

// hex32 appends eight hexadecimal digits.
func hex32(b []byte, v uint32) []byte {
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}

// listing answers about one message in the reply itself, about all in lines behind it.
func (c *session) listing(args []byte, item func(b []byte, d *maildrop, m *message) []byte) result {
	line := func(b []byte, n int) []byte {
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, ' ')
		return append(item(b, c.drop, &c.drop.messages[n-1]), "\r\n"...)
	}
	if args = bytes.TrimSpace(args); len(args) > 0 {
		n, m, r := c.message(args)
		if m == nil {
			return r
		}
		c.out.give(line(append(c.out.take(), "+OK "...), n))
		return good
	}
	b := append(c.out.take(), "+OK "...)
	b = append(numbers(b, int64(c.drop.left), c.drop.size), " octets\r\n"...)
	for i := range c.drop.messages {
		if c.drop.messages[i].state&deleted != 0 {
			continue
		}
		if b = line(b, i+1); len(b) >= outputBuffer {
			c.out.give(b)
			b = c.out.take()
		}
	}
	c.out.give(append(b, ".\r\n"...))
	return good
}

// message reads a message number; m is nil where there is none, and r has been answered then.
func (c *session) message(arg []byte) (n int, m *message, r result) {
	n, ok := number(arg)
	if !ok {
		return 0, nil, c.out.misused("that is no message number")
	}
	if m = c.drop.find(n); m == nil {
		return n, nil, c.out.fail("", "no such message")
	}
	return n, m, good
}
