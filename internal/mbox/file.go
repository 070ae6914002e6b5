package mbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// window is how much of a file is in memory at a time, and maxHead how much of a longer line is looked at, octets.
const (
	window  = 64 << 10
	maxHead = 4 << 10
)

// ErrFormat is a file that is no mbox, and ErrCR one that would be, were its line ends others.
var (
	ErrFormat = errors.New("no mbox: it does not begin with a line \"From …\"")
	ErrCR     = errors.New("no mbox that is read: its line ends are CR alone")
)

// ByteOrderMark is what editors may have put before all text: it is none of the file's.
const ByteOrderMark = "\ufeff"

// File is a file of messages, read in order. What it holds in memory does not depend on the file.
type File struct {
	r       io.ReaderAt
	size    int64
	dialect Dialect
	// next is where the next message begins.
	next int64
	// passed counts lines much like those that begin messages, which were taken for text, and firstPassed is where the first is.
	passed      int
	firstPassed int64
	// scan is where the last message was read to, so that the next one need not be read again.
	scan *lines
}

// Open looks what dialect a file of size octets has, unless it is told. ErrFormat.
func Open(r io.ReaderAt, size int64, dialect Dialect) (*File, error) {
	f := &File{r: r, size: size, dialect: dialect}
	if size == 0 {
		if dialect == Auto {
			f.dialect = RD
		}
		return f, nil
	}
	var err error
	if f.next, err = f.begin(); err != nil {
		return nil, err
	}
	if dialect == Auto {
		if f.dialect, err = f.detect(); err != nil {
			return nil, fmt.Errorf("find out the dialect: %w", err)
		}
	}
	return f, nil
}

// Dialect is the one that is read.
func (f *File) Dialect() Dialect { return f.dialect }

// Offset is where the next message begins, octets: how far the file is read.
func (f *File) Offset() int64 { return f.next }

// Passed counts the lines so far that are much like one that begins a message and were taken for text, and tells where the first is.
func (f *File) Passed() (n int, first int64) { return f.passed, f.firstPassed }

// Size is the file's, octets.
func (f *File) Size() int64 { return f.size }

// begin is where the first message begins: empty lines before it do no harm.
func (f *File) begin() (int64, error) {
	l := f.lines(0)
	for {
		at := l.at
		line, err := l.next()
		if err != nil && err != io.EOF {
			return 0, err
		}
		if at == 0 {
			var marked bool
			if line, marked = bytes.CutPrefix(line, []byte(ByteOrderMark)); marked {
				at = int64(len(ByteOrderMark))
			}
		}
		if bytes.HasPrefix(line, fromPrefix) {
			if separator, field, found := bytes.Cut(line, []byte("\r")); found && begins(separator) && isField(field) {
				return 0, ErrCR
			}
			return at, nil
		}
		if len(bytes.TrimSpace(line)) > 0 || err == io.EOF {
			return 0, ErrFormat
		}
	}
}

// lines reads a file line by line from somewhere.
type lines struct {
	r *bufio.Reader
	// at is where the next line begins; the last one's end has eol octets, and long tells that only its begin was given.
	at   int64
	eol  int
	long bool
	head []byte // of a long line
}

// lines reads on from somewhere; what is in memory of it already is not read again.
func (f *File) lines(at int64) *lines {
	if s := f.scan; s != nil && at >= s.at && at-s.at <= int64(s.r.Buffered()) {
		n, _ := s.r.Discard(int(at - s.at)) // of what is buffered: it cannot fail
		s.at += int64(n)
		return s
	}
	f.scan = f.linesTo(at, f.size)
	return f.scan
}

func (f *File) linesTo(at, end int64) *lines { return &lines{r: buffered(f.r, at, end), at: at} }

// buffered reads from at to end, with a buffer no larger than that needs.
func buffered(r io.ReaderAt, at, end int64) *bufio.Reader {
	size := max(end-at, 0)
	return bufio.NewReaderSize(io.NewSectionReader(r, at, size), int(min(size+2, window)))
}

// next is the next line without its end, or the first octets of one that is longer than the window. io.EOF behind the last; the
// last one may come with it.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	l.at += int64(len(line))
	l.eol, l.long = 0, false
	if err == bufio.ErrBufferFull {
		l.long = true
		l.head = append(l.head[:0], line[:maxHead]...)
		return l.head, l.skip()
	}
	if err != nil {
		return line, err
	}
	l.eol = 1
	if len(line) > 1 && line[len(line)-2] == '\r' {
		l.eol = 2
	}
	return line[:len(line)-l.eol], nil
}

