package s3_test

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// TestHistory does at random what callers and servers do.
func TestHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	next := backend()
	way := newFaulty(next)
	b, sound := at(t, way), at(t, next)
	change := func(c *s3.Config) {
		hasty(c)
		c.RetryFor, c.Threshold, c.SegmentBytes = 60*time.Millisecond, 20_000, 50_000
	}
	w := newWorld(t)
	s := b.open(t, change)
	defer func() { s.Close() }()
	for range 60 {
		switch n := r.IntN(12); {
		case n == 0:
			way.set(nil)
			s.Close()
			s = b.open(t, change)
		case n < 4:
			kind, every := action(r.IntN(int(spoil))), 1+r.Int32N(4)
			var count atomic.Int32
			way.set(func(*http.Request) action {
				if count.Add(1)%every == 0 {
					return kind
				}
				return pass
			})
		case n < 6:
			way.set(nil)
			eventually(t, "commits go on", func() bool { return w.commit(s, 1000) == nil })
		default:
			var sizes []int
			for range 1 + r.IntN(8) {
				sizes = append(sizes, r.IntN(50_000)*r.IntN(2)+r.IntN(3000))
			}
			w.commitAtOnce(s, sizes...)
		}
	}
	way.set(nil)
	eventually(t, "commits go on", func() bool { return w.commit(s, 1000) == nil })
	w.check(s, "same process")
	other := closing(t, sound.open(t, hasty))
	w.check(other, "another process")
	t.Logf("%d answered, %d unknown, %d not kept", len(w.answered), len(w.unknown), len(w.full))
}
