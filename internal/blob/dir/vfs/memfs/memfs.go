// Package memfs is a file system in memory that knows what was flushed, for tests of what a power cut leaves.
//
// It keeps every file and folder twice: as processes see it, and as the disk holds it. Restart makes a file system of what
// the disk holds and a part of the rest, as a kernel may have written it back in any order: sector by sector, and each
// folder's entry by itself. Durability of a file and of its name are apart, as POSIX has it.
package memfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
)

// Sector is what the disk writes as a whole, octets.
const Sector = 512

// ErrPowerCut is what every call returns once the power was cut.
var ErrPowerCut = errors.New("power cut")

// Kind is what an operation that changes something does.
type Kind string

// Kinds.
const (
	Mkdir    Kind = "mkdir"
	Create   Kind = "create"
	Link     Kind = "link"
	Remove   Kind = "remove"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	SyncDir  Kind = "syncdir"
)

// Op is one operation that changes something, or makes it durable.
type Op struct {
	// Number counts from 1 since the file system was made.
	Number int
	Kind   Kind
	Path   string
}

// FS is the file system. Make it by New.
type FS struct {
	mu     sync.Mutex
	root   *folder
	ops    int
	inject func(Op) error
	dead   bool
	locks  map[string]bool
}

var _ vfs.FS = (*FS)(nil)

type node interface {
	clone(done map[node]node) node
}

type folder struct {
	seen, held map[string]node // as processes see it, as the disk holds it
}

type content struct {
	seen, held []byte
	dirty      map[int]bool // sectors whose seen content was not flushed
}

func newFolder() *folder { return &folder{seen: map[string]node{}, held: map[string]node{}} }

// New makes an empty file system with the folder "/".
func New() *FS { return &FS{root: newFolder(), locks: map[string]bool{}} }

// Inject has f called before every operation; what it returns is the operation's error.
//
// ErrPowerCut stops the file system for good, with the operation done but not flushed. After any other error a Write may
// have written a part, and a Sync has lost what was to be flushed: the file still shows it, the disk never gets it.
func (m *FS) Inject(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// Ops is how many operations there were.
func (m *FS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// begin counts an operation. cut tells that the power goes while it is done. Called with mu held.
func (m *FS) begin(kind Kind, path string) (cut bool, err error) {
	if m.dead {
		return false, ErrPowerCut
	}
	m.ops++
	if m.inject == nil {
		return false, nil
	}
	err = m.inject(Op{Number: m.ops, Kind: kind, Path: path})
	if errors.Is(err, ErrPowerCut) {
		m.dead = true
		return true, nil
	}
	return false, err
}

// result of an operation during which the power may have gone.
func result(cut bool) error {
	if cut {
		return ErrPowerCut
	}
	return nil
}

func (m *FS) find(path string) (node, error) {
	var at node = m.root
	for name := range strings.SplitSeq(strings.Trim(filepath.ToSlash(path), "/"), "/") {
		if name == "" {
			continue
		}
		f, ok := at.(*folder)
		if !ok {
			return nil, syscall.ENOTDIR
		}
		if at, ok = f.seen[name]; !ok {
			return nil, fs.ErrNotExist
		}
	}
	return at, nil
}

func (m *FS) folder(path string) (*folder, error) {
	at, err := m.find(path)
	if err != nil {
		return nil, err
	}
	f, ok := at.(*folder)
	if !ok {
		return nil, syscall.ENOTDIR
	}
	return f, nil
}

func failed(kind Kind, path string, err error) error {
	return &fs.PathError{Op: string(kind), Path: path, Err: err}
}

// add puts a node under a new name.
func (m *FS) add(kind Kind, path string, n node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return failed(kind, path, ErrPowerCut)
	}
	parent, err := m.folder(filepath.Dir(path))
	if err != nil {
		return failed(kind, path, err)
	}
	name := filepath.Base(path)
	if _, ok := parent.seen[name]; ok {
		return failed(kind, path, fs.ErrExist)
	}
	cut, err := m.begin(kind, path)
	if err != nil {
		return failed(kind, path, err)
	}
	parent.seen[name] = n
	return result(cut)
}

// Mkdir makes a folder.
func (m *FS) Mkdir(path string) error { return m.add(Mkdir, path, newFolder()) }

// Create makes a new file.
func (m *FS) Create(path string) (vfs.File, error) {
	c := &content{dirty: map[int]bool{}}
	if err := m.add(Create, path, c); err != nil {
		return nil, err
	}
	return &file{fs: m, path: path, content: c, writable: true}, nil
}

// Open opens a file to read.
func (m *FS) Open(path string) (vfs.File, error) { return m.open(path, false) }

// Modify opens a file to read and write.
func (m *FS) Modify(path string) (vfs.File, error) { return m.open(path, true) }

func (m *FS) open(path string, writable bool) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, failed("open", path, ErrPowerCut)
	}
	n, err := m.find(path)
	if err != nil {
		return nil, failed("open", path, err)
	}
	c, ok := n.(*content)
	if !ok {
		return nil, failed("open", path, syscall.EISDIR)
	}
	return &file{fs: m, path: path, content: c, writable: writable}, nil
}

// Link gives a file a second name.
func (m *FS) Link(path, second string) error {
	m.mu.Lock()
	n, err := m.find(path)
	m.mu.Unlock()
	if err != nil {
		return failed(Link, path, err)
	}
	if _, ok := n.(*content); !ok {
		return failed(Link, path, syscall.EPERM)
	}
	return m.add(Link, second, n)
}

// List returns the names in a folder.
func (m *FS) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, failed("list", path, ErrPowerCut)
	}
	f, err := m.folder(path)
	if err != nil {
		return nil, failed("list", path, err)
	}
	names := make([]string, 0, len(f.seen))
	for name := range f.seen {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

// Remove removes a file.
func (m *FS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	cut, err := m.begin(Remove, path)
	if err != nil {
		return failed(Remove, path, err)
	}
	parent, err := m.folder(filepath.Dir(path))
	if err != nil {
		return failed(Remove, path, err)
	}
	name := filepath.Base(path)
	if _, ok := parent.seen[name].(*content); !ok {
		return failed(Remove, path, fs.ErrNotExist)
	}
	delete(parent.seen, name)
	return result(cut)
}

// SyncDir makes a folder's entries durable.
func (m *FS) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	cut, err := m.begin(SyncDir, path)
	if err != nil {
		return failed(SyncDir, path, err)
	}
	f, err := m.folder(path)
	if err != nil {
		return failed(SyncDir, path, err)
	}
	if cut {
		return ErrPowerCut
	}
	f.held = make(map[string]node, len(f.seen))
	for name, n := range f.seen {
		f.held[name] = n
	}
	return nil
}

type lock struct {
	fs   *FS
	path string
	once sync.Once
}

// Lock takes a lock, which holds until it is closed or the file system is restarted. It counts as no operation.
func (m *FS) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, failed("lock", path, ErrPowerCut)
	}
	if m.locks[path] {
		return nil, fmt.Errorf("%w by this process", vfs.ErrLocked)
	}
	parent, err := m.folder(filepath.Dir(path))
	if err != nil {
		return nil, failed("lock", path, err)
	}
	if name := filepath.Base(path); parent.seen[name] == nil {
		parent.seen[name] = &content{dirty: map[int]bool{}}
	}
	m.locks[path] = true
	return &lock{fs: m, path: path}, nil
}

func (l *lock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.path)
	})
	return nil
}
