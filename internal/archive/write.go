package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// Writer writes folders.
type Writer interface {
	// Folder begins one; the one before is closed.
	Folder(info FolderInfo) (FolderWriter, error)
	// Close ends writing; subscribed are the mailboxes that the owner is subscribed to.
	Close(subscribed []string) error
	// Abort ends writing without a result, where it is not closed.
	Abort()
}

// FolderInfo is what a folder is.
type FolderInfo struct {
	Name                 string
	UIDValidity, UIDNext uint32
}

// Item is a message to be written, without its text.
type Item struct {
	UID             uint32
	UIDL            string
	Flags           []string
	Received, Saved time.Time
}

// FolderWriter writes the messages of a folder.
type FolderWriter interface {
	// Has tells whether a message is there from an earlier run, and gives it the flags that it has now. lost are keywords for
	// which there is no room.
	Has(m *Item) (there bool, lost []string, err error)
	// Put writes a message in the order of UIDs; text is read more than once. changed tells that not every octet could be kept.
	Put(m *Item, text io.ReadSeeker) (lost []string, changed bool, err error)
	// Called is what the folder is called where it was written, if its name could not be had there; an import knows it nevertheless.
	Called() string
	Close() error
}

// Create begins to write at a path. A Maildir may be there, and is brought up to date; files of mbox and zip are made anew, and
// have their names once they are whole.
func Create(path string, format Format, dialect mbox.Dialect) (Writer, error) {
	switch format {
	case Maildir:
		if err := free(path, func(name string) bool { return name == "cur" || maildir.Ours(os.DirFS(path), name) }); err != nil {
			return nil, err
		}
		tree, err := maildir.Create(path)
		if err != nil {
			return nil, err
		}
		return maildirWriter{tree}, nil
	case Mbox:
		if err := free(path, func(name string) bool {
			return strings.HasSuffix(name, ".mbox") || strings.HasSuffix(name, ".mbox"+partSuffix) || strings.HasSuffix(name, ".sbd")
		}); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		return &mboxWriter{dialect: dialect, create: func(name string) (target, error) { return newPart(filepath.Join(path, filepath.FromSlash(name))) }}, nil
	case Zip:
		part, err := newPart(path)
		if err != nil {
			return nil, err
		}
		z := zip.NewWriter(part)
		return &zipWriter{mboxWriter{dialect: dialect, create: func(name string) (target, error) {
			w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Now()})
			return zipEntry{w}, err
		}}, part, z}, nil
	}
	return nil, fmt.Errorf("%q is no format to write: there are maildir, mbox and zip", format)
}

// free tells, by no error, that a directory is not there, is empty, or has what an earlier run wrote.
func free(path string, ours func(name string) bool) error {
	list, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(list) == 0 {
		return nil
	}
	if err == nil && !slices.ContainsFunc(list, func(e os.DirEntry) bool { return ours(e.Name()) }) {
		err = fmt.Errorf("%s has other files: name a folder that is empty, not there yet, or of an earlier export", path)
	}
	return err
}

// maildirWriter writes a Maildir++.
type maildirWriter struct{ tree *maildir.Tree }

func (w maildirWriter) Folder(info FolderInfo) (FolderWriter, error) {
	s, err := w.tree.Folder(info.Name, info.UIDValidity)
	if err != nil {
		return nil, err
	}
	return &maildirFolder{s, info}, nil
}

func (w maildirWriter) Close(subscribed []string) error { return w.tree.Subscribe(subscribed) }
func (w maildirWriter) Abort()                          {}

type maildirFolder struct {
	sink *maildir.Sink
	info FolderInfo
}

func (f *maildirFolder) Called() string { return f.sink.Directory }
func (f *maildirFolder) Close() error   { return f.sink.Close(f.info.UIDNext) }

func toMaildir(m *Item) *maildir.Message {
	return &maildir.Message{UID: m.UID, UIDL: m.UIDL, Flags: m.Flags, Received: m.Received}
}

func (f *maildirFolder) Has(m *Item) (bool, []string, error) { return f.sink.Has(toMaildir(m)) }

func (f *maildirFolder) Put(m *Item, text io.ReadSeeker) ([]string, bool, error) {
	lost, err := f.sink.Put(toMaildir(m), text)
	return lost, false, err
}

// target is where an mbox is written.
type target interface {
	io.Writer
	// Done makes what was written count, and Abort not.
	Done() error
	Abort()
}

// mboxWriter writes a tree of mboxes, with Thunderbird's ".sbd" for what lies below a folder.
type mboxWriter struct {
	dialect mbox.Dialect
	create  func(name string) (target, error)
	// current is the file that is not whole yet, taken are the names of all.
	current target
	taken   map[string]bool
}

const (
	// maxComponent is the longest name that file systems take, octets, but for partSuffix; maxPath is for all of a path below the root.
	maxComponent = 255 - len(partSuffix)
	maxPath      = 2000
)

// fileOf is the file of a mailbox; where it would be too long it lies at the top, called much like it, and its first message
// tells the mailbox, which folder is.
func (w *mboxWriter) fileOf(mailbox string) (file, folder string) {
	name := mailbox
	if maildir.DecodeName(name) != name { // it would be read as another one
		name = maildir.EncodeName(name)
	}
	file = strings.ReplaceAll(name, "/", ".sbd/") + ".mbox"
	fits := len(file) <= maxPath && !w.taken[file]
	for level := range strings.SplitSeq(file, "/") {
		fits = fits && len(level) <= maxComponent
	}
	if fits {
		return file, ""
	}
	last := name[strings.LastIndexByte(name, '/')+1:]
	for try := 0; ; try++ {
		if file = maildir.Shorten(last, mailbox, 100, try) + ".mbox"; !w.taken[file] || try > 8 {
			return file, url.PathEscape(mailbox)
		}
	}
}

