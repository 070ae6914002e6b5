package memfs

import (
	"io"
	"os"
	"syscall"
)

type file struct {
	fs       *FS
	path     string
	content  *content
	writable bool
	closed   bool // guarded by fs.mu
}

func (f *file) usable() error {
	switch {
	case f.fs.dead:
		return ErrPowerCut
	case f.closed:
		return os.ErrClosed
	}
	return nil
}

// ReadAt reads what processes see.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, failed("read", f.path, err)
	}
	if off >= int64(len(f.content.seen)) {
		return 0, io.EOF
	}
	n := copy(p, f.content.seen[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// change begins an operation on a file open for writing. Called with mu held.
func (f *file) change(kind Kind) (cut bool, err error) {
	if err := f.usable(); err != nil {
		return false, err
	}
	if !f.writable {
		return false, syscall.EBADF
	}
	return f.fs.begin(kind, f.path)
}

// WriteVec writes the buffers; with an error injected, half of them.
func (f *file) WriteVec(bufs [][]byte, off int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	var all []byte
	for _, b := range bufs {
		all = append(all, b...)
	}
	cut, err := f.change(Write)
	switch {
	case err != nil && (!f.writable || f.usable() != nil):
		return failed(Write, f.path, err)
	case err != nil:
		f.content.write(all[:len(all)/2], off)
		return failed(Write, f.path, err)
	}
	f.content.write(all, off)
	return result(cut)
}

func (c *content) write(b []byte, off int64) {
	if len(b) == 0 {
		return
	}
	if end := off + int64(len(b)); end > int64(len(c.seen)) {
		c.seen = append(c.seen, make([]byte, end-int64(len(c.seen)))...)
	}
	copy(c.seen[off:], b)
	for s := off / Sector; s*Sector < off+int64(len(b)); s++ {
		c.dirty[int(s)] = true
	}
}

// Truncate sets the length.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	cut, err := f.change(Truncate)
	if err != nil {
		return failed(Truncate, f.path, err)
	}
	c := f.content
	if size <= int64(len(c.seen)) {
		c.seen = c.seen[:size:size]
		for s := range c.dirty {
			if int64(s)*Sector >= size {
				delete(c.dirty, s)
			}
		}
	} else {
		c.seen = append(c.seen, make([]byte, size-int64(len(c.seen)))...)
	}
	return result(cut)
}

// Sync makes content and length durable.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	cut, err := f.change(Sync)
	if err != nil {
		// As Linux does: the pages count as clean, and no later flush writes them.
		clear(f.content.dirty)
		return failed(Sync, f.path, err)
	}
	if cut {
		return ErrPowerCut
	}
	c := f.content
	c.held = c.image(func() bool { return true })
	clear(c.dirty)
	return nil
}

// SyncData is Sync.
func (f *file) SyncData() error { return f.Sync() }

// Size is the length that processes see.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, failed("size", f.path, err)
	}
	return int64(len(f.content.seen)), nil
}

// Close closes the file.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	return nil
}
