package blobtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// RunReclaimer tests the contract of blob.Reclaimer; the stores that at opens are ones.
func RunReclaimer(t *testing.T, at func(t *testing.T) Place) {
	tests := []struct {
		name string
		run  func(t *testing.T, p Place)
	}{
		{"segments", testSegments},
		{"moved frames", testMoved},
		{"moved twice", testMovedTwice},
		{"a look-up that fails", testLocateFails},
		{"segments go one by one", testRemoveOneByOne},
		{"bodies go alone", testFreeBodies},
		{"what is being written stays", testRemoveLive},
		{"open frames", testRemoveOpen},
		{"what cannot be copied", testRewriteDamaged},
		{"random reclaiming", testReclaimHistory},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, at(t)) })
	}
}

// Map is a locator in memory.
type Map struct {
	mu    sync.Mutex
	moved map[blob.ID]blob.ID
	// Err is what every look-up fails with.
	Err error
}

// Move notes where a frame lies.
func (m *Map) Move(first, place blob.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moved == nil {
		m.moved = map[blob.ID]blob.ID{}
	}
	m.moved[first] = place
}

// Locate is blob.Locator's.
func (m *Map) Locate(_ context.Context, ids []blob.ID) ([]blob.ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]blob.ID, len(ids))
	for i, id := range ids {
		out[i] = m.moved[id]
	}
	return out, m.Err
}

func openReclaimer(t *testing.T, p Place) blob.Reclaimer {
	t.Helper()
	s := p.Open(t)
	t.Cleanup(func() { closeStore(t, s) })
	return s.(blob.Reclaimer)
}

// variety commits a message of each sort and returns them by ID, in a store that is closed afterwards.
func variety(t *testing.T, p Place) (ids []blob.ID, want map[blob.ID]Message) {
	t.Helper()
	s := p.Open(t)
	defer closeStore(t, s)
	want = map[blob.ID]Message{}
	for i, n := range []int{0, 1, 5000, 70_000, blob.SpoolMemory, blob.SpoolMemory + 1, 1 << 20} {
		m := NewMessage(uint64(i), n)
		m.Meta.Kind = blob.Kind(1 + i%3)
		id := Commit(t, s, m)
		ids, want[id] = append(ids, id), m
	}
	for i, owner := range slices.Clone(ids) {
		m := NewMessage(uint64(100+i), 0)
		m.Meta.Kind, m.Body = blob.Generated, want[owner].Body
		id := CommitShared(t, s, owner, m.Meta)
		ids, want[id] = append(ids, id), m
	}
	return ids, want
}

// rewrite copies frames and returns where they lie.
func rewrite(t *testing.T, s blob.Reclaimer, frames []blob.Rewrite) []blob.Rewritten {
	t.Helper()
	out, err := s.Rewrite(t.Context(), frames)
	if err != nil || len(out) != len(frames) {
		t.Fatalf("Rewrite of %d frames: %d, %v", len(frames), len(out), err)
	}
	return out
}

// move copies frames that were never moved, and notes where they are.
func move(t *testing.T, s blob.Reclaimer, m *Map, ids []blob.ID) {
	t.Helper()
	frames := make([]blob.Rewrite, len(ids))
	for i, id := range ids {
		frames[i] = blob.Rewrite{Origin: id, Place: id}
	}
	for i, r := range rewrite(t, s, frames) {
		if r.Err != nil || r.Place.IsZero() || r.Bytes <= 0 {
			t.Fatalf("Rewrite of %v: %+v", ids[i], r)
		}
		m.Move(ids[i], r.Place)
	}
}

// removeAll removes all segments of an incarnation and returns what that gave back.
func removeAll(t *testing.T, s blob.Reclaimer, incarnation uint64) (freed int64) {
	t.Helper()
	for _, seg := range segments(t, s, incarnation) {
		n, err := s.RemoveSegment(t.Context(), incarnation, seg.Number)
		if err != nil {
			t.Fatalf("RemoveSegment(%d, %d): %v", incarnation, seg.Number, err)
		}
		freed += n
	}
	return freed
}

func segments(t *testing.T, s blob.Reclaimer, incarnation uint64) []blob.Segment {
	t.Helper()
	list, err := s.Segments(t.Context(), incarnation)
	if err != nil {
		t.Fatalf("Segments of incarnation %d: %v", incarnation, err)
	}
	return list
}

