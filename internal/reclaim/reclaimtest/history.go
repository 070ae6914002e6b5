package reclaimtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

// expungeAll empties all mailboxes.
func (w *world) expungeAll() {
	for account := mailbox.AccountID(1); account <= 3; account++ {
		list, _, err := w.s.Mailboxes.List(context.Background(), account)
		w.must("List", err)
		for _, box := range list {
			if box.Messages > 0 {
				_, err := w.s.Mailboxes.Expunge(context.Background(), account, box.ID, everything, true)
				w.must("Expunge", err)
			}
		}
	}
}

// checkGivenBack looks that no more room is taken than what lives may, and then that nothing is left once nothing lives.
func (w *world) checkGivenBack() {
	w.t.Helper()
	w.settle()
	w.check("settled")
	survey, err := w.worker.Survey(context.Background())
	w.must("Survey", err)
	if survey.Dying > 0 || survey.DeadBodies > 0 || survey.Open > 0 {
		w.t.Errorf("settled, and there is room to give back: %+v", survey)
	}
	segments, bodies := w.stored()
	// Each segment that stays lives to LiveBelow percent at least.
	if segments != survey.Live+survey.Dead || survey.Live*100 < segments*int64(config.LiveBelow) || bodies != survey.LiveBodies {
		w.t.Errorf("settled: %d octets in segments, %d in bodies; the survey says %+v", segments, bodies, survey)
	}
	w.expungeAll()
	w.settle()
	if segments, bodies := w.stored(); segments > 0 || bodies > 0 {
		w.t.Errorf("nothing lives, and %d octets are left in segments, %d in bodies", segments, bodies)
	}
	work, err := w.s.Books.Work(context.Background())
	if err != nil || len(work) > 0 {
		w.t.Errorf("nothing lives, and there is work: %+v, %v", work, err)
	}
}

// histories lets random things happen between any two steps of the worker, and lets it die there.
func histories(t *testing.T, open func(testing.TB) Subject) {
	seeds, rounds := uint64(6), 40
	if testing.Short() {
		seeds, rounds = 2, 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := open(t)
			if s.Slow && seed > 1 {
				t.Skip("two histories are enough for a slow database")
			}
			w := newWorld(t, s, seed)
			points := 0
			w.fault = func(string) error {
				points++
				for range w.r.IntN(6) {
					w.op()
				}
				if w.r.IntN(12) == 0 {
					return errCrash
				}
				return nil
			}
			for round := range rounds {
				// For some days nothing is routed: what waits in the outbox, or ahead of recovery, is all that refers to some bodies.
				w.away = seed%2 == 1 && round%20 >= 8 && round%20 < 18
				if w.away && round%20 == 10 {
					w.expungeAll()
					w.s.Advance(retention)
					w.purge()
				}
				for range 15 {
					w.op()
				}
				w.steps()
				if w.r.IntN(4) == 0 {
					w.open()
				}
				w.check("in use")
				w.s.Advance(time.Duration(w.r.Int64N(int64(8 * time.Hour))))
			}
			w.fault, w.away = nil, false
			w.checkGivenBack()
			stat, err := w.worker.Stat(context.Background())
			if w.must("Stat", err); stat.Ever.Segments == 0 || stat.Ever.Moved == 0 || stat.Ever.Freed == 0 {
				t.Errorf("a history in which nothing was given back: %+v", stat.Ever)
			}
			t.Logf("%d operations, %d points: %+v", w.ops, points, stat.Ever)
		})
	}
}

// everyStepFails lets the worker die at each of its points, each time it is passed, in a store that is half dead.
func everyStepFails(t *testing.T, open func(testing.TB) Subject) {
	passed := map[string]int{}
	slow := halfDead(t, open, func(point string) error { passed[point]++; return nil })
	const points = 13
	if len(passed) < points {
		t.Errorf("only %d points were passed, want %d: %v", len(passed), points, passed)
	}
	for point, n := range passed {
		for _, at := range []int{1, n/2 + 1} {
			if at > n || slow && at > 1 {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", point, at), func(t *testing.T) {
				count := 0
				halfDead(t, open, func(p string) error {
					if p != point {
						return nil
					}
					if count++; count == at {
						return errCrash
					}
					return nil
				})
				if count < at {
					t.Errorf("%s was passed %d times", point, count)
				}
			})
			if testing.Short() {
				break
			}
		}
	}
}

// halfDead fills a store, expunges every other message, and gives back the room.
func halfDead(t *testing.T, open func(testing.TB) Subject, fault func(string) error) (slow bool) {
	s := open(t)
	w := newWorld(t, s, 99)
	w.fault = fault
	for range 25 {
		w.unrouted = append(w.unrouted, w.commit(blob.Accepted, blob.ID{}))
		w.route()
		w.deliver()
		w.appendOne()
	}
	// One segment that mostly lives, with a dead body apart.
	for _, n := range []int{1, 3, 1} {
		for range n {
			w.appendOne()
		}
	}
	for account := mailbox.AccountID(1); account <= 3; account++ {
		list, _, err := w.s.Mailboxes.List(context.Background(), account)
		w.must("List", err)
		for _, box := range list {
			var others mailbox.UIDSet
			for uid := mailbox.UID(1); uid < box.UIDNext; uid += 2 {
				others = append(others, mailbox.UIDRange{First: uid, Last: uid})
			}
			_, err := w.s.Mailboxes.Expunge(context.Background(), account, box.ID, others, true)
			w.must("Expunge", err)
		}
	}
	w.checkGivenBack()
	return s.Slow
}

// concurrent uses the store while the worker runs: what is kept can be read at any moment, wherever it is moved to.
func concurrent(t *testing.T, s Subject) {
	w := newWorld(t, s, 7)
	var kept []blob.ID
	for range 30 {
		id := w.commit(blob.Appended, blob.ID{})
		kept = append(kept, id)
		_, err := s.Mailboxes.Append(context.Background(), 4, index.Inbox, []index.Message{{Blob: id, PartIndex: []byte{1},
			Size: int64(len(w.frames[id].Body)), Received: s.Now()}})
		w.must("Append", err)
		w.appendOne()
	}
	want := map[blob.ID]string{}
	for _, id := range kept {
		want[id] = string(w.frames[id].Body)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.worker.Step(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("step: %v", err)
				return
			}
		}
	})
	blobs := w.blobs
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			id := kept[i%len(kept)]
			f, err := blobs.Open(ctx, id)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("Open of %v, which is kept: %v", id, err)
				}
				return
			}
			got := make([]byte, f.Size)
			if n, err := f.Body.ReadAt(got, 0); int64(n) < f.Size || string(got) != want[id] {
				t.Errorf("read %v, which is kept: %d of %d octets, %v", id, n, f.Size, err)
			}
			f.Close()
		}
	})
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	// The worker goes as fast as the machine lets it: there are rounds until it has given something back, within reason.
	stat := &reclaim.Stat{}
	for i := 0; i < rounds || (stat.Ever.Moved == 0 || stat.Ever.Segments == 0) && i < 20*rounds; i++ {
		for range 10 {
			w.op()
		}
		if i%10 == 9 {
			w.expungeAll()
			s.Advance(retention)
			w.purge()
			var err error
			stat, err = w.worker.Stat(context.Background())
			w.must("Stat", err)
		}
		w.recover()
		s.Advance(time.Hour)
	}
	stop()
	wg.Wait()
	w.check("in the end")
	if stat.Ever.Moved == 0 || stat.Ever.Segments == 0 {
		t.Errorf("nothing was given back meanwhile: %+v", stat.Ever)
	}
	t.Logf("%+v", stat.Ever)
}
