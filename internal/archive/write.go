package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	// Abort ends writing without a result, where it is not closed; another run may go on with it.
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
	// Put writes a message, in the order of UIDs but for those that an earlier run could not have; text is read more than once.
	// changed tells that not every octet could be kept.
	Put(m *Item, text io.ReadSeeker) (lost []string, changed bool, err error)
	// Checkpoint has what was put outlast a cut: another run finds it there.
	Checkpoint() error
	// Called is what the folder is called where it was written, if its name could not be had there; an import knows it nevertheless.
	Called() string
	Close() error
}

// Create begins to write at a path. A Maildir may be there, and is brought up to date. Files of mbox and zip have their names once
// they are whole, and go on where an export was cut off that was of the same and in the same dialect; else they are made anew. Until Close or Abort nobody else can write them.
func Create(path string, format Format, dialect mbox.Dialect, of string) (Writer, error) {
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
		return newMboxWriter(path, filepath.Join(path, lockName), dialect, of)
	case Zip:
		return newZipWriter(path, dialect, of)
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

func (f *maildirFolder) Checkpoint() error {
	return nil // each message is
}
func (f *maildirFolder) Close() error { return f.sink.Close(f.info.UIDNext) }

func toMaildir(m *Item) *maildir.Message {
	return &maildir.Message{UID: m.UID, UIDL: m.UIDL, Flags: m.Flags, Received: m.Received}
}

func (f *maildirFolder) Has(m *Item) (bool, []string, error) { return f.sink.Has(toMaildir(m)) }

func (f *maildirFolder) Put(m *Item, text io.ReadSeeker) ([]string, bool, error) {
	lost, err := f.sink.Put(toMaildir(m), text)
	return lost, false, err
}
