package smtpd

import (
	"strconv"
	"strings"
)

// chunkState is a message that arrives by BDAT.
type chunkState struct {
	receiver
	check chunkChecker
}

func (s *chunkState) abort() {
	s.receiver.abort()
	*s = chunkState{}
}

// handleBdat takes a chunk (RFC 3030 §2). Its octets are read whatever the reply, since the next command stands behind
// them; where that cannot be done the connection ends, so that they are never taken for commands.
func (c *Conn) handleBdat(args string) {
	size, last, ok := parseBdat(args)
	if !ok {
		c.reply(501, "5.5.4", "BDAT size [LAST] expected")
		c.end("unreadable BDAT")
		return
	}
	if size > c.server.cfg.Limits.MessageBytes+maxSkippedChunk {
		c.refuseChunk(tooLarge(c.server.cfg.Limits.MessageBytes), last)
		c.end("chunk too large")
		return
	}
	if c.chunks.msg == nil && !c.openChunks(last) {
		if err := c.readChunk(size, nil); err != nil {
			c.failed(err)
		}
		return
	}
	if err := c.readChunk(size, &c.chunks); err != nil {
		c.chunks.abort() // A message cut short is none.
		c.failed(err)
		return
	}
	r := &c.chunks.receiver
	switch err := r.problem(); {
	case err != nil:
		// The transaction is over: chunks that were pipelined behind this one get 503.
		c.refuseChunk(err, last)
		c.refusedMessage()
	case last:
		c.chunks.check.end()
		r.fault |= c.chunks.check.fault
		c.finish(r)
	default:
		c.reply(250, "2.0.0", "chunk ok")
	}
}

// refuseChunk answers a chunk whose message is refused: one reply, or with LMTP one per recipient where it was the last chunk
// (RFC 2033 §4.2). The caller ends the transaction.
func (c *Conn) refuseChunk(err error, last bool) {
	if last && c.rcpts > 0 {
		c.answer("", err)
		return
	}
	c.refuse(err)
}

// openChunks opens the message at the first chunk, which may be the last, or answers why not.
func (c *Conn) openChunks(last bool) bool {
	if !c.hasRecipient() {
		return false
	}
	msg, err := c.session.Data(c.ctx)
	if err != nil {
		c.refuseChunk(err, last)
		c.refusedMessage()
		return false
	}
	c.chunks = chunkState{receiver: receiver{conn: c, msg: msg}}
	return true
}

// readChunk reads size octets, into s where there is one.
func (c *Conn) readChunk(size int64, s *chunkState) error {
	c.read = readBody
	if size > int64(len(c.in.buffered())) {
		c.in.grow()
	}
	for size > 0 {
		if len(c.in.buffered()) == 0 {
			if err := c.in.fill(); err != nil {
				return err
			}
		}
		p := c.in.buffered()
		if int64(len(p)) > size {
			p = p[:size]
		}
		if s != nil {
			s.check.check(p)
			s.write(p, s.check.fault)
		}
		c.in.r += len(p)
		size -= int64(len(p))
	}
	return nil
}

// parseBdat reads "size [LAST]".
func parseBdat(args string) (size int64, last, ok bool) {
	digits, end, more := strings.Cut(strings.Trim(args, " "), " ")
	if more {
		if !strings.EqualFold(strings.TrimLeft(end, " "), "LAST") {
			return 0, false, false
		}
		last = true
	}
	n, err := strconv.ParseUint(digits, 10, 62)
	return int64(n), last, err == nil
}
