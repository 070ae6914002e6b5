package vfs

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxVec is how many buffers one call takes (IOV_MAX).
const maxVec = 1024

// WriteVec writes the buffers by as few pwritev calls as the kernel allows.
func (f *file) WriteVec(bufs [][]byte, off int64) error {
	for {
		for len(bufs) > 0 && len(bufs[0]) == 0 {
			bufs = bufs[1:]
		}
		if len(bufs) == 0 {
			return nil
		}
		n, err := unix.Pwritev(f.fd, bufs[:min(maxVec, len(bufs))], off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		case n == 0:
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrShortWrite}
		}
		off += int64(n)
		bufs = behind(bufs, n)
	}
}

// behind drops the first n octets.
func behind(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

// SyncData flushes content and length (fdatasync).
func (f *file) SyncData() error {
	if err := ignoringEINTR(func() error { return unix.Fdatasync(f.fd) }); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
