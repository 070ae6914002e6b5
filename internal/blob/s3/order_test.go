package s3_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// TestOrder holds a segment back: those behind it are stored meanwhile, and nobody hears of it.
func TestOrder(t *testing.T) {
	way := newFaulty(backend())
	b := at(t, way)
	s := closing(t, b.open(t, func(c *s3.Config) { c.Parallel = 3; c.SegmentTime = time.Nanosecond }))
	held, release := make(chan struct{}), make(chan struct{})
	var stored atomic.Int32
	way.set(func(r *http.Request) action {
		switch segmentOf(r) {
		case 0:
			close(held)
			<-release
		case 1, 2:
			stored.Add(1)
		}
		return pass
	})
	w := newWorld(t)
	var wg sync.WaitGroup
	wg.Go(func() { w.commit(s, 100) })
	<-held
	wg.Go(func() { w.commit(s, 200) })
	eventually(t, "a second segment", func() bool { return stored.Load() == 1 })
	wg.Go(func() { w.commit(s, 300) })
	eventually(t, "a third segment", func() bool { return stored.Load() == 2 })
	eventually(t, "both are stored", func() bool { return len(b.keys(t, "blob/seg/")) == 2 })
	w.mu.Lock()
	if len(w.answered) > 0 {
		t.Errorf("answered while the first segment is missing: %v", w.answered)
	}
	w.mu.Unlock()
	if found := blobtest.ScanAll(t, s); len(found) > 0 {
		t.Errorf("found while the first segment is missing: %v", found)
	}
	close(release)
	wg.Wait()
	if len(w.answered) != 3 {
		t.Errorf("behind it: %v", w)
	}
	w.check(s, "end")
}

// TestFullBehind has a segment be refused for lack of room while one behind it is stored: the first is answered as full,
// the other is stored again under another incarnation.
func TestFullBehind(t *testing.T) {
	way := newFaulty(backend())
	b := at(t, way)
	s := closing(t, b.open(t, func(c *s3.Config) { c.SegmentTime = time.Nanosecond }))
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	way.set(func(r *http.Request) action {
		if segmentOf(r) == 0 {
			refused := false
			once.Do(func() {
				refused = true
				close(held)
				<-release
			})
			if refused {
				return full
			}
		}
		return pass
	})
	w := newWorld(t)
	var wg sync.WaitGroup
	var first error
	wg.Go(func() { first = w.commit(s, 100) })
	<-held
	wg.Go(func() { w.commit(s, 200) })
	eventually(t, "the second is stored", func() bool { return len(b.keys(t, "blob/seg/")) == 1 })
	close(release)
	wg.Wait()
	if !errors.Is(first, blob.ErrFull) || len(w.answered) != 1 {
		t.Errorf("first: %v; all: %v", first, w)
	}
	w.check(s, "end")
	other := closing(t, b.open(t))
	w.check(other, "another process")
}

// TestGivenUp has callers give up while their frames are on the way: the outcome is unknown, the frames are whole.
func TestGivenUp(t *testing.T) {
	way := newFaulty(backend())
	s := closing(t, at(t, way).open(t))
	release := make(chan struct{})
	held := make(chan struct{}, 10)
	way.set(func(r *http.Request) action {
		if segmentOf(r) >= 0 {
			held <- struct{}{}
			<-release
		}
		return pass
	})
	w := newWorld(t)
	for _, size := range []int{100, 300_000} {
		m := w.message(size)
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		d.Write(m.Body)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			id, err := d.Commit(ctx, m.Meta)
			w.note(id, m, err)
			done <- err
		}()
		<-held
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Commit: %v, want Canceled", err)
		}
	}
	close(release)
	way.set(nil)
	w.commit(s, 10)
	if found := blobtest.ScanAll(t, s); len(found) != 3 {
		t.Errorf("%d frames, want 3", len(found))
	}
	w.check(s, "end")
}
