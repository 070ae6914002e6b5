package rpc

import (
	"context"
	"runtime"
	"sync"
	"testing"
)

// TestHands: every call is handled, many at once, one that is begun within another too; and after Close nobody waits.
func TestHands(t *testing.T) {
	closed, closing := context.WithCancel(context.Background())
	h := newHands(closed)
	const calls = 4 * handsMax
	for range 3 {
		var all, within sync.WaitGroup
		all.Add(calls) // all at once: each waits for the others
		within.Add(calls)
		for range calls {
			h.run(func() {
				all.Done()
				all.Wait()
				done := make(chan struct{})
				h.run(func() { close(done) })
				<-done
				within.Done()
			})
		}
		within.Wait()
	}
	for len(h.idle) < handsMax {
		runtime.Gosched()
	}
	before := runtime.NumGoroutine()
	closing()
	for runtime.NumGoroutine() > before-handsMax {
		runtime.Gosched()
	}
}
