//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system. Files and folders are made for the owner alone.
type OS struct{}

var _ FS = OS{}

// Mkdir makes a folder.
func (OS) Mkdir(path string) error { return os.Mkdir(path, 0o700) }

// Create makes a new file.
func (OS) Create(path string) (File, error) { return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

// Open opens a file to read.
func (OS) Open(path string) (File, error) { return open(path, os.O_RDONLY) }

// Modify opens a file to read and write.
func (OS) Modify(path string) (File, error) { return open(path, os.O_RDWR) }

// Link makes a hard link.
func (OS) Link(path, second string) error { return os.Link(path, second) }

// List returns the names in a folder.
func (OS) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Remove removes a file.
func (OS) Remove(path string) error { return os.Remove(path) }

// SyncDir flushes a folder.
func (OS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Lock takes a flock, which the kernel gives back when the process ends, however it ends. The file tells the holder's
// process id to people.
func (OS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w by process %s", ErrLocked, strings.TrimSpace(string(holder[:n])))
		}
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	// The process id is for people only: a full disk does not keep us from the lock.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

type file struct {
	*os.File
	fd int // valid until Close; only for calls that do not run at once with it
}

func open(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fd: int(f.Fd())}, nil
}

func (f *file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
