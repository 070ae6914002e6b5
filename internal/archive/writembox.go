package archive

import (
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

	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// mboxWriter writes a tree of mboxes, with Thunderbird's ".sbd" for what lies below a folder.
type mboxWriter struct {
	root    string
	dialect mbox.Dialect
	journal *journal
	// lock keeps other exports out until Close or Abort.
	lock *filelock.Lock
	// zipped tells that the names go into a zip file.
	zipped bool
	// current is the folder that is not closed yet, files are those of all and taken their names.
	current *mboxFolder
	files   []string
	taken   map[string]bool
}

// newMboxWriter begins a tree below root, which no other export writes that takes the same lock file.
func newMboxWriter(root, lockPath string, dialect mbox.Dialect, of string) (*mboxWriter, error) {
	if err := free(root, func(name string) bool {
		return strings.HasSuffix(name, ".mbox") || strings.HasSuffix(name, ".mbox"+partSuffix) || strings.HasSuffix(name, ".sbd") ||
			name == journalName || name == lockName
	}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(lockPath), 0o700); err != nil {
		return nil, err
	}
	lock, err := filelock.Take(lockPath)
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("another export writes there: %w", err)
	}
	if err != nil {
		return nil, err
	}
	j, err := openTree(root, head{1, of, dialect.String()})
	if err != nil {
		lock.Release()
		return nil, err
	}
	return &mboxWriter{root: root, dialect: dialect, journal: j, lock: lock, taken: map[string]bool{}}, nil
}

func openTree(root string, h head) (*journal, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	return openJournal(root, h)
}

const (
	// maxComponent is the longest name that file systems take, octets, but for partSuffix; maxPath is for all of a path below the root.
	maxComponent = 255 - len(partSuffix)
	maxPath      = 2000
)

// backslash is how a "\" stands in the names of a zip file, whose readers take one for a "/": a run of modified UTF-7.
const backslash = "&AFw-"