func testSegments(t *testing.T, p Place) {
	s := p.Open(t).(blob.Reclaimer)
	ids, want := fill(t, s, 40)
	inc := ids[0].Incarnation
	last := segments(t, s, inc)
	if len(last) == 0 || last[len(last)-1].Number != ids[len(ids)-1].Segment {
		t.Fatalf("Segments while they are written: %+v, the last frame is %v", last, ids[len(ids)-1])
	}
	closeStore(t, s)

	s = openReclaimer(t, p)
	length := map[uint32]int64{}
	for _, f := range ScanAll(t, s) {
		length[f.ID.Segment] += int64(f.ID.Length)
	}
	list := segments(t, s, inc)
	for i, seg := range list {
		written := ScanAll(t, s)[0].Written
		switch {
		case seg.Incarnation != inc, i > 0 && seg.Number <= list[i-1].Number:
			t.Errorf("Segments: %+v out of order", list)
		case !seg.Sealed || seg.Ended.Before(written):
			t.Errorf("Segments: %+v of a dead incarnation that began at %v", seg, written)
		case seg.Bytes < length[seg.Number] || seg.Bytes > length[seg.Number]+4096:
			t.Errorf("Segments: %+v, its frames have %d octets", seg, length[seg.Number])
		}
		delete(length, seg.Number)
	}
	if len(length) > 0 {
		t.Errorf("Segments: %d are missing, with %d frames in all", len(length), len(want))
	}
	_, err := s.Segments(t.Context(), inc+1_000_000)
	wantErr(t, "Segments of an unknown incarnation", err, blob.ErrNotFound)
}

