package mbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Writer appends messages to a file.
type Writer struct {
	w       *bufio.Writer
	out     *counter
	dialect Dialect
	numbers int64
}

// NewWriter writes in a dialect; Auto is RD.
func NewWriter(w io.Writer, dialect Dialect) *Writer {
	if dialect == Auto {
		dialect = RD
	}
	out := &counter{w: w}
	return &Writer{bufio.NewWriterSize(out, window), out, dialect, -1}
}

// Numbers is how the last UID of a folder stands in a file, always as long.
func Numbers(last uint32) []byte { return fmt.Appendf(nil, "%010d", last) }

// NumbersAt is where it stands in what was written, -1 where it was not.
func (w *Writer) NumbersAt() int64 { return w.numbers }

// Write appends a message, which is read twice. CRLF become LF. Fields that the message has of its own and that a reader would
// take for the file's get a name of their own, and their names again when they are read.
func (w *Writer) Write(meta *Meta, message io.ReadSeeker) error {
	var length int64
	if w.dialect.lengths() {
		n := counter{w: io.Discard}
		if err := (&copier{w: bufio.NewWriter(&n), dialect: w.dialect}).copy(message); err != nil {
			return err
		}
		length = n.n
		if _, err := message.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read message again: %w", err)
		}
	}
	sender := strings.Join(strings.Fields(meta.Sender), "_")
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	fmt.Fprintf(w.w, "From %s %s\n", sender, meta.Received.UTC().Format(time.ANSIC))
	if meta.Folder != "" {
		fmt.Fprintf(w.w, "X-Mailfarm-Folder: %s\n", meta.Folder) // ahead of all that may be long
	}
	c := &copier{w: w.w, dialect: w.dialect, fields: func() { w.fields(meta, length) }, body: w.w}
	if err := c.copy(message); err != nil {
		return err
	}
	if !c.ended {
		w.w.WriteByte('\n')
	}
	_, err := w.w.WriteString("\n")
	return err
}

// Flush writes what is in memory.
func (w *Writer) Flush() error { return w.w.Flush() }

// fields writes those of the file.
func (w *Writer) fields(m *Meta, length int64) {
	out := w.w
	if m.UIDValidity != 0 {
		base := "X-IMAPbase"
		if m.Internal {
			base = "X-IMAP"
		}
		fmt.Fprintf(out, "%s: %d ", base, m.UIDValidity)
		w.numbers = w.out.n + int64(out.Buffered())
		fmt.Fprintf(out, "%s\n", Numbers(m.LastUID))
	}
	if m.UID != 0 {
		fmt.Fprintf(out, "X-UID: %d\n", m.UID)
	}
	if m.UIDL != "" {
		fmt.Fprintf(out, "X-Mailfarm-UIDL: %s\n", m.UIDL)
	}
	if !m.Saved.IsZero() {
		fmt.Fprintf(out, "X-Mailfarm-Saved: %d\n", m.Saved.Unix())
	}
	status, more, keywords := "O", "", ""
	for _, f := range m.Flags {
		switch f {
		case `\Seen`:
			status = "RO"
		case `\Answered`:
			more += "A"
		case `\Flagged`:
			more += "F"
		case `\Draft`:
			more += "T"
		case `\Deleted`:
			more += "D"
		default:
			keywords += " " + f
		}
	}
	fmt.Fprintf(out, "Status: %s\n", status)
	if more != "" {
		fmt.Fprintf(out, "X-Status: %s\n", more)
	}
	if keywords != "" {
		fmt.Fprintf(out, "X-Keywords:%s\n", keywords)
	}
	if w.dialect.lengths() {
		out.WriteString("Content-Length: " + strconv.FormatInt(length, 10) + "\n")
	}
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// copier writes a message as it stands in a file. Without body the header goes nowhere.
type copier struct {
	w       *bufio.Writer
	body    *bufio.Writer
	dialect Dialect
	// fields is called at the end of the header.
	fields func()
	// ended tells that the last line did.
	ended bool
}

func (c *copier) copy(message io.Reader) error {
	src := bufio.NewReaderSize(message, window)
	header := io.Writer(c.body)
	if c.body == nil {
		header = io.Discard
	}
	out := header
	inHeader, begin, cr := true, true, false
	for {
		piece, err := src.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return fmt.Errorf("read message: %w", err)
		}
		if cr && !(len(piece) == 1 && piece[0] == '\n') {
			out.Write([]byte{'\r'})
		}
		cr = false
		line, ended := bytes.CutSuffix(piece, []byte("\n"))
		line, cr = bytes.CutSuffix(line, []byte("\r"))
		if inHeader && begin && ended && len(line) == 0 {
			inHeader = false
			if c.fields != nil {
				c.fields()
			}
			io.WriteString(out, "\n")
			out = c.w
			cr = false
			c.ended = true
			continue
		}
		if begin && inHeader && foreign(line) {
			io.WriteString(out, kept)
		}
		if begin && len(line) > 0 {
			if n := quotes(line); n == 0 && c.dialect != CL2 || n > 0 && c.dialect == RD {
				io.WriteString(out, ">")
			}
		}
		if len(piece) > 0 {
			out.Write(line)
			c.ended = ended
		}
		if ended {
			if _, werr := io.WriteString(out, "\n"); werr != nil {
				return werr
			}
			cr = false
		}
		begin = ended
		if err == io.EOF {
			if cr {
				out.Write([]byte{'\r'})
			}
			break
		}
	}
	if inHeader && c.fields != nil { // no body at all
		if !c.ended {
			io.WriteString(out, "\n")
		}
		c.fields()
		io.WriteString(out, "\n")
		c.ended = true
	}
	if c.body == nil {
		return c.w.Flush()
	}
	return nil
}
