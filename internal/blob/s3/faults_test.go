package s3_test

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestFaults has every kind of fault strike every third request that stores a segment or body: what was answered is there,
// and what was not answered as durable is there as a whole or not at all.
func TestFaults(t *testing.T) {
	kinds := map[string]action{
		"slow": slow, "refuse": refuse, "cut": cut, "answer lost": lose, "answer 503": doubt, "wrong ETag": mistag,
		"connection lost": vanish, "full": full,
	}
	for _, place := range []string{"in process", "versitygw"} {
		for name, kind := range kinds {
			t.Run(place+", "+name, func(t *testing.T) {
				next := backend()
				if place == "versitygw" {
					next = toward(t, servers.S3(t))
				}
				way := newFaulty(next)
				b := at(t, way)
				s := b.open(t)
				var n atomic.Int32
				way.set(func(r *http.Request) action {
					if (isPut(r, "seg/") || isPut(r, "body/") || r.Method == http.MethodPost) && n.Add(1)%3 == 2 {
						return kind
					}
					return pass
				})
				w := newWorld(t)
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for i := range 6 {
							w.commit(s, 3000*i)
						}
					})
				}
				wg.Go(func() { w.commit(s, 300_000) })
				wg.Go(func() { w.commit(s, 17<<20) })
				wg.Wait()
				way.set(nil)
				if len(w.answered) == 0 || kind != full && len(w.errs) > 0 || kind == full && len(w.full) == 0 {
					t.Errorf("faults: %v", w)
				}
				w.commit(s, 100)
				w.check(s, "same process")
				s.Close()
				s = closing(t, b.open(t, func(c *s3.Config) { c.CacheBytes = -1 }))
				w.check(s, "another process")
			})
		}
	}
}

// TestSpoiled has an octet change on the way to a server that does not look: nobody is told that it was stored.
func TestSpoiled(t *testing.T) {
	way := newFaulty(backend())
	b := at(t, way)
	s := closing(t, b.open(t, func(c *s3.Config) { c.RetryFor = 200 * time.Millisecond }))
	w := newWorld(t)
	w.commit(s, 1000)
	for _, n := range []int{1000, 300_000, 17 << 20} {
		way.set(func(r *http.Request) action {
			if isPut(r, "seg/") && r.ContentLength > 40 || isPut(r, "body/") {
				return spoil
			}
			return pass
		})
		err := w.commit(s, n)
		if err == nil || errors.Is(err, blob.ErrFull) || errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("commit of %d octets, one of them changed: %v", n, err)
		}
		way.set(nil)
		eventually(t, "commits go on", func() bool { return w.commit(s, 10) == nil })
	}
	for id, m := range w.answered {
		blobtest.Check(t, s, id, m)
	}
}

// TestNotFoundOnTheWay has something between the store and the server answer 404: that does not say that a segment is missing.
func TestNotFoundOnTheWay(t *testing.T) {
	next := backend()
	var broken atomic.Bool
	b := at(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "no such page", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	}))
	s := b.open(t)
	w := newWorld(t)
	w.commit(s, 100)
	id := firstOf(w.answered)
	s.Close()
	s = closing(t, b.open(t, func(c *s3.Config) { c.RetryFor = 100 * time.Millisecond }))
	w.check(s, "sound")
	broken.Store(true)
	if _, err := s.Scan(t.Context(), blob.Position{Incarnation: id.Incarnation}, func(blob.Scanned) error { return nil }); err == nil {
		t.Error("Scan passed over a segment")
	}
	broken.Store(false)
	w.check(s, "sound again")
}
