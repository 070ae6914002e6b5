package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// maxDepth is how deep a tree can be, and maxDoubts how many files are told that are no mail.
const (
	maxDepth  = 40
	maxDoubts = 1000
)

// survey finds the folders of a tree.
func (a *Archive) survey(where string) error {
	if err := a.walk(".", "", 0); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if len(a.Folders) == 0 {
		return fmt.Errorf("%s: %w", where, ErrFormat)
	}
	slices.SortStableFunc(a.Folders, func(x, y *Folder) int {
		if (x.Name == "INBOX") != (y.Name == "INBOX") {
			if x.Name == "INBOX" {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Name, y.Name)
	})
	return nil
}

func (a *Archive) doubt(where string, why error) {
	if len(a.Doubts) < maxDoubts {
		a.Doubts = append(a.Doubts, Doubt{where, why})
	}
}

// below is the name of a mailbox below another.
func below(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}

// walk looks into a directory whose folder is called name.
func (a *Archive) walk(dir, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d levels", dir, maxDepth)
	}
	if maildir.Is(a.fsys, dir) {
		return a.walkMaildir(dir, name, depth)
	}
	entries, err := fs.ReadDir(a.fsys, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if at := path.Join(dir, e.Name()); e.IsDir() && maildir.Ours(a.fsys, at) && maildir.Is(a.fsys, at) {
			return a.walkMaildir(dir, name, depth) // an export without INBOX
		}
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if err := a.walkDir(at, e.Name(), name, depth); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if err := a.file(at, mailboxOf(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkDir looks into a directory within another that is no Maildir.
func (a *Archive) walkDir(at, base, parent string, depth int) error {
	switch {
	case base == "__MACOSX" || base == ".imap":
		return nil // QUIRK: what macOS adds to zip files, and Dovecot's index beside mboxes
	case strings.HasSuffix(base, ".mbox") && a.isFile(at+"/mbox"):
		return a.file(at+"/mbox", below(parent, strings.TrimSuffix(base, ".mbox"))) // Apple Mail's
	case strings.HasSuffix(base, ".sbd"):
		base = strings.TrimSuffix(base, ".sbd") // Thunderbird's, beside the folder's own file
	case strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".directory"):
		base = strings.TrimSuffix(base[1:], ".directory") // KMail's
	case strings.HasPrefix(base, ".") && maildir.Is(a.fsys, at):
		return a.walk(at, below(parent, maildir.FolderName(base)), depth+1)
	}
	return a.walk(at, below(parent, maildir.DecodeName(base)), depth+1)
}

func (a *Archive) isFile(at string) bool {
	info, err := fs.Stat(a.fsys, at)
	return err == nil && info.Mode().IsRegular()
}

// walkMaildir takes a Maildir, the Maildir++ folders in it, and Maildirs that lie below it as directories.
func (a *Archive) walkMaildir(dir, name string, depth int) error {
	if a.Format == Auto {
		a.Format = Maildir
	}
	top := name == ""
	own := name
	if top {
		own = "INBOX"
	}
	subscribed, err := maildir.Subscriptions(a.fsys, dir)
	if err != nil {
		a.doubt(path.Join(dir, "subscriptions"), err)
	}
	add := func(at, mailbox string) *Folder {
		f := &Folder{Name: mailbox, Path: at, UIDValidity: maildir.UIDValidity(a.fsys, at), open: func() (Reader, error) { return openMaildir(a.fsys, at) }}
		a.Folders = append(a.Folders, f)
		return f
	}
	begin := len(a.Folders)
	if maildir.Is(a.fsys, dir) {
		add(dir, own)
	}
	var plain []*Folder // those whose directory alone tells the name
	entries, err := fs.ReadDir(a.fsys, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, at := e.Name(), path.Join(dir, e.Name())
		if !e.IsDir() || base == "cur" || base == "new" || base == "tmp" || !maildir.Is(a.fsys, at) {
			continue
		}
		if strings.HasPrefix(base, ".") {
			mailbox, noted, err := maildir.Mailbox(a.fsys, at)
			if err != nil {
				a.doubt(at, fmt.Errorf("the folder's name is not kept: %w", err))
			}
			f := add(at, below(name, mailbox))
			if !noted {
				plain = append(plain, f)
			}
			continue
		}
		if err := a.walkMaildir(at, below(name, maildir.DecodeName(base)), depth+1); err != nil {
			return err
		}
	}
	all := a.Folders[begin:]
	if top {
		subscribed = cutPrefix(all, plain, subscribed)
	}
	for _, f := range all {
		f.Subscribed = f.Subscribed || f.Name == "INBOX" || slices.Contains(subscribed, f.Name)
	}
	return nil
}

// prefix is what some servers have before all folders beside INBOX: it belongs to none of them.
const prefix = "INBOX/"

// cutPrefix takes it away where all that can have it do, and no two folders are called the same then; from subscriptions too.
func cutPrefix(all, plain []*Folder, subscribed []string) []string {
	names := map[string]bool{}
	for _, f := range all {
		names[f.Name] = true
	}
	for _, f := range plain {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || names[name] || strings.EqualFold(name, "INBOX") {
			return subscribed
		}
	}
	for _, f := range plain {
		f.Name = f.Name[len(prefix):]
	}
	if len(plain) > 0 {
		for _, s := range subscribed {
			subscribed = append(subscribed, strings.TrimPrefix(s, prefix))
		}
	}
	return subscribed
}

// file takes a file if it is an mbox. An empty one is a folder without messages where its name has nothing else to say.
func (a *Archive) file(at, name string) error {
	f, err := a.fsys.Open(at)
	if err != nil {
		a.doubt(at, err)
		return nil
	}
	defer f.Close()
	var head [512]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		a.doubt(at, err)
		return nil
	}
	text := strings.TrimLeft(string(head[:n]), "\r\n")
	switch base := path.Base(at); {
	case strings.HasSuffix(base, ".mbox"+partSuffix):
		a.doubt(at, errors.New("not whole: an export was cut off here"))
		return nil
	case base == journalName:
		return nil
	case strings.HasPrefix(text, "From "):
	case strings.HasPrefix(base, ".") || strings.HasPrefix(base, "dovecot"):
		return nil
	case n == 0 && !strings.Contains(strings.TrimSuffix(base, ".mbox"), "."):
	case strings.HasSuffix(base, ".msf") || base == "subscriptions" || base == "courierimapsubscribed":
		return nil
	default:
		a.doubt(at, mbox.ErrFormat)
		return nil
	}
	if a.Format == Auto {
		a.Format = Mbox
	}
	folder := a.mboxFolder(at, name)
	folder.learn(f, head[:n])
	a.Folders = append(a.Folders, folder)
	return nil
}

// learn reads the begin of an mbox, of which some was read already: UIDVALIDITY, and the name where the file's is another one.
// What cannot be read is told where the folder is.
func (fo *Folder) learn(f io.Reader, head []byte) {
	more, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return
	}
	text := append(head, more...)
	file, err := mbox.Open(bytes.NewReader(text), int64(len(text)), mbox.RD)
	if err != nil {
		return
	}
	m, err := file.Next()
	if err != nil {
		return
	}
	fo.UIDValidity = m.UIDValidity
	if mailbox, ok := trueName(fo.Path, m.Folder); ok {
		fo.Name = mailbox
	}
}

func (a *Archive) mboxFolder(at, name string) *Folder {
	return &Folder{Name: name, Path: at, Subscribed: true, open: func() (Reader, error) { return openMbox(a.fsys, at, a.dialect) }}
}
