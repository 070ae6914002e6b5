package dir

import (
	"sync"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
)

// fileKey names a file of the directory: a segment, or a body apart.
type fileKey struct {
	incarnation uint64
	apart       bool
	number      uint64
}

// files keeps files open for reading: those in use, and of the others the ones used last.
type files struct {
	fs  vfs.FS
	max int

	mu     sync.Mutex
	open   map[fileKey]*handle
	clock  uint64 // counts uses
	closed bool
}

// handle is an open file in use. Release it.
type handle struct {
	vfs.File
	files *files
	key   fileKey

	// guarded by files.mu
	users  int
	used   uint64 // the clock when it was last released
	unkept bool   // closed once nobody uses it
}

func newFiles(fs vfs.FS, max int) *files {
	return &files{fs: fs, max: max, open: map[fileKey]*handle{}}
}

// acquire opens the file at path, unless it is open already.
func (fs *files) acquire(key fileKey, path func() string) (*handle, error) {
	if h, err := fs.known(key); h != nil || err != nil {
		return h, err
	}
	f, err := fs.fs.Open(path())
	if err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	h := &handle{File: f, files: fs, key: key, users: 1}
	// Another may have opened it meanwhile: then this one is for one use.
	if h.unkept = fs.closed || fs.open[key] != nil; !h.unkept {
		fs.open[key] = h
		fs.trim()
	}
	return h, nil
}

func (fs *files) known(key fileKey) (*handle, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, blob.ErrClosed
	}
	h := fs.open[key]
	if h != nil {
		h.users++
	}
	return h, nil
}

// release ends one use.
func (h *handle) release() {
	fs := h.files
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.clock++
	h.used = fs.clock
	if h.users--; h.users > 0 {
		return
	}
	if h.unkept {
		h.Close()
		return
	}
	fs.trim()
}

// trim closes files that nobody uses, those used longest ago first, until the limit is kept. Called with mu held.
func (fs *files) trim() {
	for len(fs.open) > fs.max {
		var oldest *handle
		for _, h := range fs.open {
			if h.users == 0 && (oldest == nil || h.used < oldest.used) {
				oldest = h
			}
		}
		if oldest == nil {
			return
		}
		delete(fs.open, oldest.key)
		oldest.Close()
	}
}

// forget makes the next acquire open the file anew, for one that was removed.
func (fs *files) forget(key fileKey) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if h := fs.open[key]; h != nil {
		fs.drop(h)
	}
}

// close closes what nobody uses; the rest is closed when it is released.
func (fs *files) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.closed = true
	for _, h := range fs.open {
		fs.drop(h)
	}
}

// drop keeps the file no longer than it is used. Called with mu held.
func (fs *files) drop(h *handle) {
	delete(fs.open, h.key)
	if h.unkept = true; h.users == 0 {
		h.Close()
	}
}