// trueName is the mailbox that the first message of a file tells, if the file is called as fileOf calls it then.
func trueName(file, folder string) (mailbox string, ok bool) {
	base, _ := strings.CutSuffix(path.Base(file), ".mbox")
	mailbox, err := url.PathUnescape(folder)
	return mailbox, folder != "" && err == nil && maildir.Shortened(base, mailbox)
}

func (w *mboxWriter) Close([]string) error { return nil } // nothing in a tree of mboxes tells subscriptions

func (w *mboxWriter) Abort() {
	if w.current != nil {
		w.current.Abort()
	}
}

func (w *mboxWriter) Folder(info FolderInfo) (FolderWriter, error) {
	file, folder := w.fileOf(info.Name)
	t, err := w.create(file)
	if err != nil {
		return nil, err
	}
	if w.taken == nil {
		w.taken = map[string]bool{}
	}
	w.taken[file] = true
	w.current = t
	f := &mboxFolder{info: info, folder: folder, target: t, w: mbox.NewWriter(t, w.dialect)}
	if folder != "" {
		f.called = file
	}
	return f, nil
}

type mboxFolder struct {
	info FolderInfo
	// folder is told in the first message, and called where that is needed.
	folder, called string
	target         target
	w              *mbox.Writer
	begun          bool
}

func (f *mboxFolder) Has(*Item) (bool, []string, error) { return false, nil, nil }
func (f *mboxFolder) Called() string                    { return f.called }

// notes are a message of its own where a folder has none: it tells UIDVALIDITY, and programs know not to show it.
const notes = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\r\nThe numbers of a folder without messages.\r\n"

// first is what the first message of the file tells of the folder.
func (f *mboxFolder) first(m *mbox.Meta) *mbox.Meta {
	m.UIDValidity, m.LastUID, m.Folder = f.info.UIDValidity, f.info.UIDNext-1, f.folder
	return m
}

func (f *mboxFolder) Close() error {
	if !f.begun {
		if err := f.w.Write(f.first(&mbox.Meta{Received: time.Now(), Internal: true}), strings.NewReader(notes)); err != nil {
			return err
		}
	}
	if err := f.w.Flush(); err != nil {
		f.target.Abort()
		return err
	}
	return f.target.Done()
}

func (f *mboxFolder) Put(m *Item, text io.ReadSeeker) (lost []string, changed bool, err error) {
	meta := &mbox.Meta{UID: m.UID, UIDL: m.UIDL, Flags: m.Flags, Received: m.Received, Saved: m.Saved}
	if !f.begun {
		f.first(meta)
	}
	f.begun = true
	if meta.Sender, changed, err = f.look(text); err != nil {
		return nil, false, err
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return nil, false, err
	}
	return nil, changed, f.w.Write(meta, text)
}

// look reads a message for its sender, which Return-Path tells at the top, and for whether an mbox can keep all of it: lines
// that end in CRLF.
func (f *mboxFolder) look(text io.Reader) (sender string, changed bool, err error) {
	src := bufio.NewReaderSize(text, 64<<10)
	header, begin, ended := true, true, true
	for n := 0; ; n++ {
		line, err := src.ReadSlice('\n')
		full := err == bufio.ErrBufferFull
		if err != nil && err != io.EOF && !full {
			return "", false, err
		}
		if err == io.EOF && len(line) == 0 {
			return sender, changed || !ended, nil
		}
		if n == 0 && len(line) > 14 && strings.EqualFold(string(line[:12]), "Return-Path:") {
			sender = strings.Trim(strings.TrimSpace(string(line[12:])), "<>")
		}
		if header && begin {
			header = len(bytes.TrimRight(line, "\r\n")) > 0
		}
		ended = len(line) > 0 && line[len(line)-1] == '\n'
		if bytes.ContainsRune(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), '\r') || ended && !bytes.HasSuffix(line, []byte("\r\n")) {
			changed = true
		}
		begin = ended
		if err == io.EOF {
			return sender, changed || !ended, nil
		}
	}
}

// zipWriter writes a tree of mboxes into a zip file.
type zipWriter struct {
	mboxWriter
	part *part
	z    *zip.Writer
}

func (w *zipWriter) Close([]string) error {
	if err := w.z.Close(); err != nil {
		w.part.Abort()
		return err
	}
	return w.part.Done()
}

func (w *zipWriter) Abort() { w.part.Abort() }

type zipEntry struct{ io.Writer }

func (zipEntry) Done() error { return nil }
func (zipEntry) Abort()      {}

// partSuffix is of files that are not whole.
const partSuffix = ".part"

// part is a file that gets its name once it is whole.
type part struct {
	*os.File
	path string
}

func newPart(path string) (*part, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+partSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &part{f, path}, nil
}

func (p *part) Done() error {
	err := errors.Join(p.Sync(), p.File.Close())
	if err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(p.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (p *part) Abort() {
	if p.File.Close() == nil {
		os.Remove(p.Name())
	}
}
