package dir_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, path string, opt dir.Options) *dir.Store {
	t.Helper()
	if opt.Log == nil {
		opt.Log = quiet
	}
	s, err := dir.Open(t.Context(), path, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestContract runs the suite on the machine's file system, with segments of two lengths, and in memory.
func TestContract(t *testing.T) {
	for _, segment := range []int64{0, 64 << 10} {
		t.Run(fmt.Sprintf("segments of %d", segment), func(t *testing.T) {
			at := func(t *testing.T) blobtest.Place {
				path := filepath.Join(t.TempDir(), "blob")
				return blobtest.Place{
					Open:    func(t *testing.T) blob.Store { return open(t, path, dir.Options{SegmentBytes: segment}) },
					Corrupt: func(t *testing.T, id blob.ID, offset uint32) { corrupt(t, path, id, offset) },
				}
			}
			blobtest.Run(t, at)
			t.Run("reclaimer", func(t *testing.T) { blobtest.RunReclaimer(t, at) })
		})
	}
	t.Run("in memory", func(t *testing.T) {
		at := func(t *testing.T) blobtest.Place {
			fs := memfs.New()
			return blobtest.Place{Open: func(t *testing.T) blob.Store { return open(t, "/blob", dir.Options{FS: fs}) }}
		}
		blobtest.Run(t, at)
		t.Run("reclaimer", func(t *testing.T) { blobtest.RunReclaimer(t, at) })
	})
}

// corrupt changes an octet of a frame.
func corrupt(t *testing.T, path string, id blob.ID, offset uint32) {
	t.Helper()
	f, err := os.OpenFile(segmentPath(path, id), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	at := int64(id.Offset) + int64(offset)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func segmentPath(path string, id blob.ID) string {
	return filepath.Join(path, fmt.Sprintf("%08d", id.Incarnation), fmt.Sprintf("%08d.seg", id.Segment))
}
