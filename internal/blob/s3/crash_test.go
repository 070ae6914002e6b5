package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// dying are the settings of a writer that is cut off and gives up soon.
func dying(c *s3.Config) {
	c.Heartbeat, c.DeadAfter = 10*time.Millisecond, 30*time.Millisecond
	c.RetryFor, c.Threshold, c.PartSize, c.CacheBytes = 40*time.Millisecond, 20_000, 5<<20, -1
}

// script is a life with all that a writer does.
func (w *world) script(b *bucket) {
	s, err := b.tryOpen(w.t.(*testing.T), dying)
	if err != nil {
		w.mu.Lock()
		w.errs = append(w.errs, err)
		w.mu.Unlock()
		return
	}
	w.commit(s, 100)
	w.commitAtOnce(s, 0, 5000, 19_000, 3000)
	w.commit(s, 30_000)
	w.commit(s, 6<<20)
	if d, err := s.Create(blob.ID{}); err == nil {
		d.Write(make([]byte, 6<<20))
		d.Discard()
	}
	w.commit(s, 200)
	s.Close()
}

// TestCrashAnywhere cuts a writer off for ever at each of its requests in turn, before the server did it or behind: another
// process seals what it left, finds all that was answered, and sweeps the rest.
func TestCrashAnywhere(t *testing.T) {
	requests := countRequests(t)
	if requests < 25 {
		t.Fatalf("the script makes %d requests only", requests)
	}
	step := int32(1)
	if testing.Short() {
		step = 5
	}
	for n := int32(1); n <= requests; n += step {
		for name, last := range map[string]action{"before": vanish, "behind": lose} {
			t.Run(fmt.Sprintf("%s request %d", name, n), func(t *testing.T) {
				t.Parallel()
				next := backend()
				way := newFaulty(next)
				b, sound := at(t, way), at(t, next)
				var count atomic.Int32
				way.set(func(*http.Request) action {
					switch at := count.Add(1); {
					case at == n:
						return last
					case at > n:
						return vanish
					}
					return pass
				})
				w := newWorld(t)
				w.script(b)
				s := closing(t, sound.open(t, dying, func(c *s3.Config) { c.RetryFor = 10 * time.Second }))
				eventually(t, "all but one are dead", func() bool { return countLive(t, s) == 1 })
				w.check(s, "found")
				if _, err := s.Sweep(context.Background()); err != nil {
					t.Errorf("Sweep: %v", err)
				}
				w.check(s, "swept")
				w.checkBodies(s, sound)
				if n, err := s.Sweep(context.Background()); n != 0 || err != nil {
					t.Errorf("second Sweep: %d, %v", n, err)
				}
			})
		}
	}
}

// countRequests runs the script in peace.
func countRequests(t *testing.T) int32 {
	way := newFaulty(backend())
	b := at(t, way)
	var count atomic.Int32
	way.set(func(*http.Request) action { count.Add(1); return pass })
	w := newWorld(t)
	w.script(b)
	if len(w.errs) > 0 || len(w.answered) != 8 {
		t.Fatalf("script: %v", w)
	}
	return count.Load()
}

func countLive(t testing.TB, s *s3.Store) (n int) {
	t.Helper()
	all, err := s.Incarnations(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, inc := range all {
		if inc.Live {
			n++
		}
	}
	return n
}

// checkBodies looks for bodies without a frame, and for uploads that were not ended.
func (w *world) checkBodies(s *s3.Store, b *bucket) {
	w.t.Helper()
	used := 0
	for _, f := range blobtest.ScanAll(w.t, s) {
		if f.Size > 20_000 {
			used++
		}
	}
	if bodies := b.keys(w.t.(testing.TB), "blob/body/"); len(bodies) != used {
		w.t.Errorf("%d bodies for %d frames: %v", len(bodies), used, bodies)
	}
	for u := range b.client.ListIncompleteUploads(context.Background(), b.cfg.Bucket, "blob/body/", true) {
		if minio.ToErrorResponse(u.Err).Code != "NoSuchUpload" { // as the server in process says where there are none
			w.t.Errorf("unfinished upload %+v", u)
		}
	}
}