func testMoved(t *testing.T, p Place) {
	ids, want := variety(t, p)
	s := openReclaimer(t, p)
	var places Map
	s.UseLocator(&places)
	move(t, s, &places, ids)
	checkMoved := func(when string) {
		t.Helper()
		for _, id := range ids {
			if err := Compare(t, s, id, want[id]); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	checkMoved("both places")
	if freed := removeAll(t, s, ids[0].Incarnation); freed < 1<<20 {
		t.Errorf("all segments gave back %d octets", freed)
	}
	checkMoved("new place")
	if list := segments(t, s, ids[0].Incarnation); len(list) > 0 {
		t.Errorf("segments after all were removed: %+v", list)
	}
	for _, f := range ScanAll(t, s) {
		m, ok := want[f.Origin]
		if f.Err != nil || !ok || !sameMeta(f.Meta, m.Meta) || f.Size != int64(len(m.Body)) {
			t.Errorf("Scan of moved frames: %+v", f)
		}
		if shared := slices.Index(ids, f.Origin) >= len(ids)/2; shared != !f.Owner.IsZero() || shared && want[f.Owner].Meta.Kind == 0 {
			t.Errorf("Scan: %v has the owner %v", f.Origin, f.Owner)
		}
		if large := f.Owner.IsZero() && f.Size > blob.SpoolMemory; large != (f.Apart > 0) {
			t.Errorf("Scan: %v of %d octets has %d apart", f.Origin, f.Size, f.Apart)
		}
	}
	// A moved body can be shared, and the owner is its first ID.
	child := NewMessage(900, 0)
	child.Body = want[ids[3]].Body
	id := CommitShared(t, s, ids[3], child.Meta)
	Check(t, s, id, child)
	all := ScanAll(t, s)
	if got := all[len(all)-1]; got.ID != id || got.Owner != ids[3] || !got.Origin.IsZero() {
		t.Errorf("Scan of a frame that shares a moved body: %+v, want the owner %v", got, ids[3])
	}
	// Nothing that is needed is swept once the mover is dead.
	other := openAgain(t, p, s)
	other.UseLocator(&places)
	if _, err := other.Sweep(t.Context()); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	s = other
	checkMoved("after a sweep")
}

// openAgain opens the store anew, as another writer.
func openAgain(t *testing.T, p Place, s blob.Store) blob.Reclaimer {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return openReclaimer(t, p)
}

func testMovedTwice(t *testing.T, p Place) {
	ids, want := variety(t, p)
	s := openReclaimer(t, p)
	var places Map
	s.UseLocator(&places)
	move(t, s, &places, ids)
	removeAll(t, s, ids[0].Incarnation)
	first := maps.Clone(places.moved)

	s = openAgain(t, p, s)
	s.UseLocator(&places)
	frames := make([]blob.Rewrite, len(ids))
	for i, id := range ids {
		frames[i] = blob.Rewrite{Origin: id, Place: first[id]}
	}
	for i, r := range rewrite(t, s, frames) {
		if r.Err != nil {
			t.Fatalf("Rewrite of %+v: %v", frames[i], r.Err)
		}
		places.Move(ids[i], r.Place)
	}
	wrong := rewrite(t, s, []blob.Rewrite{{Origin: ids[1], Place: first[ids[2]]}})
	wantErr(t, "Rewrite of another frame than is there", wrong[0].Err, blob.ErrNotFound)
	removeAll(t, s, first[ids[0]].Incarnation)
	for _, id := range ids {
		Check(t, s, id, want[id])
	}
	gone := rewrite(t, s, frames[:1])
	wantErr(t, "Rewrite of a frame that is gone", gone[0].Err, blob.ErrNotFound)
}

func testLocateFails(t *testing.T, p Place) {
	ids, _ := variety(t, p)
	s := openReclaimer(t, p)
	removeAll(t, s, ids[0].Incarnation)
	open := func() error {
		f, err := s.Open(t.Context(), ids[2])
		if err == nil {
			f.Close()
		}
		return err
	}
	wantErr(t, "Open of a removed frame without locator", open(), blob.ErrNotFound)
	away := errors.New("database is away")
	places := &Map{Err: away}
	s.UseLocator(places)
	if err := open(); !errors.Is(err, away) || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open while nobody can say where the frame is: %v, want %v and not %v", err, away, blob.ErrNotFound)
	}
	places.Err = nil
	wantErr(t, "Open of a frame that was never moved", open(), blob.ErrNotFound)
	places.Move(ids[2], ids[2])
	wantErr(t, "Open of a frame that is not where it was moved to", open(), blob.ErrNotFound)
}

// testRemoveOneByOne removes every other segment of several incarnations.
func testRemoveOneByOne(t *testing.T, p Place) {
	want := map[blob.ID]Message{}
	for range 3 {
		s := p.Open(t)
		_, some := fill(t, s, 12)
		maps.Copy(want, some)
		closeStore(t, s)
	}
	s := openReclaimer(t, p)
	incarnations, err := s.Incarnations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, inc := range incarnations {
		for _, seg := range segments(t, s, inc.ID) {
			if n++; n%2 == 0 {
				continue
			}
			for range 2 {
				if _, err := s.RemoveSegment(t.Context(), inc.ID, seg.Number); err != nil {
					t.Fatalf("RemoveSegment(%d, %d): %v", inc.ID, seg.Number, err)
				}
			}
			maps.DeleteFunc(want, func(id blob.ID, _ Message) bool { return id.Incarnation == inc.ID && id.Segment == seg.Number })
		}
	}
	CheckScan(t, s, want)
	// As it is found by whoever comes next.
	s = openAgain(t, p, s)
	CheckScan(t, s, want)
	for id, m := range want {
		Check(t, s, id, m)
	}
}

func testFreeBodies(t *testing.T, p Place) {
	ids, want := variety(t, p)
	s := openReclaimer(t, p)
	large, small := ids[6], ids[3]
	freed, err := s.FreeBodies(t.Context(), []blob.ID{large, small, {Incarnation: large.Incarnation, Segment: 99, Offset: 64, Length: 300}})
	if err != nil || freed != int64(len(want[large].Body)) {
		t.Errorf("FreeBodies: %d, %v; want the %d octets that lie apart", freed, err, len(want[large].Body))
	}
	if freed, err := s.FreeBodies(t.Context(), []blob.ID{large}); freed != 0 || err != nil {
		t.Errorf("FreeBodies again: %d, %v", freed, err)
	}
	Check(t, s, small, want[small])
	Check(t, s, ids[5], want[ids[5]])
	if f, err := s.Open(t.Context(), large); err == nil {
		_, err = f.Body.ReadAt(make([]byte, 1), 0)
		f.Close()
		if err == nil {
			t.Errorf("the body of %v can be read after it was freed", large)
		}
	}
	CheckScan(t, s, want)
}

func testRemoveLive(t *testing.T, p Place) {
	s := openReclaimer(t, p)
	// A segment may be sealed between the look and the removal, which then is right: but not time after time.
	for try := 0; ; try++ {
		ids, want := fill(t, s, 3)
		removed := false
		for _, seg := range segments(t, s, ids[0].Incarnation) {
			if seg.Sealed {
				continue
			}
			if _, err := s.RemoveSegment(t.Context(), seg.Incarnation, seg.Number); err == nil {
				removed = true
			}
		}
		if !removed && try == 0 {
			CheckScan(t, s, want)
		}
		if !removed {
			return
		}
		if try == 5 {
			t.Fatal("RemoveSegment removes what is being written")
		}
	}
}

func testRemoveOpen(t *testing.T, p Place) {
	ids, want := variety(t, p)
	s := openReclaimer(t, p)
	var frames []*blob.Frame
	for _, id := range ids {
		f, err := s.Open(t.Context(), id)
		if err != nil {
			t.Fatalf("Open(%v): %v", id, err)
		}
		defer f.Close()
		frames = append(frames, f)
	}
	removeAll(t, s, ids[0].Incarnation)
	for i, f := range frames {
		got, err := io.ReadAll(f.Reader())
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("read %v, which was open when it was removed: %v, want no error or %v", f.ID, err, blob.ErrNotFound)
		}
		if err == nil && string(got) != string(want[ids[i]].Body) {
			t.Errorf("read %v, which was open when it was removed: other octets", f.ID)
		}
	}
}