// skip passes over the rest of a long line.
func (l *lines) skip() error {
	for {
		more, err := l.r.ReadSlice('\n')
		l.at += int64(len(more))
		switch {
		case err == nil:
			l.eol = 1
			return nil
		case err != bufio.ErrBufferFull:
			return err
		}
	}
}

// Next is the next message; io.EOF behind the last.
func (f *File) Next() (*Message, error) {
	if f.next >= f.size {
		return nil, io.EOF
	}
	m := &Message{Offset: f.next, file: f}
	body, length, err := f.readHeader(m)
	if err != nil {
		return nil, fmt.Errorf("read at octet %d: %w", m.Offset, err)
	}
	if f.dialect.lengths() && length >= 0 {
		if next, ok := f.endsAt(body + length); ok {
			m.end, f.next = body+length, next
			return m, nil
		}
	}
	if m.end, f.next, err = f.findEnd(body, m.crlf); err != nil {
		return nil, fmt.Errorf("read at octet %d: %w", m.Offset, err)
	}
	return m, nil
}

// readHeader reads the line "From …" and the header; it tells where the body begins, and what Content-Length says.
func (f *File) readHeader(m *Message) (body, length int64, err error) {
	l := f.lines(m.Offset)
	line, err := l.next()
	if err != nil && err != io.EOF {
		return 0, 0, err
	}
	m.Sender, m.Received, _ = parseFrom(line)
	m.crlf = l.eol == 2
	m.header = l.at
	h := &header{meta: &m.Meta, length: -1, lengths: true}
	for err == nil {
		at := l.at
		line, err = l.next()
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		if len(line) == 0 {
			break
		}
		// A header that another message follows at once has no body.
		if err == nil && at > m.header && bytes.HasPrefix(line, fromPrefix) {
			if begins(line) {
				h.end()
				return at, -1, nil
			}
		}
		h.line(line)
	}
	h.end()
	return l.at, h.length, nil
}

// endsAt tells whether a message can end somewhere: behind it is another one, or nothing; and where that begins.
func (f *File) endsAt(at int64) (next int64, ok bool) {
	if at > f.size {
		return 0, false
	}
	var b [16]byte
	n, err := f.r.ReadAt(b[:min(int64(len(b)), f.size-at)], at)
	if err != nil && err != io.EOF {
		return 0, false
	}
	rest := b[:n]
	for len(rest) > 0 && (rest[0] == '\r' || rest[0] == '\n') && n-len(rest) < 4 {
		rest = rest[1:]
	}
	if at+int64(n-len(rest)) < f.size && !bytes.HasPrefix(rest, fromPrefix) {
		return 0, false
	}
	return at + int64(n-len(rest)), true
}

// findEnd looks for the next line that begins a message. An empty line before it is the file's.
func (f *File) findEnd(body int64, crlf bool) (end, next int64, err error) {
	l := f.lines(body)
	empty, emptyAt := true, body // the header's end counts
	for {
		at := l.at
		if f.separates(l, empty) {
			if !empty {
				emptyAt = at
			}
			return emptyAt, at, nil
		}
		line, err := l.next()
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		if err == io.EOF {
			if len(line) == 0 && empty {
				return emptyAt, f.size, nil
			}
			return f.size, f.size, nil
		}
		if empty = len(line) == 0; empty {
			emptyAt = at
		}
	}
}

// separates tells whether the next line begins a message, and reads nothing away: with a header field behind it, and with a sender
// and a date, or behind an empty line with a date or bare. Writers that quote at all quote the first kind wherever it stands, and
// there are files without the empty lines: two messages that are one are worse than one that is two.
func (f *File) separates(l *lines, empty bool) bool {
	if begin, _ := l.r.Peek(len(fromPrefix)); !bytes.Equal(begin, fromPrefix) {
		return false
	}
	begin, _ := l.r.Peek(maxHead)
	line, _, ended := bytes.Cut(begin, []byte("\n"))
	if !ended {
		return false
	}
	header := f.headerAt(l.at + int64(len(line)) + 1)
	sender, _, dated := parseFrom(line)
	if header && (empty && begins(line) || dated && sender != "") {
		return true
	}
	if dated || header && (empty || begins(line)) {
		if f.passed++; f.passed == 1 {
			f.firstPassed = l.at
		}
	}
	return false
}

// headerAt tells whether a line that can begin a header is somewhere.
func (f *File) headerAt(at int64) bool {
	var b [1024]byte
	n, err := f.r.ReadAt(b[:max(0, min(int64(len(b)), f.size-at))], at)
	if err != nil && err != io.EOF {
		return false
	}
	line, _, _ := bytes.Cut(b[:n], []byte("\n"))
	return isField(line) || quotes(line) == 1
}
