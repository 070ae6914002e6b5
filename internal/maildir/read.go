package maildir

import (
	"bufio"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Folder is one to be read.
type Folder struct {
	fsys fs.FS
	dir  string
	// UIDValidity and UIDNext are 0 where nobody noted them.
	UIDValidity, UIDNext uint32
	// Messages come in the order of their UIDs, those without one behind, in the order of their names.
	Messages []Message
	// Doubts are what could not be read of the files beside the messages.
	Doubts []error
	// Left are what lies where messages do and is no file.
	Left []Left
}

// Left is something that is not read; Path is below the folder.
type Left struct {
	Path string
	Why  error
}

// Is tells whether a directory is a folder: it has cur and new, or one of them with messages. Copies often lack the one that was
// empty, and zip files have no empty directories at all.
func Is(fsys fs.FS, dir string) bool {
	cur, new := isDir(fsys, join(dir, "cur")), isDir(fsys, join(dir, "new"))
	switch {
	case cur && new:
		return true
	case cur:
		return isDir(fsys, join(dir, "tmp")) || hasMessages(fsys, join(dir, "cur"))
	case new:
		return hasMessages(fsys, join(dir, "new"))
	}
	return false
}

func isDir(fsys fs.FS, dir string) bool {
	info, err := fs.Stat(fsys, dir)
	return err == nil && info.IsDir()
}

// hasMessages tells whether a file is called as messages are: with flags behind, or with the time in front. There may be mboxes in
// a directory that happens to be called so.
func hasMessages(fsys fs.FS, dir string) bool {
	list, err := fs.ReadDir(fsys, dir)
	return err == nil && slices.ContainsFunc(list, func(e fs.DirEntry) bool {
		unique, _ := splitName(e.Name())
		before, after, ok := strings.Cut(unique, ".")
		timed := ok && before != "" && strings.Trim(before, "0123456789") == "" && after != "mbox" && after != "mbx"
		return e.Type().IsRegular() && (unique != e.Name() || timed)
	})
}

// Subscriptions are the mailboxes that the owner of a Maildir++ tree is subscribed to.
func Subscriptions(fsys fs.FS, dir string) ([]string, error) { return readSubscriptions(fsys, dir) }

// Open lists a folder.
func Open(fsys fs.FS, dir string) (*Folder, error) {
	f := &Folder{fsys: fsys, dir: dir}
	list, err := readUIDList(fsys, join(dir, uidList))
	if err != nil {
		f.Doubts = append(f.Doubts, fmt.Errorf("UIDs are not kept: %w", err))
		list = numbers{}
	}
	f.UIDValidity, f.UIDNext = list.validity, list.next
	keywords, err := readKeywords(fsys, join(dir, keywordList))
	if err != nil {
		f.Doubts = append(f.Doubts, fmt.Errorf("keywords are not kept: %w", err))
	}
	for _, sub := range []string{"cur", "new"} {
		if !isDir(fsys, join(dir, sub)) {
			continue
		}
		if err := f.list(sub, list.messages, keywords); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(f.Messages, func(a, b Message) int {
		if (a.UID == 0) != (b.UID == 0) {
			return cmp.Compare(b.UID, a.UID) // 0 behind
		}
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Path[4:], b.Path[4:]))
	})
	return f, nil
}

// list takes the messages of cur or new. What is read of a file besides its name is read with it.
func (f *Folder) list(sub string, numbered map[string]known, keywords []string) error {
	entries, err := fs.ReadDir(f.fsys, join(f.dir, sub))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if t := e.Type(); !t.IsRegular() {
			f.leave(sub+"/"+name, t)
			continue
		}
		if len(f.Messages) >= MaxListed {
			return fmt.Errorf("more than %d messages in one folder", MaxListed)
		}
		unique, letters := splitName(name)
		k := numbered[unique]
		f.Messages = append(f.Messages, Message{Path: sub + "/" + name, Flags: flagsOf(letters, keywords), UID: k.uid, UIDL: k.uidl})
	}
	return nil
}

// maxLeft is how many files are told that are left.
const maxLeft = 10_000

// ErrLink is a symbolic link: it is not followed, wherever it leads.
var ErrLink = errors.New("a symbolic link, which is not followed")

