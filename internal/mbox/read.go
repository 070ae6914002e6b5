package mbox

import (
	"bufio"
	"bytes"
	"io"
)

// Open reads the message as it was before it came into the file: with CRLF, without the fields that are the file's, and with
// the dialect's quoting undone. It can be opened any number of times, as long as the file is open.
func (m *Message) Open() io.Reader {
	meta := Meta{}
	return &reader{
		src: buffered(m.file.r, m.header, m.end), crlf: m.crlf,
		dialect: m.file.dialect, header: &header{meta: &meta, length: -1, lengths: m.file.dialect.lengths()}, begin: true, keep: true,
	}
}

// Stored is how many octets the message has in its file.
func (m *Message) Stored() int64 { return m.end - m.Offset }

// reader gives a message piece by piece.
type reader struct {
	src     *bufio.Reader
	crlf    bool // the file's line ends are ours already
	dialect Dialect
	// header is nil behind it.
	header *header
	// begin tells that the next piece begins a line, keep that the current line is the message's, and cr that it ended in CR so far.
	begin, keep, cr bool
	// out is what is left to be read of buf.
	buf, out []byte
	err      error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill takes the next piece of a line.
func (r *reader) fill() {
	piece, err := r.src.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		err = nil
	}
	r.err = err
	if len(piece) == 0 {
		return
	}
	line, ended := bytes.CutSuffix(piece, []byte("\n"))
	if r.begin {
		line = r.beginLine(line)
	}
	r.begin = ended
	if !r.keep {
		r.keep = ended || r.keep
		return
	}
	r.out = append(r.buf[:0], line...)
	if len(line) > 0 {
		r.cr = line[len(line)-1] == '\r'
	}
	if ended {
		if !r.crlf && !r.cr {
			r.out = append(r.out, '\r')
		}
		r.out = append(r.out, '\n')
		r.cr = false
	}
	r.buf = r.out
}

// beginLine decides about a line by its begin.
func (r *reader) beginLine(line []byte) []byte {
	r.keep, r.cr = true, false
	text := bytes.TrimSuffix(line, []byte("\r"))
	if r.header != nil {
		if len(text) == 0 {
			r.header = nil
		} else {
			r.keep = r.header.line(text)
			line, _ = unkept(line)
		}
		return line
	}
	switch n := quotes(text); {
	case n == 1 && r.dialect != CL2, n > 1 && r.dialect == RD:
		return line[1:]
	}
	return line
}
