package dir_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	s := open(t, path, dir.Options{})
	_, err := dir.Open(t.Context(), path, dir.Options{Log: quiet})
	if !errors.Is(err, blob.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Open: %v, want ErrLocked with the path", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, dir.Options{}).Close()
}

func TestOptions(t *testing.T) {
	for _, opt := range []dir.Options{{SegmentBytes: 2 << 30}, {SegmentBytes: -1}, {Threshold: -1}, {MaxBatchFrames: -1}} {
		opt.FS = memfs.New()
		if s, err := dir.Open(t.Context(), "/blob", opt); err == nil {
			s.Close()
			t.Errorf("Open with %+v: no error", opt)
		}
	}
}

// TestNoRoomAtOpen opens a directory on a full disk: mail is read, and taken once there is room.
func TestNoRoomAtOpen(t *testing.T) {
	fs := memfs.New()
	s := open(t, "/blob", dir.Options{FS: fs})
	m := blobtest.NewMessage(1, 5000)
	id := blobtest.Commit(t, s, m)
	fs = fs.Kill() // its end is not noted
	s.Close()

	fs.Inject(failing(1, 1<<30, syscall.ENOSPC, memfs.Mkdir, memfs.Create, memfs.Write))
	var log bytes.Buffer
	s = open(t, "/blob", dir.Options{FS: fs, Log: slog.New(slog.NewTextHandler(&log, nil))})
	blobtest.Check(t, s, id, m)
	blobtest.CheckScan(t, s, map[blob.ID]blobtest.Message{id: m})
	for _, size := range []int{10, 2 * blob.SpoolMemory} {
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Write(make([]byte, size))
		if err == nil {
			_, err = d.Commit(t.Context(), m.Meta)
		}
		if !errors.Is(err, blob.ErrFull) {
			t.Errorf("commit of %d octets: %v, want ErrFull", size, err)
		}
		d.Discard()
	}
	fs.Inject(nil)
	m2 := blobtest.NewMessage(2, 100)
	id2 := blobtest.Commit(t, s, m2)
	s.Close()
	for _, event := range []string{"blob store ran out of room", "blob store has room again"} {
		if n := strings.Count(log.String(), event); n != 1 {
			t.Errorf("%q logged %d times, want once:\n%s", event, n, &log)
		}
	}
	s = open(t, "/blob", dir.Options{FS: fs})
	defer s.Close()
	blobtest.CheckScan(t, s, map[blob.ID]blobtest.Message{id: m, id2: m2})
}

// snapshot copies the directory of an open store, as a kill would leave it.
func snapshot(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "snapshot")
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDamageIsNotTaken has frames of a writer that died rot: what was durable before another frame was written is
// reported as damaged, not passed over as torn.
func TestDamageIsNotTaken(t *testing.T) {
	for name, at := range map[string]uint32{"header": 30, "trailer": 4096 + frame.HeaderLen + 10} {
		path := filepath.Join(t.TempDir(), "blob")
		s := open(t, path, dir.Options{})
		var ids []blob.ID
		for i := range 6 {
			ids = append(ids, blobtest.Commit(t, s, blobtest.NewMessage(uint64(i), 4096)))
		}
		left := snapshot(t, path)
		s.Close()
		corrupt(t, left, ids[3], at)
		s = open(t, left, dir.Options{})
		var sound []blob.ID
		for _, f := range blobtest.ScanAll(t, s) {
			if f.Err == nil {
				sound = append(sound, f.ID)
			} else if f.ID != ids[3] || !errors.Is(f.Err, blob.ErrCorrupt) {
				t.Errorf("%s: damage %+v, want it at %v", name, f, ids[3])
			}
		}
		if want := slices.Delete(slices.Clone(ids), 3, 4); !slices.Equal(sound, want) {
			t.Errorf("%s: sound %v, want %v", name, sound, want)
		}
		s.Close()
	}
}