func testRewriteDamaged(t *testing.T, p Place) {
	if p.Corrupt == nil {
		t.Skip("this place cannot be damaged")
	}
	ids, want := variety(t, p)
	p.Corrupt(t, ids[2], 200)
	s := openReclaimer(t, p)
	out := rewrite(t, s, []blob.Rewrite{{Origin: ids[2], Place: ids[2]}, {Origin: ids[3], Place: ids[3]}})
	wantErr(t, "Rewrite of a damaged frame", out[0].Err, blob.ErrCorrupt)
	if out[1].Err != nil {
		t.Errorf("Rewrite beside a damaged frame: %v", out[1].Err)
	}
	Check(t, s, out[1].Place, want[ids[3]])
}

// testReclaimHistory moves and removes at random, over many lives of the store, and compares what must be there.
func testReclaimHistory(t *testing.T, p Place) {
	var places Map
	want := map[blob.ID]Message{}  // by first ID
	place := map[blob.ID]blob.ID{} // where each lies now
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		s := p.Open(t).(blob.Reclaimer)
		s.UseLocator(&places)
		for i := range 10 {
			m := NewMessage(uint64(round*100+i), (round*31+i*7919)%(blob.SpoolMemory+60_000))
			id := Commit(t, s, m)
			want[id], place[id] = m, id
		}
		incarnations, err := s.Incarnations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		oldest := incarnations[round/2]
		// Half of what the oldest segments hold is dead.
		doomed := map[uint32]bool{}
		for i, seg := range segments(t, s, oldest.ID) {
			doomed[seg.Number] = seg.Sealed && (i+round)%3 < 2
		}
		var frames []blob.Rewrite
		for id, at := range place {
			if at.Incarnation != oldest.ID || !doomed[at.Segment] {
				continue
			}
			if (int(id.Offset)+round)%2 == 0 {
				delete(want, id)
				delete(place, id)
				continue
			}
			frames = append(frames, blob.Rewrite{Origin: id, Place: at})
		}
		for i, r := range rewrite(t, s, frames) {
			if r.Err != nil {
				t.Fatalf("Rewrite of %+v: %v", frames[i], r.Err)
			}
			places.Move(frames[i].Origin, r.Place)
			place[frames[i].Origin] = r.Place
		}
		for n := range doomed {
			if !doomed[n] {
				continue
			}
			if _, err := s.RemoveSegment(t.Context(), oldest.ID, n); err != nil {
				t.Fatalf("RemoveSegment: %v", err)
			}
		}
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Fatalf("Sweep: %v", err)
		}
		for id, m := range want {
			if err := Compare(t, s, id, m); err != nil {
				t.Fatal(fmt.Errorf("round %d: %w", round, err))
			}
		}
		closeStore(t, s)
	}
}
