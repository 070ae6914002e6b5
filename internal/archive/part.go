package archive

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// partSuffix is of files that are not whole.
const partSuffix = ".part"

// part is a file that gets its name once it is whole.
type part struct {
	*os.File
	path string
}

func newPart(path string) (*part, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+partSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &part{f, path}, syncDir(filepath.Dir(path))
}

// holds tells whether a file has so many octets, whole or not.
func holds(path string, octets int64) bool {
	info, err := os.Stat(path + partSuffix)
	if errors.Is(err, os.ErrNotExist) {
		info, err = os.Stat(path)
	}
	return err == nil && info.Mode().IsRegular() && info.Size() >= octets
}

// oldPart goes on with a file behind so many octets; one that is whole loses its name meanwhile.
func oldPart(path string, octets int64) (*part, error) {
	if _, err := os.Stat(path + partSuffix); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(path, path+partSuffix); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path+partSuffix, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(octets); err != nil {
		f.Close()
		return nil, err
	}
	_, err = f.Seek(octets, io.SeekStart)
	return &part{f, path}, err
}

func (p *part) Done() error {
	err := errors.Join(p.Sync(), p.File.Close())
	if err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(p.path))
}

func (p *part) Abort() {
	if p.File.Close() == nil {
		os.Remove(p.Name())
	}
}
