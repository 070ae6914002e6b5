package maildir

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	// maxPending is how many files are flushed before they get their names, and maxFlushes how many at once.
	maxPending = 256
	maxFlushes = 16
	// maxKeywords is how many keywords a folder can have: letters from a to z.
	maxKeywords = 26
	// ours marks the names of files that were written here.
	ours = ".mailfarm,"
)

// Tree is a Maildir++ tree that is written: every file goes to tmp, is flushed, and gets its name then, so that whoever comes
// again finds whole messages only.
type Tree struct{ root string }

// Create makes a tree in a directory, which may be there already.
func Create(root string) (*Tree, error) {
	return &Tree{root}, os.MkdirAll(root, 0o700)
}

// Subscribe writes which mailboxes the owner is subscribed to.
func (t *Tree) Subscribe(names []string) error {
	var b strings.Builder
	b.WriteString("V\t2\n\n")
	for _, n := range names {
		b.WriteString(strings.ReplaceAll(EncodeName(n), "/", "\t") + "\n")
	}
	return replace(filepath.Join(t.root, subscriptions), b.String())
}

// Sink is a folder that is written.
type Sink struct {
	dir      string
	validity uint32
	// Directory is the name of the folder's directory where that does not tell the mailbox; a file in it does.
	Directory string
	// written are the files of messages, by UID.
	written  map[uint32]entry
	keywords []string
	flushes  *errgroup.Group
	pending  []entry
}

// entry is a message that was written: its file in cur, and what POP3 calls it.
type entry struct{ name, uidl string }

