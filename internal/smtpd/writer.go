package smtpd

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// reply appends a reply, one line per line of text. It leaves with the next flush.
func (c *Conn) reply(code int, enhanced, text string) {
	for {
		line, rest, more := strings.Cut(text, "\n")
		start := len(c.out)
		c.out = strconv.AppendInt(c.out, int64(code), 10)
		if more {
			c.out = append(c.out, '-')
		} else {
			c.out = append(c.out, ' ')
		}
		if enhanced != "" {
			c.out = append(c.out, enhanced...)
			c.out = append(c.out, ' ')
		}
		c.out = appendText(c.out, line)
		c.trace("sent", c.out[start:])
		c.out = append(c.out, '\r', '\n')
		if !more {
			break
		}
		text = rest
	}
	if len(c.out) > maxPendingReplies {
		c.flush()
	}
}

// appendText keeps reply lines to printable ASCII and to 512 octets (RFC 5321 §4.5.3.1.5).
func appendText(out []byte, text string) []byte {
	const longest = 480
	for i := 0; i < len(text) && i < longest; i++ {
		if b := text[i]; b < ' ' || b > '~' {
			out = append(out, '?')
		} else {
			out = append(out, b)
		}
	}
	return out
}

// refuse appends the reply for a Backend's error; an error without a verdict goes to the log.
func (c *Conn) refuse(err error) {
	r := replyOf(err)
	if cause := r.Unwrap(); cause != nil && r.Code == 451 {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "refused for now", obs.Reply(r.String()), obs.Error(cause))
	}
	c.replyError(r)
}

func (c *Conn) replyError(r *reply.Error) { c.reply(r.Code, r.Enhanced, r.Text) }

// mistake is a reply to a peer's protocol error; many of them end the connection.
func (c *Conn) mistake(code int, enhanced, text string) {
	c.reply(code, enhanced, text)
	c.errors++
	c.endIfTooMany()
}

func (c *Conn) endIfTooMany() {
	l := &c.server.cfg.Limits
	if !c.closing && (c.errors >= l.Errors || c.refused >= l.Refused) {
		c.reply(421, "4.7.0", "too many errors")
		c.end("too many errors")
	}
}

// end closes the connection once the replies so far have left.
func (c *Conn) end(reason string) {
	c.closing = true
	if c.endReason == "" {
		c.endReason = reason
	}
}

// errWrite is a peer that does not take our replies.
var errWrite = errors.New("write")

// flush sends all replies so far in one write. The first error sticks and ends the connection.
func (c *Conn) flush() error {
	if c.writeErr != nil {
		c.out = c.out[:0]
		return c.writeErr
	}
	if len(c.out) == 0 {
		return nil
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.server.cfg.Timeouts.Write))
	if _, err := c.conn.Write(c.out); err != nil {
		c.writeErr = errors.Join(errWrite, err)
	}
	c.out, c.answered = c.out[:0], 0
	if cap(c.out) > smallBuffer {
		c.out = nil // One long batch does not make the connection large for ever.
	}
	return c.writeErr
}

// trace logs a line of the dialogue; bodies never come here, and lines of AUTH come masked.
func (c *Conn) trace(event string, line []byte) {
	if c.tracing() {
		c.log.LogAttrs(c.ctx, slog.LevelDebug, event, slog.String("line", string(line)))
	}
}

func (c *Conn) tracing() bool { return c.log.Enabled(c.ctx, slog.LevelDebug) }