func (f *Folder) leave(path string, t fs.FileMode) {
	why := errors.New("no file")
	if t&fs.ModeSymlink != 0 {
		why = ErrLink
	}
	if len(f.Left) < maxLeft {
		f.Left = append(f.Left, Left{path, why})
	}
}

// ErrCompressed is a file that is compressed in a way that is not known.
var ErrCompressed = errors.New("file is compressed in a way that is not known")

// Read opens a message, with CRLF, and fills in its Size and Received. A file whose first line ends in CRLF is what it is, and
// so is one of our own that was not written with LF. One that is compressed is read as what was compressed.
func (f *Folder) Read(m *Message) (io.ReadCloser, error) {
	file, err := f.fsys.Open(join(f.dir, m.Path))
	if err != nil {
		return nil, err
	}
	r, err := f.read(m, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func (f *Folder) read(m *Message, file fs.File) (io.ReadCloser, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("no file")
	}
	if err != nil {
		return nil, err
	}
	m.Size, m.Received = info.Size(), info.ModTime()
	unique, _ := splitName(m.Path)
	stored, whole := sizesOf(unique)
	src := bufio.NewReaderSize(file, 64<<10)
	if strings.Contains(unique, ours) && stored == m.Size { // whatever it begins with: it is as it was written
		if whole == m.Size {
			return closing{src, file.Close}, nil
		}
		return closing{&lineReader{src: src}, file.Close}, nil
	}
	text, done, err := decompress(src)
	if err != nil {
		return nil, err
	}
	return closing{&lineReader{src: bufio.NewReaderSize(text, 64<<10)}, func() error { done(); return file.Close() }}, nil
}

// closing closes what is read from.
type closing struct {
	io.Reader
	close func() error
}

func (c closing) Close() error { return c.close() }

// sizesOf are those in a file name: how many octets it has, and how many with CRLF; -1 where it does not say.
func sizesOf(unique string) (stored, whole int64) {
	stored, whole = -1, -1
	for _, field := range strings.Split(unique, ",")[1:] {
		for key, to := range map[string]*int64{"S=": &stored, "W=": &whole} {
			if text, ok := strings.CutPrefix(field, key); ok {
				if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
					*to = n
				}
			}
		}
	}
	return stored, whole
}

// maxWindow is how much memory unpacking may want, octets.
const maxWindow = 64 << 20

// decompress reads what a file is compressed of, as its first octets tell: no text begins so. done frees what it holds.
func decompress(src *bufio.Reader) (text io.Reader, done func(), err error) {
	head, _ := src.Peek(10) // shorter ones are not compressed
	done = func() {}
	switch begin := string(head); {
	case strings.HasPrefix(begin, "\x1f\x8b\x08"):
		text, err = gzip.NewReader(src)
		return text, done, err
	case len(begin) == 10 && begin[:3] == "BZh" && begin[4:] == "1AY&SY":
		return bzip2.NewReader(src), done, nil
	case strings.HasPrefix(begin, "\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case strings.HasPrefix(begin, "\xfd7zXZ\x00"):
		return nil, nil, ErrCompressed
	}
	return src, done, nil
}

// lineReader turns LF into CRLF where the first line ends in LF.
type lineReader struct {
	src *bufio.Reader
	// decided tells that a line end was seen, and asIs that it was CRLF.
	decided, asIs bool
	last          byte
	buf, out      []byte
	err           error
}

func (r *lineReader) Read(p []byte) (int, error) {
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

func (r *lineReader) fill() {
	piece, err := r.src.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		err = nil
	}
	r.err = err
	if len(piece) == 0 {
		return
	}
	if n := len(piece); piece[n-1] == '\n' && !r.asIs {
		cr := n > 1 && piece[n-2] == '\r' || n == 1 && r.last == '\r'
		if !r.decided {
			r.decided, r.asIs = true, cr
		}
		if !cr {
			r.buf = append(append(r.buf[:0], piece[:n-1]...), '\r', '\n')
			r.out, r.last = r.buf, '\n'
			return
		}
	}
	r.last = piece[len(piece)-1]
	r.buf = append(r.buf[:0], piece...)
	r.out = r.buf
}
