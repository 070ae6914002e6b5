package smtpd

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	smallBuffer = 1 << 10
	largeBuffer = 64 << 10
)

// largeBuffers are lent to connections that read a body or a long line.
var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// errLongLine is a line over the limit; it has been read to its end.
var errLongLine = errors.New("line too long")

// reader buffers what a connection receives: 1 KiB while it waits for commands, a lent 64 KiB for bodies and long lines.
type reader struct {
	conn  net.Conn
	buf   []byte // small[:] or large[:]
	r, w  int    // buf[r:w] is unread.
	full  bool   // The last read filled the small buffer: there may be more of the batch.
	large *[largeBuffer]byte
	small [smallBuffer]byte
	// beforeRead is called before the socket is read: it flushes replies and sets the deadline.
	beforeRead func() error
}

func (in *reader) buffered() []byte { return in.buf[in.r:in.w] }

// drop forgets what is buffered.
func (in *reader) drop() { in.r, in.w, in.full = 0, 0, false }

// fill reads from the socket behind what is buffered. There must be room: see grow.
func (in *reader) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.w == len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.full && in.readOn() {
		return nil
	}
	if err := in.beforeRead(); err != nil {
		return err
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		in.full = in.large == nil && in.w == len(in.buf)
		return nil
	}
	return err
}

// readOn reads the rest of a batch that is longer than the small buffer, before the replies to its beginning leave.
// There is a rest nearly always; where there is none, nobody notices a millisecond.
func (in *reader) readOn() bool {
	in.full = false
	in.grow()
	if in.w == len(in.buf) || in.conn.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return false
	}
	n, _ := in.conn.Read(in.buf[in.w:]) // An error comes again.
	in.w += n
	return n > 0
}

// grow lends a large buffer.
func (in *reader) grow() {
	if in.large != nil {
		return
	}
	in.large = largeBuffers.Get().(*[largeBuffer]byte)
	in.w = copy(in.large[:], in.buffered())
	in.r = 0
	in.buf = in.large[:]
}

// shrink gives a large buffer back when what is left fits into the small one.
func (in *reader) shrink() {
	if in.large == nil || in.w-in.r > smallBuffer/2 {
		return
	}
	in.w = copy(in.small[:], in.buffered())
	in.r = 0
	in.buf = in.small[:]
	largeBuffers.Put(in.large)
	in.large = nil
}

// release gives back what was lent; the reader is of no use afterwards.
func (in *reader) release() {
	in.drop()
	in.buf = in.small[:]
	if in.large != nil {
		largeBuffers.Put(in.large)
		in.large = nil
	}
}

// line reads a line up to its LF, which it includes. The line is valid until the next read.
//
// limit is in octets, maxAuthLine where the line begins with AUTH. A longer line is read to its end and dropped: errLongLine.
func (in *reader) line(limit int) ([]byte, error) {
	in.shrink()
	seen := 0
	for {
		pending := in.buffered()
		if i := bytes.IndexByte(pending[seen:], '\n'); i >= 0 {
			line := pending[:seen+i+1]
			in.r += len(line)
			if len(line) > in.limit(line, limit) {
				return nil, errLongLine
			}
			return line, nil
		}
		if seen = len(pending); seen >= in.limit(pending, limit) {
			return nil, in.skipLine()
		}
		if seen == len(in.buf) {
			in.grow()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

func (in *reader) limit(line []byte, limit int) int {
	if limit < maxAuthLine && len(line) > 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) {
		return maxAuthLine
	}
	return limit
}

// skipLine drops octets up to and including the next LF.
func (in *reader) skipLine() error {
	for {
		if i := bytes.IndexByte(in.buffered(), '\n'); i >= 0 {
			in.r += i + 1
			return errLongLine
		}
		in.drop()
		if err := in.fill(); err != nil {
			return err
		}
	}
}

// hasLine tells whether a whole line is buffered, and whether it begins with verb and a space.
func (in *reader) hasLine(verb string) bool {
	p := in.buffered()
	return len(p) > len(verb) && p[len(verb)] == ' ' && equalFold(p[:len(verb)], verb) && bytes.IndexByte(p, '\n') >= 0
}

// equalFold compares without an allocation, ASCII only; verb is in upper case.
func equalFold(p []byte, verb string) bool {
	if len(p) != len(verb) {
		return false
	}
	for i, c := range p {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != verb[i] {
			return false
		}
	}
	return true
}