// TestForgedFrame has a body hold what looks like a frame at its very place, and the header before it rot: the search
// for the next frame passes it by.
func TestForgedFrame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	s := open(t, path, dir.Options{Now: longAgo})
	const at = frame.SegmentHeaderLen + frame.HeaderLen
	forged := frame.Header{Kind: blob.Accepted, Place: frame.Inline, Incarnation: 1, Offset: at, Durable: at, Salt: 1}
	body := frame.Finish(make([]byte, frame.HeaderLen), &forged, nil, []byte("forged envelope"), &[32]byte{})
	frame.Seal(body, &forged)
	m := blobtest.Message{Meta: blob.Meta{Kind: blob.Accepted}, Body: body}
	a := blobtest.Commit(t, s, m)
	b := blobtest.Commit(t, s, m)
	if a.Incarnation != 1 || a.Segment != 0 || a.Offset != frame.SegmentHeaderLen {
		t.Fatalf("first frame at %v", a)
	}
	s.Close()
	corrupt(t, path, a, 20)
	s = open(t, path, dir.Options{})
	defer s.Close()
	found := blobtest.ScanAll(t, s)
	if len(found) != 2 || found[0].ID != a || found[0].Err == nil || found[1].ID != b || found[1].Err != nil {
		t.Errorf("found %+v, want damage at %v, then %v", found, a, b)
	}
}

func TestSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	large := blobtest.NewMessage(1, 2*blob.SpoolMemory)
	s := open(t, path, dir.Options{})
	used := blobtest.Commit(t, s, large)
	damaged := blobtest.Commit(t, s, blobtest.NewMessage(2, 10))
	orphan, err := s.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	orphan.Write(large.Body)
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep of a live incarnation: %d, %v", n, err)
	}
	left := snapshot(t, path)
	orphan.Discard()
	s.Close()

	rotten := snapshot(t, left)
	corrupt(t, rotten, damaged, 20)
	s = open(t, rotten, dir.Options{})
	blobtest.Commit(t, s, large)
	s.Close()
	corrupt(t, rotten, used, frame.HeaderLen+20)
	s = open(t, rotten, dir.Options{})
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep of a damaged incarnation: %d, %v", n, err)
	}
	s.Close()

	s = open(t, left, dir.Options{})
	defer s.Close()
	for _, want := range []int{1, 0} {
		if n, err := s.Sweep(t.Context()); n != want || err != nil {
			t.Errorf("Sweep: %d, %v; want %d", n, err, want)
		}
	}
	blobtest.Check(t, s, used, large)
}

// countingFS counts files that are open.
type countingFS struct {
	vfs.FS
	now, most atomic.Int64
}

type countedFile struct {
	vfs.File
	fs *countingFS
}

func (fs *countingFS) Open(path string) (vfs.File, error) {
	f, err := fs.FS.Open(path)
	if err != nil {
		return nil, err
	}
	n := fs.now.Add(1)
	for most := fs.most.Load(); n > most && !fs.most.CompareAndSwap(most, n); most = fs.most.Load() {
	}
	return &countedFile{File: f, fs: fs}, nil
}

func (f *countedFile) Close() error {
	f.fs.now.Add(-1)
	return f.File.Close()
}

// TestOpenFiles reads from many segments and bodies: few files are open at once, and none behind Close.
func TestOpenFiles(t *testing.T) {
	fs := &countingFS{FS: memfs.New()}
	s := open(t, "/blob", dir.Options{FS: fs, SegmentBytes: 20_000, Threshold: 15_000, MaxOpenFiles: 4})
	want := map[blob.ID]blobtest.Message{}
	for i := range 60 {
		m := blobtest.NewMessage(uint64(i), 10_000+i%7*1000)
		want[blobtest.Commit(t, s, m)] = m
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for id, m := range want {
				blobtest.Check(t, s, id, m)
			}
		})
	}
	wg.Wait()
	// Beside what is kept, each reader may have one that another opened too.
	if most := fs.most.Load(); most > 4+3 {
		t.Errorf("%d files were open at once, want at most 7", most)
	}
	s.Close()
	if now := fs.now.Load(); now != 0 {
		t.Errorf("%d files are open behind Close", now)
	}
}

// longAgo is a clock that does not raise the first incarnation's number above 1.
func longAgo() time.Time { return time.Unix(0, 0) }

// TestNumbersAreNotUsedAgain: a folder that was removed gives no id to a frame that another one had.
func TestNumbersAreNotUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	s := open(t, path, dir.Options{Now: clock})
	first := blobtest.Commit(t, s, blobtest.NewMessage(1, 50))
	s.Close()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	s = open(t, path, dir.Options{Now: clock})
	defer s.Close()
	if second := blobtest.Commit(t, s, blobtest.NewMessage(2, 50)); second == first {
		t.Errorf("both are %v", first)
	}
	if _, err := s.Open(t.Context(), first); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the frame that is gone: got %v, want ErrNotFound", err)
	}
}
