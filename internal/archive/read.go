package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// maxRatio is how much larger than its compressed form a file of a zip file can be once it has bombSize octets: text is made
// a tenth or a twentieth by compression.
const (
	maxRatio = 200
	bombSize = 64 << 20
)

// ErrBomb is a file of a zip file that is too large for what it is compressed to.
var ErrBomb = errors.New("compressed more than mail can be: it is not unpacked")

// mboxReader is an mbox.
type mboxReader struct {
	file     *mbox.File
	path     string
	close    func() error
	validity uint32
	next     uint32
	begun    bool // the first message was met
	removed  int
	labelled int
}

func openMbox(fsys fs.FS, path string, dialect mbox.Dialect) (Reader, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	size := info.Size()
	at, ok := f.(io.ReaderAt)
	closing := f.Close
	if !ok { // within a zip file: it must be read in any order
		spool, n, err := unpack(f, info)
		f.Close()
		if err != nil {
			return nil, err
		}
		at, size, closing = spool, n, spool.Close
	}
	r := &mboxReader{path: path, close: closing}
	if r.file, err = mbox.Open(at, size, dialect); err != nil {
		closing()
		return nil, err
	}
	return r, nil
}

// unpack copies a file of a zip file to one that has no name.
func unpack(f io.Reader, info fs.FileInfo) (*os.File, int64, error) {
	spool, err := os.CreateTemp("", "mailfarm-*")
	if err != nil {
		return nil, 0, err
	}
	if err := os.Remove(spool.Name()); err != nil {
		spool.Close()
		return nil, 0, err
	}
	n, err := io.Copy(spool, guarded(f, info))
	if err != nil {
		spool.Close()
		return nil, 0, err
	}
	return spool, n, nil
}

// guarded reads a file of a zip file no further than it can be mail.
func guarded(r io.Reader, info fs.FileInfo) io.Reader {
	packed, ok := packedSize(info)
	if !ok {
		return r
	}
	return &guard{r: r, left: max(packed*maxRatio, bombSize)}
}

type guard struct {
	r    io.Reader
	left int64
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if g.left -= int64(n); g.left < 0 {
		return 0, ErrBomb
	}
	return n, err
}

func (r *mboxReader) Kind() string           { return "mbox (" + r.file.Dialect().String() + ")" }
func (r *mboxReader) Numbers() (v, n uint32) { return r.validity, r.next }
func (r *mboxReader) Doubts() []error        { return nil }
func (r *mboxReader) Left() []Doubt          { return nil }

func (r *mboxReader) Notes() (list []string) {
	if r.removed > 0 {
		list = append(list, fmt.Sprintf("%d messages had been deleted by the program that kept the file, which was not yet compacted: they come with the flag \\Deleted", r.removed))
	}
	if r.labelled > 0 {
		list = append(list, fmt.Sprintf("%d messages have labels of Gmail's: Opened, Unread, Sent, Drafts and Starred tell their flags, but labels become no folders; the field X-Gmail-Labels keeps them", r.labelled))
	}
	if n, first := r.file.Passed(); n > 0 {
		list = append(list, fmt.Sprintf("%d lines look like the begin of a message and are taken for text, the first at octet %d", n, first))
	}
	return list
}

func (r *mboxReader) Close() error { return r.close() }

func (r *mboxReader) Next() (*Message, error) {
	for {
		m, err := r.file.Next()
		if err != nil {
			return nil, err
		}
		if r.validity == 0 && m.UIDValidity != 0 {
			r.validity, r.next = m.UIDValidity, m.LastUID+1
		}
		first := !r.begun
		r.begun = true
		if m.Internal && first && m.Sender == "MAILER-DAEMON" {
			continue // notes of the program that kept the file, which stand ahead of all messages
		}
		out := &Message{Where: fmt.Sprintf("%s, octet %d", r.path, m.Offset), Flags: m.Flags, Received: m.Received, Saved: m.Saved, UID: m.UID, UIDL: m.UIDL,
			open: func(*Message) (io.ReadCloser, error) { return io.NopCloser(m.Open()), nil }}
		if m.Removed {
			r.removed++
		}
		if m.Labelled {
			r.labelled++
		}
		return out, nil
	}
}

// maildirReader is a folder of a Maildir.
type maildirReader struct {
	folder *maildir.Folder
	path   string
	next   int
}

func openMaildir(fsys fs.FS, path string) (Reader, error) {
	f, err := maildir.Open(fsys, path)
	if err != nil {
		return nil, err
	}
	return &maildirReader{folder: f, path: path}, nil
}

func (r *maildirReader) Kind() string           { return "Maildir" }
func (r *maildirReader) Numbers() (v, n uint32) { return r.folder.UIDValidity, r.folder.UIDNext }
func (r *maildirReader) Doubts() []error        { return r.folder.Doubts }

func (r *maildirReader) Left() (list []Doubt) {
	for _, l := range r.folder.Left {
		list = append(list, Doubt{path.Join(r.path, l.Path), l.Why})
	}
	return list
}

func (r *maildirReader) Notes() []string { return nil }
func (r *maildirReader) Close() error    { return nil }

func (r *maildirReader) Next() (*Message, error) {
	if r.next >= len(r.folder.Messages) {
		return nil, io.EOF
	}
	m := &r.folder.Messages[r.next]
	r.next++
	return &Message{Where: r.path + "/" + m.Path, Flags: m.Flags, UID: m.UID, UIDL: m.UIDL,
		open: func(out *Message) (io.ReadCloser, error) {
			b, err := r.folder.Read(m)
			out.Received = m.Received
			return b, err
		}}, nil
}
