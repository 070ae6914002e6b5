package memfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/vfstest"
)

func TestContract(t *testing.T) { vfstest.Run(t, memfs.New(), "/") }

func create(t *testing.T, m vfs.FS, path, content string) vfs.File {
	t.Helper()
	f, err := m.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteVec([][]byte{[]byte(content)}, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, m vfs.FS, path string) string {
	t.Helper()
	f, err := m.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRestart(t *testing.T) {
	m := memfs.New()
	neither := create(t, m, "/neither", "x")
	name := create(t, m, "/name", "x")
	both := create(t, m, "/both", "old")
	both.Sync()
	removed := create(t, m, "/removed", "x")
	removed.Sync()
	m.SyncDir("/")
	m.Remove("/removed")
	later := create(t, m, "/later", "flushed, but nobody knows its name")
	later.Sync()
	both.WriteVec([][]byte{[]byte("newer")}, 0)

	lost := m.Restart(memfs.Nothing)
	kept := m.Restart(memfs.Everything)
	for _, test := range []struct{ path, lost, kept string }{
		{"/neither", "", "x"},
		{"/name", "", "x"},
		{"/both", "old", "newer"},
		{"/removed", "x", "missing"},
		{"/later", "missing", "flushed, but nobody knows its name"},
	} {
		if got := read(t, lost, test.path); got != test.lost {
			t.Errorf("%s, nothing kept: %q, want %q", test.path, got, test.lost)
		}
		if got := read(t, kept, test.path); got != test.kept {
			t.Errorf("%s, everything kept: %q, want %q", test.path, got, test.kept)
		}
	}
	for _, f := range []vfs.File{neither, name, both} {
		if err := f.Sync(); !errors.Is(err, memfs.ErrPowerCut) {
			t.Errorf("Sync behind the power cut: %v", err)
		}
	}
}

// A process that is killed loses nothing that it did, until the power goes.
func TestKill(t *testing.T) {
	m := memfs.New()
	f := create(t, m, "/f", "old")
	f.Sync()
	m.SyncDir("/")
	f.WriteVec([][]byte{[]byte("newer")}, 0)
	if _, err := m.Lock("/lock"); err != nil {
		t.Fatal(err)
	}
	killed := m.Kill()
	if got := read(t, killed, "/f"); got != "newer" {
		t.Errorf("behind the kill %q, want %q", got, "newer")
	}
	if _, err := killed.Lock("/lock"); err != nil {
		t.Errorf("Lock behind the kill: %v", err)
	}
	if got := read(t, killed.Restart(memfs.Nothing), "/f"); got != "old" {
		t.Errorf("behind the power cut %q, want %q", got, "old")
	}
}

// Sectors reach the disk one by one, in any order.
func TestRestartKeepsSectors(t *testing.T) {
	old, fresh := bytes.Repeat([]byte("o"), 8*memfs.Sector), bytes.Repeat([]byte("n"), 8*memfs.Sector)
	outcomes := map[string]bool{}
	for seed := range uint64(200) {
		m := memfs.New()
		f := create(t, m, "/f", string(old))
		f.Sync()
		m.SyncDir("/")
		f.WriteVec([][]byte{fresh}, 0)
		r := rand.New(rand.NewPCG(seed, 0))
		got := read(t, m.Restart(func() bool { return r.IntN(2) == 0 }), "/f")
		var pattern []byte
		for sector := range slices.Chunk([]byte(got), memfs.Sector) {
			if bytes.Count(sector, sector[:1]) != memfs.Sector {
				t.Fatalf("sector is torn: %q", sector)
			}
			pattern = append(pattern, sector[0])
		}
		outcomes[string(pattern)] = true
	}
	if len(outcomes) < 50 {
		t.Errorf("%d outcomes of 200, want many of 256", len(outcomes))
	}
}

// After a failed flush nothing brings back what was to be flushed (as on Linux).
func TestFailedSyncLoses(t *testing.T) {
	m := memfs.New()
	f := create(t, m, "/f", "old")
	f.Sync()
	m.SyncDir("/")
	f.WriteVec([][]byte{[]byte("new")}, 0)
	m.Inject(func(op memfs.Op) error {
		if op.Kind == memfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync: %v", err)
	}
	m.Inject(nil)
	if err := f.Sync(); err != nil {
		t.Errorf("second Sync: %v", err)
	}
	if got := read(t, m, "/f"); got != "new" {
		t.Errorf("processes see %q, want %q", got, "new")
	}
	if got := read(t, m.Restart(memfs.Everything), "/f"); got != "old" {
		t.Errorf("the disk has %q, want %q", got, "old")
	}
}
