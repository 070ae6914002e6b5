package vfs_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/vfstest"
)

func TestOS(t *testing.T) { vfstest.Run(t, vfs.OS{}, t.TempDir()) }

func TestOSLockNamesHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := vfs.OS{}.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err = (vfs.OS{}).Lock(path); !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("Lock again: %q, want it to name process %d", err, os.Getpid())
	}
}

// Other users read no mail.
func TestOSFilesAreTheOwners(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	if err := (vfs.OS{}).Mkdir(folder); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS{}.Create(filepath.Join(folder, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, path := range []string{folder, filepath.Join(folder, "file")} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
