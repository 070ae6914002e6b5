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

// lastWords is how long a connection that is cut off may take to say 421 and to end, and its peer to read that.
const lastWords = 500 * time.Millisecond

// cutOff ends the connection from outside, at once where it waits for octets of a message or command: the peer is told 421
// (RFC 5321 §3.8) and what it was sending is no message. A reply that is being worked out may still leave. After lastWords
// the connection is closed, whatever it does. It does not block, and may be called again.
func (c *Conn) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastly != nil {
		return
	}
	c.cut.Store(true)
	c.raw.SetReadDeadline(time.Unix(1, 0))
	c.lastly = time.AfterFunc(lastWords, func() { c.raw.Close() })
}

// closed tells cutOff's timer that there is nothing left to close.
func (c *Conn) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastly != nil {
		c.lastly.Stop()
	}
}

// close is the last thing that happens to a connection.
func (c *Conn) close() {
	if c.writeErr == nil {
		c.lastFlush()
	}
	c.flush()
	c.closeSession()
	c.conn.Close()
	c.closed()
	c.in.release()
	c.log.LogAttrs(c.ctx, slog.LevelInfo, "disconnected", obs.Client(c.client), obs.Reason(c.endReason), obs.Count(c.messages))
}

// lastFlush sends the last replies and, where the peer has sent more than we read, lets it read them: closing a socket
// with unread octets resets it, and the peer would lose the reply that tells why. Of a peer that did not ask for the end, for
// we drain or cut it off, we cannot tell what it is sending.
func (c *Conn) lastFlush() {
	const patience, most = 500 * time.Millisecond, 1 << 20
	if c.flush() != nil || len(c.in.buffered()) == 0 && !c.cut.Load() && c.endReason != "drained" {
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
