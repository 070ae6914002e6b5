package fault

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// senders is how many hand in at once.
const senders = 10

// killRounds starts the farm, hands letters in, kills it in the middle, and so on; each round hands in letters messages.
// between runs while the farm is dead.
func killRounds(t *testing.T, kills, letters int, between func(*world) error) {
	w := newWorld(t, "")
	w.Start()
	w.prepare()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		at := int64(rng.IntN(letters))
		w.load(letters, func(done int64) {
			if done == at {
				w.Kill()
			}
		})
		if between != nil {
			if err := between(w); err != nil {
				t.Fatal(err)
			}
		}
		w.Start()
	}
	w.check(t)
	answered := 0
	for _, l := range w.letters {
		if l.answered {
			answered++
		}
	}
	t.Logf("%d letters, %d of them got a 250, %d kills", len(w.letters), answered, kills)
}

// load hands in n letters of all kinds and calls tick with how many were, before each.
func (w *world) load(n int, tick func(done int64)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				tick(i)
				w.hand(kinds[int(i)%len(kinds)])
			}
		})
	}
	wg.Wait()
}