// Folder opens a mailbox for writing; what was written before with the same UIDVALIDITY counts.
func (t *Tree) Folder(mailbox string, validity uint32) (*Sink, error) {
	s := &Sink{dir: t.root, validity: validity, written: map[uint32]entry{}, flushes: &errgroup.Group{}}
	s.flushes.SetLimit(maxFlushes)
	if mailbox != "INBOX" {
		name, exact, err := t.claim(mailbox)
		if err != nil {
			return nil, err
		}
		if !exact {
			s.Directory = name
		}
		s.dir = filepath.Join(t.root, name)
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if mailbox != "INBOX" {
		if err := os.WriteFile(filepath.Join(s.dir, folderMark), nil, 0o600); err != nil {
			return nil, err
		}
	}
	return s, s.survey()
}

// ErrTaken is a mailbox for which there is no directory that another one does not have.
var ErrTaken = errors.New("every directory that could be its own is another folder's")

// claim finds the directory of a mailbox, or makes one that says whose it is before it is a folder.
func (t *Tree) claim(mailbox string) (name string, exact bool, err error) {
	root := os.DirFS(t.root)
	for try := range 7 {
		name, exact = directoryName(mailbox, try)
		of, err := readFolderOf(root, name)
		switch {
		case err != nil:
			return "", false, err
		case of.Mailbox == mailbox:
			return name, exact, nil
		case of.Mailbox != "" || !exact && Is(root, name):
			continue
		}
		dir := filepath.Join(t.root, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", false, err
		}
		note, err := json.Marshal(folderOf{Directory: name, Mailbox: mailbox})
		if err != nil {
			return "", false, err
		}
		return name, exact, replace(filepath.Join(dir, nameFile), string(note)+"\n")
	}
	return "", false, ErrTaken
}

// survey finds what is there, and removes what an earlier run left in tmp.
func (s *Sink) survey() error {
	tmp, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range tmp {
		if strings.Contains(e.Name(), ours) {
			if err := os.Remove(filepath.Join(s.dir, "tmp", e.Name())); err != nil {
				return err
			}
		}
	}
	list, err := os.ReadDir(filepath.Join(s.dir, "cur"))
	if err != nil {
		return err
	}
	for _, e := range list {
		var received int64
		var validity, uid uint32
		if n, _ := fmt.Sscanf(e.Name(), "%d.V%dU%d"+ours, &received, &validity, &uid); n == 3 && validity == s.validity {
			s.written[uid] = entry{name: e.Name()}
		}
	}
	root := os.DirFS(s.dir)
	if s.keywords, err = readKeywords(root, keywordList); err != nil {
		s.keywords = nil
	}
	return nil
}

// Has tells whether a message is there already, and gives it the flags that it has now. lost are keywords without room.
func (s *Sink) Has(m *Message) (there bool, lost []string, err error) {
	e, there := s.written[m.UID]
	if !there {
		return false, nil, nil
	}
	unique, _ := splitName(e.name)
	letters, lost := s.letters(m.Flags)
	name := unique + ":2," + letters
	if name != e.name {
		if err := os.Rename(filepath.Join(s.dir, "cur", e.name), filepath.Join(s.dir, "cur", name)); err != nil {
			return true, nil, err
		}
	}
	s.written[m.UID] = entry{name, m.UIDL}
	return true, lost, nil
}

// letters are those of flags; keywords get one in the order in which they come.
func (s *Sink) letters(flags []string) (letters string, lost []string) {
	var l []byte
next:
	for _, f := range flags {
		for _, fl := range flagLetters {
			if strings.EqualFold(fl.flag, f) {
				l = append(l, fl.letter)
				continue next
			}
		}
		i := slices.Index(s.keywords, f)
		if i < 0 && len(s.keywords) < maxKeywords {
			i = len(s.keywords)
			s.keywords = append(s.keywords, f)
		}
		if i < 0 {
			lost = append(lost, f)
			continue
		}
		l = append(l, byte('a'+i))
	}
	slices.Sort(l)
	return string(l), lost
}

// Put writes a message, which is read twice. One whose lines all end in CRLF is written with LF, as is the custom; any other
// as it is, octet by octet.
func (s *Sink) Put(m *Message, message io.ReadSeeker) (lost []string, err error) {
	size, lines, canonical, err := measure(message)
	if err != nil {
		return nil, err
	}
	if _, err := message.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	stored := size
	if canonical {
		stored -= lines
	}
	letters, lost := s.letters(m.Flags)
	unique := fmt.Sprintf("%d.V%dU%d%sS=%d,W=%d", m.Received.Unix(), s.validity, m.UID, ours, stored, size)
	path := filepath.Join(s.dir, "tmp", unique)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := copyMessage(f, message, canonical); err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	e := entry{unique + ":2," + letters, m.UIDL}
	s.flushes.Go(func() error {
		err := f.Sync()
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err == nil {
			err = os.Chtimes(path, m.Received, m.Received)
		}
		return err
	})
	s.written[m.UID] = e
	if s.pending = append(s.pending, e); len(s.pending) >= maxPending {
		return lost, s.name()
	}
	return lost, nil
}

// name gives the files that were flushed their names.
func (s *Sink) name() error {
	if err := s.flushes.Wait(); err != nil {
		return err
	}
	s.flushes = &errgroup.Group{}
	s.flushes.SetLimit(maxFlushes)
	for _, e := range s.pending {
		unique, _ := splitName(e.name)
		if err := os.Rename(filepath.Join(s.dir, "tmp", unique), filepath.Join(s.dir, "cur", e.name)); err != nil {
			return err
		}
	}
	s.pending = s.pending[:0]
	return syncDir(filepath.Join(s.dir, "cur"))
}

// Close writes what is pending, and Dovecot's files.
func (s *Sink) Close(next uint32) error {
	if err := s.name(); err != nil {
		return err
	}
	var b strings.Builder
	for i, k := range s.keywords {
		fmt.Fprintf(&b, "%d %s\n", i, k)
	}
	if err := replace(filepath.Join(s.dir, keywordList), b.String()); err != nil {
		return err
	}
	return replaceBy(filepath.Join(s.dir, uidList), func(w *bufio.Writer) {
		fmt.Fprintf(w, "3 V%d N%d\n", s.validity, next)
		for _, uid := range slices.Sorted(maps.Keys(s.written)) {
			e := s.written[uid]
			fmt.Fprintf(w, "%d", uid)
			if e.uidl != "" {
				fmt.Fprintf(w, " P%s", e.uidl)
			}
			unique, _ := splitName(e.name)
			fmt.Fprintf(w, " :%s\n", unique)
		}
	})
}

// measure counts octets and lines, and tells whether all lines end in CRLF and no CR stands alone.
func measure(r io.Reader) (size, lines int64, canonical bool, err error) {
	buf := make([]byte, 64<<10)
	canonical = true
	last := byte(0)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			if c == '\n' {
				lines++
			}
			if (c == '\n') != (last == '\r') {
				canonical = false
			}
			last = c
		}
		size += int64(n)
		if err == io.EOF {
			return size, lines, canonical && last != '\r', nil
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
}

func copyMessage(w io.Writer, r io.Reader, canonical bool) error {
	if !canonical {
		_, err := io.Copy(w, r)
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		kept := slices.DeleteFunc(buf[:n], func(c byte) bool { return c == '\r' })
		if _, werr := w.Write(kept); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func replace(path, text string) error {
	return replaceBy(path, func(w *bufio.Writer) { w.WriteString(text) })
}

// replaceBy writes a file anew, all of it or nothing.
func replaceBy(path string, write func(*bufio.Writer)) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone by then where all went well
	w := bufio.NewWriter(f)
	write(w)
	err = cmp.Or(w.Flush(), f.Sync())
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
