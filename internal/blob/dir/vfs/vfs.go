// Package vfs is the seam between the blob directory and the file system: the few calls it makes, and what they promise
// about a power cut. OS is the real one; memfs loses what was not flushed.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked is a lock that another holds.
var ErrLocked = errors.New("locked")

// FS is a file system. Paths are joined by filepath; missing files are fs.ErrNotExist. Its methods may be called at once
// from many goroutines.
//
// Making and removing files and folders is durable once SyncDir of the folder they are in has returned.
type FS interface {
	// Mkdir makes a folder; fs.ErrExist where there is something.
	Mkdir(path string) error
	// Create makes a new file to read and write; fs.ErrExist where there is something.
	Create(path string) (File, error)
	// Open opens a file to read.
	Open(path string) (File, error)
	// Modify opens a file that is there to read and write.
	Modify(path string) (File, error)
	// Link gives a file a second name; fs.ErrExist where there is something. Other errors may mean that the file system
	// has no second names.
	Link(path, second string) error
	// List returns the names in a folder, sorted.
	List(path string) ([]string, error)
	// Remove removes a file. Files that are open stay readable.
	Remove(path string) error
	// SyncDir makes a folder's entries durable.
	SyncDir(path string) error
	// Lock takes an exclusive lock on a file, which it makes where it is missing, until the lock is closed or the process
	// ends. ErrLocked, with a word about the holder.
	Lock(path string) (io.Closer, error)
}

// File is an open file. Reads may run at once with writes and each other; writes may not.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteVec writes the buffers one after another from off on, extending the file: after an error any part of them
	// may be in the file. It does not keep the buffers; it may change the slice of them.
	WriteVec(bufs [][]byte, off int64) error
	// Truncate sets the length.
	Truncate(size int64) error
	// Sync makes content and all metadata durable, whoever wrote them. After it failed, what was written before and not flushed may be lost
	// for good, whatever a later Sync says.
	Sync() error
	// SyncData makes content and length durable; it fails as Sync does.
	SyncData() error
	// Size is the length.
	Size() (int64, error)
}
