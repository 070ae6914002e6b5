package s3_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// TestRemoveFromLiving removes the first segments of a writer that lives and goes on writing, and then dies: whoever scans
// it, living or dead, finds the rest, and whoever seals it does not take the hole for its end.
func TestRemoveFromLiving(t *testing.T) {
	next := backend()
	way := newFaulty(next)
	b, sound := at(t, way), at(t, next)
	s := b.open(t, dying)
	defer s.Close()
	reader := closing(t, sound.open(t, func(c *s3.Config) { hasty(c); c.DeadAfter = 1e9 }))
	w := newWorld(t)
	for i := range 6 {
		w.commit(s, 1000*i)
	}
	inc := firstOf(w.answered).Incarnation
	sealed := func() (n int) {
		list, err := reader.Segments(context.Background(), inc)
		if err != nil {
			t.Fatal(err)
		}
		for _, seg := range list {
			if seg.Sealed {
				n++
			}
		}
		return n
	}
	eventually(t, "the heartbeat tells of six segments", func() bool { return sealed() == 6 })
	for n := range uint32(3) {
		if _, err := reader.RemoveSegment(t.Context(), inc, n); err != nil {
			t.Fatal(err)
		}
		for id := range w.answered {
			if id.Segment == n {
				delete(w.answered, id)
			}
		}
	}
	w.commit(s, 50)
	w.check(reader, "living")
	w.check(s, "by itself")

	var once sync.Once
	died := make(chan struct{})
	way.set(func(*http.Request) action { once.Do(func() { close(died) }); return vanish })
	<-died // by its heartbeat
	eventually(t, "it is dead", func() bool { return !live(t, reader, inc) })
	w.check(reader, "dead")
	found := 0
	for _, f := range blobtest.ScanAll(t, reader) {
		if f.ID.Incarnation == inc {
			found++
		}
	}
	if found != 4 {
		t.Errorf("found %d frames of the dead writer, want 4", found)
	}
}

// TestReadOverMove has a body apart be moved, with its segment removed, while it is read: the reader goes on at its new place.
func TestReadOverMove(t *testing.T) {
	b := fake(t)
	s := b.open(t)
	m := blobtest.NewMessage(1, 3<<20)
	id := blobtest.Commit(t, s, m)
	s.Close()
	s = closing(t, b.open(t, func(c *s3.Config) { c.ReadAhead = 64 << 10 }))
	var places blobtest.Map
	s.UseLocator(&places)
	f, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 100_000)
	if _, err := f.Body.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	out, err := s.Rewrite(t.Context(), []blob.Rewrite{{Origin: id, Place: id}})
	if err != nil || out[0].Err != nil {
		t.Fatal(out, err)
	}
	places.Move(id, out[0].Place)
	if _, err := s.RemoveSegment(t.Context(), id.Incarnation, id.Segment); err != nil {
		t.Fatal(err)
	}
	if keys := b.keys(t, "blob/body/"); len(keys) != 1 {
		t.Errorf("bodies: %v, want one", keys)
	}
	if _, err := f.Body.ReadAt(got, 2<<20); err != nil || string(got) != string(m.Body[2<<20:][:len(got)]) {
		t.Errorf("read on: %v", err)
	}
	blobtest.Check(t, s, id, m)
}
