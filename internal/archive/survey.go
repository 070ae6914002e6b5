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
	if _, err := fs.ReadDir(a.fsys, "."); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	a.walk(".", "", 0)
	if len(a.Folders) == 0 && len(a.Left) == 0 {
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

// errDepth is a directory too deep in a tree.
var errDepth = fmt.Errorf("below more than %d levels", maxDepth)

// leave notes what may be mail and is not read.
func (a *Archive) leave(where string, why error) {
	if len(a.Left) < maxDoubts {
		a.Left = append(a.Left, Doubt{where, why})
	}
}

// entries are those of a directory; one that cannot be read is left.
func (a *Archive) entries(dir string, depth int) []fs.DirEntry {
	if depth > maxDepth {
		a.leave(dir, errDepth)
		return nil
	}
	list, err := fs.ReadDir(a.fsys, dir)
	if err != nil {
		a.leave(dir, err)
	}
	return list
}

// below is the name of a mailbox below another.
func below(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}

// walk looks into a directory whose folder is called name.
func (a *Archive) walk(dir, name string, depth int) {
	if maildir.Is(a.fsys, dir) {
		a.walkMaildir(dir, name, depth)
		return
	}
	entries := a.entries(dir, depth)
	for _, e := range entries {
		if at := path.Join(dir, e.Name()); e.IsDir() && maildir.Ours(a.fsys, at) && maildir.Is(a.fsys, at) {
			a.walkMaildir(dir, name, depth) // an export without INBOX
			return
		}
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			a.walkDir(at, e.Name(), name, depth)
		case e.Type().IsRegular():
			a.file(at, mailboxOf(name, e.Name()), false)
		case e.Type()&fs.ModeSymlink != 0:
			a.link(at, e.Name())
		}
	}
}

// link leaves a symbolic link: what it leads to may be elsewhere, or here already. Those of Sieve scripts lead to no mail.
func (a *Archive) link(at, base string) {
	if strings.HasSuffix(base, ".sieve") || strings.HasPrefix(base, "dovecot") || base == "sieve" || base == "tmp" {
		return
	}
	a.leave(at, maildir.ErrLink)
}

// walkDir looks into a directory within another that is no Maildir.
func (a *Archive) walkDir(at, base, parent string, depth int) {
	switch {
	case base == "__MACOSX" || base == ".imap":
		return // QUIRK: what macOS adds to zip files, and Dovecot's index beside mboxes
	case strings.HasSuffix(base, ".mbox") && a.isFile(at+"/mbox"):
		a.file(at+"/mbox", below(parent, strings.TrimSuffix(base, ".mbox")), false) // Apple Mail's
		return
	case strings.HasSuffix(base, ".sbd"):
		base = strings.TrimSuffix(base, ".sbd") // Thunderbird's, beside the folder's own file
	case kmails(base):
		base = strings.TrimSuffix(base[1:], ".directory")
	case strings.HasPrefix(base, ".") && maildir.Is(a.fsys, at):
		a.walk(at, below(parent, maildir.FolderName(base)), depth+1)
		return
	}
	a.walk(at, below(parent, maildir.DecodeName(base)), depth+1)
}

// kmails tells of the directory that KMail has for what lies below a folder.
func kmails(base string) bool {
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".directory")
}

func (a *Archive) isFile(at string) bool {
	info, err := fs.Stat(a.fsys, at)
	return err == nil && info.Mode().IsRegular()
}

func (a *Archive) isDir(at string) bool {
	info, err := fs.Stat(a.fsys, at)
	return err == nil && info.IsDir()
}

// walkMaildir takes a Maildir, the Maildir++ folders in it, and Maildirs that lie below it as directories, however deep: Dovecot
// makes no Maildir of a level that has no messages of its own.
func (a *Archive) walkMaildir(dir, name string, depth int) {
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
	begin := len(a.Folders)
	if maildir.Is(a.fsys, dir) {
		a.addMaildir(dir, own)
	}
	plain := a.inMaildir(dir, name, depth)
	all := a.Folders[begin:]
	if top {
		subscribed = cutPrefix(all, plain, subscribed)
	}
	for _, f := range all {
		f.Subscribed = f.Subscribed || f.Name == "INBOX" || slices.Contains(subscribed, f.Name)
	}
}

func (a *Archive) addMaildir(at, mailbox string) *Folder {
	f := &Folder{Name: mailbox, Path: at, UIDValidity: maildir.UIDValidity(a.fsys, at), open: func() (Reader, error) { return openMaildir(a.fsys, at) }}
	a.Folders = append(a.Folders, f)
	return f
}

// inMaildir takes what lies in a directory that is one, or that has some below it. plain are Maildir++ folders whose directory alone
// tells the name.
func (a *Archive) inMaildir(dir, name string, depth int) (plain []*Folder) {
	for _, e := range a.entries(dir, depth) {
		base, at := e.Name(), path.Join(dir, e.Name())
		messages := base == "cur" || base == "new" || base == "tmp"
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			if !messages || !a.isDir(at) { // within the tree it is read as what it leads to
				a.link(at, base)
			}
		case e.Type().IsRegular():
			if !strings.HasPrefix(base, "dovecot") {
				a.file(at, mailboxOf(name, base), true)
			}
		case !e.IsDir() || messages && maildir.Is(a.fsys, dir):
		case strings.HasPrefix(base, ".") && maildir.Is(a.fsys, at):
			mailbox, noted, err := maildir.Mailbox(a.fsys, at)
			if err != nil {
				a.doubt(at, fmt.Errorf("the folder's name is not kept: %w", err))
			}
			f := a.addMaildir(at, below(name, mailbox))
			if !noted {
				plain = append(plain, f)
			}
			a.inMaildir(at, f.Name, depth+1)
		case kmails(base):
			a.walkMaildir(at, below(name, maildir.DecodeName(strings.TrimSuffix(base[1:], ".directory"))), depth+1)
		case strings.HasPrefix(base, "."): // an index, or what a program hides
		default:
			a.walkMaildir(at, below(name, maildir.DecodeName(base)), depth+1)
		}
	}
	return plain
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

// file takes a file if it is an mbox. An empty one is a folder without messages where its name has nothing else to say. Among the
// files of a Maildir there are many others, and only what begins as an mbox counts.
func (a *Archive) file(at, name string, inMaildir bool) {
	f, err := a.fsys.Open(at)
	if err != nil {
		a.leave(at, err)
		return
	}
	defer f.Close()
	var head [512]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		a.leave(at, err)
		return
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(head[:n]), mbox.ByteOrderMark), "\r\n")
	switch base := path.Base(at); {
	case strings.HasSuffix(base, ".mbox"+partSuffix):
		a.leave(at, errors.New("not whole: an export was cut off here"))
		return
	case base == journalName:
		return
	case strings.HasPrefix(text, "From "):
	case inMaildir || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "dovecot"):
		return
	case n == 0 && !strings.Contains(strings.TrimSuffix(base, ".mbox"), "."):
	case strings.HasSuffix(base, ".msf") || base == "subscriptions" || base == "courierimapsubscribed":
		return
	default:
		a.doubt(at, mbox.ErrFormat)
		return
	}
	if a.Format == Auto {
		a.Format = Mbox
	}
	folder := a.mboxFolder(at, name)
	folder.learn(f, head[:n])
	a.Folders = append(a.Folders, folder)
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
