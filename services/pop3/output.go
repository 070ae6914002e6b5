package pop3

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"time"
)

// outputBuffer is how much of replies is gathered for one write, octets.
const outputBuffer = 64 << 10

// outputBuffers are lent to connections that have something to say. A piece of a body, stuffed, fits behind a full one.
var outputBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, outputBuffer+4<<10)
	return &b
}}

// errWrite wraps what went wrong with writing.
var errWrite = errors.New("write failed")

// output gathers replies until input is about to wait for the client, so that those to a pipelined batch leave in one write.
type output struct {
	conn    net.Conn
	timeout time.Duration
	sent    func(n int)
	lent    *[]byte
	err     error // sticky
	total   int64 // octets that left the buffer
	// whole is how much of what is gathered are whole replies; begun tells that a part of the one behind has left.
	whole int
	begun bool
}

// written is how many octets were said so far.
func (out *output) written() int64 {
	if out.lent == nil {
		return out.total
	}
	return out.total + int64(len(*out.lent))
}

// mark tells that what was gathered so far are whole replies.
func (out *output) mark() {
	out.whole, out.begun = 0, false
	if out.lent != nil {
		out.whole = len(*out.lent)
	}
}

// takeBack drops the beginning of a reply that will have no end; false where a part of it has left already.
func (out *output) takeBack() bool {
	if out.lent != nil {
		*out.lent = (*out.lent)[:min(out.whole, len(*out.lent))]
	}
	return !out.begun
}

// take gives the buffer to append to; give it back grown.
func (out *output) take() []byte {
	if out.lent == nil {
		out.lent = outputBuffers.Get().(*[]byte)
	}
	return *out.lent
}

// give takes the grown buffer back and writes it out once it is full.
func (out *output) give(b []byte) {
	*out.lent = b
	if len(b) >= outputBuffer {
		out.begun = true
		out.flush()
	}
}

// flush writes what was gathered.
func (out *output) flush() error {
	if out.lent == nil {
		return out.err
	}
	b := *out.lent
	out.whole = 0
	if len(b) > 0 && out.err == nil {
		if err := out.conn.SetWriteDeadline(time.Now().Add(out.timeout)); err != nil {
			out.err = errors.Join(errWrite, err)
		} else if n, err := out.conn.Write(b); err != nil {
			out.err = errors.Join(errWrite, err)
		} else {
			out.sent(n)
		}
	}
	out.release()
	return out.err
}

// release gives the buffer back with what is in it.
func (out *output) release() {
	if out.lent == nil {
		return
	}
	out.total += int64(len(*out.lent))
	// One that a long line made large is not worth keeping.
	if b := (*out.lent)[:0]; cap(b) <= 4*outputBuffer {
		*out.lent = b
		outputBuffers.Put(out.lent)
	}
	out.lent = nil
}

// ok answers "+OK text".
func (out *output) ok(text string) result {
	b := append(out.take(), "+OK "...)
	b = append(b, text...)
	out.give(append(b, "\r\n"...))
	return good
}

// fail answers "-ERR [code] text"; code may be empty.
func (out *output) fail(code, text string) result {
	b := append(out.take(), "-ERR "...)
	if code != "" {
		b = append(b, '[')
		b = append(b, code...)
		b = append(b, "] "...)
	}
	b = append(b, text...)
	out.give(append(b, "\r\n"...))
	return failed
}

// misused is fail for what the client did wrong: it counts.
func (out *output) misused(text string) result {
	out.fail("", text)
	return bad
}

// numbers appends two numbers with a space between.
func numbers(b []byte, x, y int64) []byte {
	b = strconv.AppendInt(b, x, 10)
	b = append(b, ' ')
	return strconv.AppendInt(b, y, 10)
}
