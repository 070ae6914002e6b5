package archive

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mailfarm/mailfarm/internal/mbox"
)

// partsSuffix is of the directory beside a zip file in which its mboxes are written: only there can an export go on that was cut off,
// as a zip file tells what is in it at its end.
const partsSuffix = ".parts"

// lockSuffix is of the file beside a zip file that an export holds: that directory goes, and a lock file is to stay.
const lockSuffix = ".lock"

// zipWriter writes a tree of mboxes, and packs it into a zip file once it is whole.
type zipWriter struct {
	*mboxWriter
	path string
}

func newZipWriter(path string, dialect mbox.Dialect, of string) (*zipWriter, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, where a zip file is to be", path)
	}
	w, err := newMboxWriter(path+partsSuffix, path+lockSuffix, dialect, of)
	if err != nil {
		return nil, err
	}
	w.zipped = true
	return &zipWriter{w, path}, nil
}

func (w *zipWriter) Close([]string) error {
	defer w.lock.Release()
	p, err := newPart(w.path)
	if err != nil {
		return err
	}
	if err := w.pack(p); err != nil {
		p.Abort()
		return err
	}
	// The journal goes first: a later export is not to take what this one wrote for what it has begun.
	if err := w.journal.remove(); err != nil {
		p.Abort()
		return err
	}
	if err := p.Done(); err != nil {
		return err
	}
	return os.RemoveAll(w.root)
}

func (w *zipWriter) pack(out io.Writer) error {
	z := zip.NewWriter(out)
	for _, name := range w.files {
		if err := w.add(z, name); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	return z.Close()
}

func (w *zipWriter) add(z *zip.Writer, name string) error {
	f, err := os.Open(filepath.Join(w.root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	entry, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Now()})
	if err != nil {
		return err
	}
	_, err = io.Copy(entry, f)
	return err
}
