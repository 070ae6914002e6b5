// Package vfstest is the contract suite of vfs.FS, as far as it shows without a power cut.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
)

// Run tests the contract in an empty folder of fsys.
func Run(t *testing.T, fsys vfs.FS, root string) {
	path := func(elem ...string) string { return filepath.Join(append([]string{root}, elem...)...) }
	wantErr := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	t.Run("folders", func(t *testing.T) {
		must("Mkdir", fsys.Mkdir(path("a")))
		wantErr("Mkdir again", fsys.Mkdir(path("a")), fs.ErrExist)
		wantErr("Mkdir without parent", fsys.Mkdir(path("no", "b")), fs.ErrNotExist)
		must("Mkdir", fsys.Mkdir(path("a", "c")))
		must("Mkdir", fsys.Mkdir(path("a", "b")))
		must("SyncDir", fsys.SyncDir(path("a")))
		wantErr("SyncDir of nothing", fsys.SyncDir(path("no")), fs.ErrNotExist)
		names, err := fsys.List(path("a"))
		if err != nil || !slices.Equal(names, []string{"b", "c"}) {
			t.Errorf("List: %v, %v", names, err)
		}
		_, err = fsys.List(path("no"))
		wantErr("List of nothing", err, fs.ErrNotExist)
	})

	t.Run("links", func(t *testing.T) {
		f, err := fsys.Create(path("first"))
		must("Create", err)
		must("WriteVec", f.WriteVec([][]byte{[]byte("x")}, 0))
		must("Close", f.Close())
		must("Link", fsys.Link(path("first"), path("second")))
		wantErr("Link again", fsys.Link(path("first"), path("second")), fs.ErrExist)
		wantErr("Link of nothing", fsys.Link(path("no"), path("third")), fs.ErrNotExist)
		must("Remove", fsys.Remove(path("first")))
		f, err = fsys.Open(path("second"))
		must("Open", err)
		defer f.Close()
		if size, err := f.Size(); size != 1 || err != nil {
			t.Errorf("Size of what has lost its first name: %d, %v", size, err)
		}
	})

	t.Run("files", func(t *testing.T) {
		name := path("file")
		_, err := fsys.Open(name)
		wantErr("Open of nothing", err, fs.ErrNotExist)
		f, err := fsys.Create(name)
		must("Create", err)
		_, err = fsys.Create(name)
		wantErr("Create again", err, fs.ErrExist)
		_, err = fsys.Create(path("no", "file"))
		wantErr("Create without folder", err, fs.ErrNotExist)

		must("WriteVec", f.WriteVec([][]byte{[]byte("one "), nil, []byte("two "), []byte("three")}, 0))
		must("WriteVec behind the end", f.WriteVec([][]byte{[]byte("x")}, 20))
		must("WriteVec of nothing", f.WriteVec(nil, 99))
		must("SyncData", f.SyncData())
		must("Sync", f.Sync())
		want := append([]byte("one two three"), 0, 0, 0, 0, 0, 0, 0, 'x')
		checkFile(t, f, want)

		r, err := fsys.Open(name)
		must("Open", err)
		checkFile(t, r, want)
		if err := r.WriteVec([][]byte{[]byte("y")}, 0); err == nil {
			t.Errorf("WriteVec to a file open for reading: no error")
		}
		m, err := fsys.Modify(name)
		must("Modify", err)
		must("WriteVec", m.WriteVec([][]byte{[]byte("t")}, 4))
		must("Sync", m.Sync())
		checkFile(t, m, want)
		must("Close", m.Close())
		_, err = fsys.Modify(path("no"))
		wantErr("Modify of nothing", err, fs.ErrNotExist)
		must("Truncate", f.Truncate(5))
		checkFile(t, r, want[:5])
		must("Truncate", f.Truncate(7))
		checkFile(t, r, append(bytes.Clone(want[:5]), 0, 0))
		must("Remove", fsys.Remove(name))
		wantErr("Remove again", fsys.Remove(name), fs.ErrNotExist)
		checkFile(t, r, append(bytes.Clone(want[:5]), 0, 0))
		must("Close", f.Close())
		must("Close", r.Close())
		if _, err := r.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
			t.Errorf("ReadAt behind Close: %v", err)
		}
	})

	t.Run("many buffers", func(t *testing.T) {
		f, err := fsys.Create(path("many"))
		must("Create", err)
		defer f.Close()
		var bufs [][]byte
		var want []byte
		for i := range 3000 {
			b := bytes.Repeat([]byte{byte(i)}, i%700)
			bufs = append(bufs, b)
			want = append(want, b...)
		}
		must("WriteVec", f.WriteVec(bufs, 3))
		checkFile(t, f, append(make([]byte, 3), want...))
	})

	t.Run("lock", func(t *testing.T) {
		l, err := fsys.Lock(path("lock"))
		must("Lock", err)
		_, err = fsys.Lock(path("lock"))
		wantErr("Lock again", err, vfs.ErrLocked)
		must("Close", l.Close())
		l, err = fsys.Lock(path("lock"))
		must("Lock of what was given back", err)
		must("Close", l.Close())
	})
}

func checkFile(t *testing.T, f vfs.File, want []byte) {
	t.Helper()
	size, err := f.Size()
	if size != int64(len(want)) || err != nil {
		t.Errorf("Size: %d, %v; want %d", size, err, len(want))
	}
	got := make([]byte, len(want)+10)
	n, err := f.ReadAt(got, 0)
	if !bytes.Equal(got[:n], want) || err != io.EOF {
		t.Errorf("ReadAt: %d octets %.40q, %v; want %d octets %.40q, EOF", n, got[:n], err, len(want), want)
	}
	if _, err := f.ReadAt(got[:1], int64(len(want))); err != io.EOF {
		t.Errorf("ReadAt at the end: %v, want EOF", err)
	}
}
