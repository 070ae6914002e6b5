package remote

import (
	"bufio"
	"errors"
	"net"
	"net/textproto"
	"time"
)

const (
	// maxReplyOctets bounds one reply: what a peer may send before we say something again. RFC 5321 §4.5.3.1.5 speaks of
	// lines of 512 octets; nobody sends more than a few dozen.
	maxReplyOctets = 64 << 10
	// readBuffer and writeBuffer are how much is read and sent at once.
	readBuffer  = 2 << 10
	writeBuffer = 32 << 10
)

var (
	// errFlood is a peer whose reply does not end.
	errFlood = errors.New("the reply does not end")
	// errNoReply is a peer that does not speak SMTP. The library would wait for a line that it understands.
	errNoReply = textproto.ProtocolError("a reply begins with three digits")
)

// guard is a connection to a peer that may be hostile. A reply begins with a code and has at most maxReplyOctets, and each
// write ends in time, so that a peer that stops reading in the middle of a message does not hold us. What is written leaves
// when the buffer is full or a reply is awaited.
//
// QUIRK: the library does not understand a code without text, which RFC 5321 §4.2 allows; it gets to see an empty text.
type guard struct {
	net.Conn
	w *bufio.Writer
	// ahead is read before what comes from the connection.
	ahead []byte
	// swallow drops the next write: its answer is in ahead.
	swallow bool
	// left is how many octets of the reply may still come.
	left int
	// column is the place in the line, first tells that it is a reply's first line.
	column int
	first  bool
	// in is what was read, out what ahead is a part of.
	in, out []byte
}

func newGuard(conn net.Conn, write time.Duration) *guard {
	return &guard{Conn: conn, w: bufio.NewWriterSize(timedWriter{conn, write}, writeBuffer), left: maxReplyOctets, first: true}
}

// Write buffers.
func (g *guard) Write(b []byte) (int, error) {
	if g.swallow {
		g.swallow = false
		return len(b), nil
	}
	if g.column == 0 {
		g.left, g.first = maxReplyOctets, true
	}
	return g.w.Write(b)
}

// Read sends what is buffered first.
func (g *guard) Read(b []byte) (int, error) {
	if len(g.ahead) == 0 {
		if err := g.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, g.ahead)
	g.ahead = g.ahead[n:]
	return n, nil
}

// fill reads from the connection.
func (g *guard) fill() error {
	if err := g.w.Flush(); err != nil {
		return err
	}
	if g.in == nil {
		g.in = make([]byte, readBuffer)
	}
	n, err := g.Conn.Read(g.in)
	if g.left -= n; g.left < 0 {
		return errFlood
	}
	g.out = g.out[:0]
	for _, c := range g.in[:n] {
		if g.column == 3 && (c == '\r' || c == '\n') {
			g.out = append(g.out, ' ')
		}
		g.out = append(g.out, c)
		switch {
		case c == '\n':
			g.column, g.first = 0, false
			continue
		case g.first && g.column < 3 && (c < '0' || c > '9'):
			return errNoReply
		}
		g.column++
	}
	if g.ahead = g.out; n > 0 {
		return nil
	}
	return err
}

// timedWriter bounds each write.
type timedWriter struct {
	conn net.Conn
	each time.Duration
}

func (w timedWriter) Write(b []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.each)); err != nil {
		return 0, err
	}
	return w.conn.Write(b)
}
