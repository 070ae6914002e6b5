package repo

import (
	"context"
	"errors"
	"io"
)

// Errors that callers branch on.
var (
	// ErrNotFound is an object that is not there.
	ErrNotFound = errors.New("not in the repository")
	// ErrCorrupt is one whose octets are not those it is named by.
	ErrCorrupt = errors.New("damaged")
	// ErrLocked is a repository that another process writes to.
	ErrLocked = errors.New("another process works on the repository")
)

// Backend keeps files. Names have slashes between levels.
type Backend interface {
	// Put writes a file, whole or not at all; it is durable when Put returns without error.
	Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error
	// Get reads from an offset so many octets, or with length -1 to the end. ErrNotFound.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// List tells the files of a folder, by name; none where there is no such folder.
	List(ctx context.Context, folder string) ([]File, error)
	// Remove removes a file; one that is not there is no error.
	Remove(ctx context.Context, name string) error
	// Lock keeps other writers out until release, or until this process is dead. ErrLocked.
	Lock(ctx context.Context) (release func() error, err error)
	// String names the place for people.
	String() string
}

// File is what List tells.
type File struct {
	// Name is whole, with its folder; Size is what it has where it lies, octets.
	Name string
	Size int64
}