// fileOf is the file of a mailbox; where it would be too long it lies at the top, called much like it, and its first message
// tells the mailbox, which folder is.
func (w *mboxWriter) fileOf(mailbox string) (file, folder string) {
	name := mailbox
	hidden := w.zipped && strings.Contains(name, `\`)
	if hidden || maildir.DecodeName(name) != name { // it would be read as another one
		name = maildir.EncodeName(name)
	}
	if hidden {
		name = strings.ReplaceAll(name, `\`, backslash)
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

// Close ends the journal: nothing in a tree of mboxes tells subscriptions.
func (w *mboxWriter) Close([]string) error {
	defer w.lock.Release()
	return w.journal.remove()
}

func (w *mboxWriter) Abort() {
	if w.current != nil {
		w.current.abort()
	}
	w.journal.f.Close()
	w.lock.Release()
}

func (w *mboxWriter) Folder(info FolderInfo) (FolderWriter, error) {
	file, folder := w.fileOf(info.Name)
	f := &mboxFolder{w: w, info: info, folder: folder, put: map[uint32]bool{},
		state: state{File: file, Folder: info.Name, UIDValidity: info.UIDValidity, UIDNext: info.UIDNext, Numbers: -1}}
	if folder != "" {
		f.called = file
	}
	name := filepath.Join(w.root, filepath.FromSlash(file))
	if s := w.journal.states[file]; s != nil && s.Folder == info.Name && s.UIDValidity == info.UIDValidity && holds(name, s.Octets) {
		f.was, f.state = s, *s
	} else {
		part, err := newPart(name)
		if err != nil {
			return nil, err
		}
		f.to(part)
	}
	w.taken[file], w.files, w.current = true, append(w.files, file), f
	return f, nil
}

// mboxFolder writes one file.
type mboxFolder struct {
	w    *mboxWriter
	info FolderInfo
	// folder is told in the first message, and called where that is needed.
	folder, called string
	// was is how far an earlier run came, nil where there was none, and state how far this one is, with the UIDNEXT that is told
	// in the file.
	was   *state
	state state
	// part is nil as long as an earlier run's file stays as it is.
	part *part
	out  *mbox.Writer
	// asked are UIDs that are not in the file, and put those that are since.
	asked []uint32
	put   map[uint32]bool
}

// Has tells whether an earlier run wrote a message; its flags are those that it had then.
func (f *mboxFolder) Has(m *Item) (bool, []string, error) {
	if m.UID <= f.state.Last && !slices.Contains(f.state.Missing, m.UID) {
		return true, nil, nil
	}
	f.asked = append(f.asked, m.UID)
	return false, nil, nil
}

func (f *mboxFolder) Called() string { return f.called }

func (f *mboxFolder) to(p *part) {
	f.part, f.out = p, mbox.NewWriter(p, f.w.dialect)
}

// open goes on with the file of an earlier run, behind the last message of which it is known that it is whole.
func (f *mboxFolder) open() error {
	if f.part != nil {
		return nil
	}
	p, err := oldPart(filepath.Join(f.w.root, filepath.FromSlash(f.state.File)), f.state.Octets)
	if err != nil {
		return err
	}
	f.to(p)
	return nil
}

// notes are a message of its own where a folder has none: it tells UIDVALIDITY, and programs know not to show it.
const notes = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\r\nThe numbers of a folder without messages.\r\n"

// first is what the first message of the file tells of the folder.
func (f *mboxFolder) first(m *mbox.Meta) *mbox.Meta {
	m.UIDValidity, m.LastUID, m.Folder = f.info.UIDValidity, f.state.UIDNext-1, f.folder
	return m
}

// write appends a message, and notes where the first one has the folder's numbers.
func (f *mboxFolder) write(m *mbox.Meta, text io.ReadSeeker) error {
	if err := f.out.Write(m, text); err != nil {
		return err
	}
	if at := f.out.NumbersAt(); f.state.Numbers < 0 && at >= 0 {
		f.state.Numbers = at
	}
	return nil
}

func (f *mboxFolder) Put(m *Item, text io.ReadSeeker) (lost []string, changed bool, err error) {
	if err := f.open(); err != nil {
		return nil, false, err
	}
	meta := &mbox.Meta{UID: m.UID, UIDL: m.UIDL, Flags: m.Flags, Received: m.Received, Saved: m.Saved}
	if f.state.Octets == 0 && len(f.put) == 0 {
		f.first(meta)
	}
	if meta.Sender, changed, err = f.look(text); err != nil {
		return nil, false, err
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return nil, false, err
	}
	f.put[m.UID] = true
	return nil, changed, f.write(meta, text)
}

// Checkpoint makes what was put durable, and then notes that it is there.
func (f *mboxFolder) Checkpoint() error {
	if len(f.put) == 0 {
		return nil
	}
	if err := f.settle(); err != nil {
		return err
	}
	return f.note(false)
}

// settle makes the file durable as it is.
func (f *mboxFolder) settle() error {
	if err := f.out.Flush(); err != nil {
		return err
	}
	if err := f.part.Sync(); err != nil {
		return err
	}
	var err error
	f.state.Octets, err = f.part.Seek(0, io.SeekCurrent)
	return err
}

// note writes how far the file is. What was asked for and not put is missing.
func (f *mboxFolder) note(done bool) error {
	missing := slices.Concat(f.state.Missing, f.asked)
	slices.Sort(missing)
	f.state.Missing = slices.DeleteFunc(slices.Compact(missing), func(uid uint32) bool { return f.put[uid] })
	for _, uid := range f.asked {
		f.state.Last = max(f.state.Last, uid)
	}
	f.asked, f.state.Done = nil, done
	clear(f.put)
	s := f.state
	return f.w.journal.put(&s)
}

func (f *mboxFolder) Close() error {
	f.w.current = nil
	if f.was != nil && f.was.Done && f.part == nil && f.state.UIDNext >= f.info.UIDNext {
		return nil
	}
	if err := f.finish(); err != nil {
		f.abort()
		return err
	}
	return f.note(true)
}

// finish gives the file its name.
func (f *mboxFolder) finish() error {
	if err := f.open(); err != nil {
		return err
	}
	if f.state.Octets == 0 && len(f.put) == 0 {
		if err := f.write(f.first(&mbox.Meta{Received: time.Now(), Internal: true}), strings.NewReader(notes)); err != nil {
			return err
		}
	}
	if f.state.UIDNext < f.info.UIDNext && f.state.Numbers >= 0 {
		if _, err := f.part.WriteAt(mbox.Numbers(f.info.UIDNext-1), f.state.Numbers); err != nil {
			return err
		}
		f.state.UIDNext = f.info.UIDNext
	}
	if err := f.settle(); err != nil {
		return err
	}
	return f.part.Done()
}

// abort leaves what an earlier or a later run can go on with.
func (f *mboxFolder) abort() {
	switch {
	case f.part == nil:
	case f.state.Octets == 0:
		f.part.Abort()
	default:
		f.part.File.Close()
	}
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
