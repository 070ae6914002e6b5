package pop3

import (
	"bytes"
	"errors"
	"net"
)

// inputBuffer is what a connection holds while it waits for commands, octets; longer lines borrow more while they last.
const inputBuffer = 1 << 10

// errLongLine is a line over the limit; it has been read to its end.
var errLongLine = errors.New("line too long")

// input buffers what a client sends.
type input struct {
	conn net.Conn
	buf  []byte
	r, w int // buf[r:w] is unread
	// beforeRead is called before the socket is read: it flushes replies and sets the deadline.
	beforeRead func() error
	// received hears how many octets came.
	received func(n int)
	total    int64 // octets that came
	small    [inputBuffer]byte
}

// reset makes the input read conn and forgets what was buffered; it tells whether there was anything.
func (in *input) reset(conn net.Conn) (dropped bool) {
	dropped = in.r < in.w
	in.conn, in.buf, in.r, in.w = conn, in.small[:], 0, 0
	return dropped
}

// consumed is how many octets were read as lines so far.
func (in *input) consumed() int64 { return in.total - int64(in.w-in.r) }

// line reads a line and returns it without its line end, CRLF or LF. It is valid until the next call.
//
// A line longer than limit octets, line end included, is read to its end and dropped: errLongLine.
func (in *input) line(limit int) ([]byte, error) {
	if in.r == in.w {
		in.buf, in.r, in.w = in.small[:], 0, 0
	}
	seen := 0
	for {
		pending := in.buf[in.r:in.w]
		if i := bytes.IndexByte(pending[seen:], '\n'); i >= 0 {
			line := pending[:seen+i]
			in.r += len(line) + 1
			if len(line)+1 > limit {
				return nil, errLongLine
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if seen = len(pending); seen >= limit {
			return nil, in.skipLine()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// skipLine drops octets up to and including the next LF.
func (in *input) skipLine() error {
	for {
		if i := bytes.IndexByte(in.buf[in.r:in.w], '\n'); i >= 0 {
			in.r += i + 1
			return errLongLine
		}
		in.r, in.w = 0, 0
		if err := in.fill(); err != nil {
			return err
		}
	}
}

// fill reads from the socket behind what is buffered.
func (in *input) fill() error {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		larger := make([]byte, 4*len(in.buf)) // bounded by line's limit
		in.w = copy(larger, in.buf[:in.w])
		in.buf = larger
	}
	if err := in.beforeRead(); err != nil {
		return err
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	in.total += int64(n)
	in.received(n)
	if n > 0 {
		return nil
	}
	return err
}
