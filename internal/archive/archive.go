// Package archive reads folders of mail however they lie on a disk: a file or a tree of files of internal/mbox, a Maildir++ of
// internal/maildir, or a zip file of either; and writes them again.
package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// Format is how folders lie.
type Format string

// The formats; Auto is none: it is found out.
const (
	Auto    Format = "auto"
	Mbox    Format = "mbox"
	Maildir Format = "maildir"
	Zip     Format = "zip"
)

// ParseFormat reads a format's name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case Auto, Mbox, Maildir, Zip:
		return f, nil
	}
	return "", fmt.Errorf("%q is no format: there are auto, mbox, maildir and zip", name)
}

// Options say how to read.
type Options struct {
	Format  Format
	Dialect mbox.Dialect
}

// Archive is folders to be read.
type Archive struct {
	// Format is what was found, Zip also where there are files of another inside.
	Format Format
	// Folders in the order of their names, INBOX first.
	Folders []*Folder
	// Doubts are what was found and is no mail; Left is what may be mail and cannot be read.
	Doubts, Left []Doubt

	fsys    fs.FS
	dialect mbox.Dialect
	closers []io.Closer
}

// Doubt is a file that is left, and why.
type Doubt struct {
	Where string
	Why   error
}

// Folder is one folder of an archive.
type Folder struct {
	// Name is a mailbox's, with "/" between levels.
	Name string
	// Path is where it lies.
	Path       string
	Subscribed bool
	// UIDValidity is the folder's where it is known, which some readers learn with the first message only: here it is known before.
	UIDValidity uint32
	open        func() (Reader, error)
}

// Open begins to read the folder.
func (f *Folder) Open() (Reader, error) {
	r, err := f.open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return r, nil
}

// Reader gives the messages of a folder, one after the other.
type Reader interface {
	// Next is the next message; io.EOF behind the last.
	Next() (*Message, error)
	// Numbers are UIDVALIDITY and UIDNEXT, 0 where they are not known; of an mbox they are known with the first message.
	Numbers() (validity, next uint32)
	// Kind is what the folder is, for people.
	Kind() string
	// Doubts are files beside the messages that could not be read, Left what lies among the messages and is not read.
	Doubts() []error
	Left() []Doubt
	// Notes are, behind the last message, what whoever reads the report should know of those that were read.
	Notes() []string
	Close() error
}

// Message is one message of a folder.
type Message struct {
	// Where is its place, for people.
	Where string
	Flags []string
	// Received and Saved are zero where they are not known. Received of a file of a Maildir is known once it is open.
	Received, Saved time.Time
	UID             uint32
	UIDL            string
	open            func(*Message) (io.ReadCloser, error)
}

// Open reads the message, with CRLF; any number of times.
func (m *Message) Open() (io.ReadCloser, error) { return m.open(m) }

// maxEntries is how many files a zip file can have.
const maxEntries = 5_000_000

// ErrFormat is what is none of the formats.
var ErrFormat = errors.New("neither mbox, Maildir nor a zip file of them")

// Open looks what lies at a path.
func Open(path string, opts Options) (*Archive, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if opts.Format == "" {
		opts.Format = Auto
	}
	a := &Archive{Format: Auto, dialect: opts.Dialect}
	switch {
	case info.IsDir():
		err = a.openDir(path)
	case opts.Format == Zip || opts.Format == Auto && isZip(path):
		err = a.openZip(path)
	default:
		err = a.openFile(path)
	}
	if err == nil && opts.Format != Auto && a.Format != opts.Format {
		err = fmt.Errorf("%s is of the format %s and not %s", path, a.Format, opts.Format)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Close ends reading.
func (a *Archive) Close() error {
	var errs []error
	for _, c := range a.closers {
		errs = append(errs, c.Close())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func isZip(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [4]byte
	_, err = io.ReadFull(f, b[:])
	return err == nil && (string(b[:]) == "PK\x03\x04" || string(b[:]) == "PK\x05\x06")
}

// openDir reads a tree. Nothing outside of it is opened, wherever links lead.
func (a *Archive) openDir(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, root)
	a.fsys = root.FS()
	return a.survey(path)
}

func (a *Archive) openZip(path string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	a.closers = append(a.closers, z)
	if len(z.File) > maxEntries {
		return fmt.Errorf("%s: %d files, more than %d", path, len(z.File), maxEntries)
	}
	tree := newZipTree(z.File)
	a.fsys, a.Doubts, a.Left = tree, tree.doubts, tree.lost
	if err := a.survey(path); err != nil {
		return err
	}
	a.Format = Zip
	return nil
}

// openFile reads one mbox.
func (a *Archive) openFile(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	a.closers = append(a.closers, root)
	a.fsys, a.Format = root.FS(), Mbox
	base := filepath.Base(path)
	f := a.mboxFolder(base, mailboxOf("", base))
	r, err := f.Open() // tells now what is no mbox
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	begin, err := a.fsys.Open(base)
	if err != nil {
		return err
	}
	defer begin.Close()
	f.learn(begin, nil)
	a.Folders = []*Folder{f}
	return nil
}

// mailboxOf is the mailbox that a file's name stands for.
func mailboxOf(parent, base string) string {
	name := base
	for _, suffix := range []string{".mbox", ".mbx"} {
		if n, ok := strings.CutSuffix(base, suffix); ok && n != "" {
			name = n
			break
		}
	}
	if parent == "" && (strings.EqualFold(name, "inbox") || base == "mbox") {
		return "INBOX"
	}
	return below(parent, maildir.DecodeName(name)) // as Dovecot names files
}
