package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailfarm/mailfarm/internal/filelock"
)

// partial is what files are called before they are whole.
const partial = ".partial"

// Dir is a repository in a folder.
type Dir struct{ path string }

// OpenDir takes a folder, and makes it where make says so.
func OpenDir(path string, create bool) (*Dir, error) {
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("repository: %w", err)
		}
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no repository %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("repository %s is not a folder", path)
	}
	return &Dir{path}, nil
}

// String is the folder's path.
func (d *Dir) String() string { return d.path }

func (d *Dir) file(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// Put writes beside, flushes, renames, and flushes the folder.
func (d *Dir) Put(_ context.Context, name string, body io.ReadSeeker, _ int64) (err error) {
	path := d.file(name)
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(path + partial)
		}
	}()
	if _, err = io.Copy(f, body); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(path+partial, path); err != nil {
		return err
	}
	return errors.Join(syncDir(folder), syncDir(d.path))
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get opens a file at an offset.
func (d *Dir) Get(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	f, err := os.Open(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if length < 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, length), f}, nil
}

// List reads a folder, without what is not whole.
func (d *Dir) List(_ context.Context, folder string) (list []File, err error) {
	entries, err := os.ReadDir(d.file(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), partial) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, File{folder + "/" + e.Name(), info.Size()})
	}
	return list, nil
}

// Remove removes a file.
func (d *Dir) Remove(_ context.Context, name string) error {
	err := os.Remove(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Lock holds a lock of the file system, which ends with the process.
func (d *Dir) Lock(context.Context) (func() error, error) {
	l, err := filelock.Take(d.file("lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, err
	}
	return l.Release, nil
}
