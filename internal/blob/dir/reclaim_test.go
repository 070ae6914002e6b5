package dir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

// reclaiming is a directory that is being compacted: one life wrote, the next ones copy what lives and remove the rest.
type reclaiming struct {
	t      *testing.T
	fs     *memfs.FS
	s      *dir.Store
	places blobtest.Map
	moved  map[blob.ID]bool
	live   map[blob.ID]blobtest.Message
	old    uint64 // the incarnation that is given back
}

func newReclaiming(t *testing.T) *reclaiming {
	r := &reclaiming{t: t, fs: memfs.New(), moved: map[blob.ID]bool{}, live: map[blob.ID]blobtest.Message{}}
	s := r.open()
	if s == nil {
		t.Fatal("the first life cannot open the directory")
	}
	for i := range 12 {
		m := blobtest.NewMessage(uint64(i), []int{900, 12_000, 30_000}[i%3])
		id := blobtest.Commit(t, s, m)
		if i%2 == 1 {
			r.live[id] = m
		}
		if i == 5 {
			child := blobtest.NewMessage(100, 0)
			child.Body = m.Body
			r.live[blobtest.CommitShared(t, s, id, child.Meta)] = child
		}
		r.old = id.Incarnation
	}
	r.close()
	return r
}

func (r *reclaiming) open() *dir.Store {
	s, err := dir.Open(r.t.Context(), "/blob", dir.Options{
		FS: r.fs, Log: quiet, SegmentBytes: 16 << 10, Threshold: testThreshold, ZeroAhead: 4 << 10,
	})
	if err != nil {
		return nil
	}
	s.UseLocator(&r.places)
	r.s = s
	return s
}

func (r *reclaiming) close() {
	if r.s != nil {
		r.s.Close()
		r.s = nil
	}
}

// compact copies what lives and was not moved yet, then removes the old segments; false where something failed.
func (r *reclaiming) compact() bool {
	var frames []blob.Rewrite
	for id := range r.live {
		if !r.moved[id] {
			frames = append(frames, blob.Rewrite{Origin: id, Place: id})
		}
	}
	out, err := r.s.Rewrite(r.t.Context(), frames)
	if err != nil {
		return false
	}
	for i, c := range out {
		if c.Err != nil {
			r.t.Errorf("Rewrite of %v: %v", frames[i].Place, c.Err)
			return false
		}
		r.places.Move(frames[i].Origin, c.Place)
		r.moved[frames[i].Origin] = true
	}
	segments, err := r.s.Segments(r.t.Context(), r.old)
	if err != nil {
		return false
	}
	// From the middle, so that neighbours on both sides are there for a while.
	for i := range segments {
		seg := segments[(i+len(segments)/2)%len(segments)]
		if _, err := r.s.RemoveSegment(r.t.Context(), r.old, seg.Number); err != nil {
			return false
		}
	}
	return true
}

// check reads what lives, and looks for damage.
func (r *reclaiming) check(when string) {
	r.t.Helper()
	for id, m := range r.live {
		if err := blobtest.Compare(r.t, r.s, id, m); err != nil {
			r.t.Errorf("%s: %v", when, err)
		}
	}
	for _, f := range blobtest.ScanAll(r.t, r.s) {
		if f.Err != nil {
			r.t.Errorf("%s: Scan: %v: %v", when, f.ID, f.Err)
		}
	}
}

// TestPowerCutWhileReclaiming cuts the power at every operation of a compaction, or kills the process. What lives can be
// read afterwards, nothing looks damaged, and the next life gives everything back: no segment of the old incarnation and
// no body that nobody needs is left.
func TestPowerCutWhileReclaiming(t *testing.T) {
	r := newReclaiming(t)
	before := r.fs.Ops()
	if r.open() == nil || !r.compact() {
		t.Fatal("compaction without faults fails")
	}
	r.check("without faults")
	last := r.fs.Ops()
	r.close()
	t.Logf("%d operations", last-before)
	for n := before + 1; n <= last; n++ {
		names := []string{killed}
		for name := range keeps(uint64(n), 3) {
			names = append(names, name)
		}
		for _, name := range names {
			powerCutWhileReclaiming(t, n, name)
		}
	}
}

func powerCutWhileReclaiming(t *testing.T, n int, name string) {
	when := fmt.Sprintf("operation %d, %s", n, name)
	r := newReclaiming(t)
	r.fs.Inject(cutAt(n))
	if r.open() != nil {
		r.compact()
		r.close()
	}
	if name == killed {
		r.fs = r.fs.Kill()
	} else {
		r.fs = r.fs.Restart(keeps(uint64(n), 3)[name])
	}
	if r.open() == nil {
		t.Fatalf("%s: the directory cannot be opened afterwards", when)
	}
	r.check(when)
	if !r.compact() {
		t.Fatalf("%s: compaction fails afterwards", when)
	}
	r.close()
	if r.open() == nil {
		t.Fatalf("%s: the directory cannot be opened again", when)
	}
	defer r.close()
	if _, err := r.s.Sweep(t.Context()); err != nil {
		t.Fatalf("%s: Sweep: %v", when, err)
	}
	r.check(when + ", at last")
	if list, err := r.s.Segments(t.Context(), r.old); err != nil || len(list) > 0 {
		t.Errorf("%s: segments left: %+v, %v", when, list, err)
	}
	if bodies := r.bodies(r.old); bodies > 0 {
		t.Errorf("%s: %d bodies left of incarnation %d", when, bodies, r.old)
	}
	// What a copy cut short left is another life's; every body that a frame still names is needed.
	named := 0
	for _, f := range blobtest.ScanAll(t, r.s) {
		if f.Apart > 0 {
			named++
		}
	}
	total := 0
	incarnations, err := r.s.Incarnations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, inc := range incarnations {
		total += r.bodies(inc.ID)
	}
	if total != named {
		t.Errorf("%s: %d bodies for %d frames", when, total, named)
	}
}

func (r *reclaiming) bodies(incarnation uint64) int {
	names, err := r.fs.List(filepath.Join("/blob", fmt.Sprintf("%08d", incarnation), "body"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return len(names)
}

// TestRewriteWithoutLinks copies bodies where the file system has no second names.
func TestRewriteWithoutLinks(t *testing.T) {
	memory := memfs.New()
	opt := dir.Options{FS: noLinks{memory}, Threshold: 1000}
	s := open(t, "/blob", opt)
	m := blobtest.NewMessage(1, 900_001)
	id := blobtest.Commit(t, s, m)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, "/blob", opt)
	defer s.Close()
	var places blobtest.Map
	s.UseLocator(&places)
	out, err := s.Rewrite(t.Context(), []blob.Rewrite{{Origin: id, Place: id}})
	if err != nil || out[0].Err != nil || out[0].Bytes < int64(len(m.Body)) {
		t.Fatalf("Rewrite: %+v, %v; want at least the %d octets of the body", out, err, len(m.Body))
	}
	places.Move(id, out[0].Place)
	if _, err := s.RemoveSegment(t.Context(), id.Incarnation, id.Segment); err != nil {
		t.Fatal(err)
	}
	blobtest.Check(t, s, id, m)
}

type noLinks struct{ vfs.FS }

func (noLinks) Link(string, string) error { return syscall.EPERM }
