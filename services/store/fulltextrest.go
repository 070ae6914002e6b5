package store

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

const (
	// yieldTo is which part of its share the worker takes, a fifth, while the process is busy: while the rest of it takes
	// more than a part of the processors, an eighth.
	yieldTo  = 5
	busyFrom = 8
	// lookOver is over how much rest that is measured.
	lookOver = time.Second
	// yieldFor is how long an account may wait until the worker gives way no more.
	yieldFor = time.Minute
)

// rest waits so long that the worker takes its share of a processor and no more.
func (w *textWorker) rest(ctx context.Context) {
	worked := time.Since(w.spent)
	share := shareOf(w.cfg.Share, w.load.busy, w.hurry())
	if d := min(worked*time.Duration(100-share)/time.Duration(share), restMax); d > 0 {
		began, used := time.Now(), processTime()
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		w.load.rested(time.Since(began), processTime()-used, runtime.GOMAXPROCS(0))
	}
	w.spent = time.Now()
}

// hurry is how long the account in hand has waited, or another that waits and did not fail when it was tried last, whichever is
// longer. The others are looked at once in a lookOver: they may be many, and so are rests.
func (w *textWorker) hurry() time.Duration {
	now := w.deps.Now()
	if now.Sub(w.looked) >= lookOver {
		w.oldest, w.looked = now, now
		w.mu.Lock()
		for _, waits := range w.dirty {
			if !waits.failed && waits.since.Before(w.oldest) {
				w.oldest = waits.since
			}
		}
		w.mu.Unlock()
	}
	return max(now.Sub(w.begun), now.Sub(w.oldest))
}

// shareOf is which share of a processor the worker takes, percent: what is configured, and less beside a process that has people
// to serve, unless what they wait for is the index by now. All of a processor is all of it.
func shareOf(share int, busy bool, lag time.Duration) int {
	if busy && share < 100 && lag < yieldFor {
		return max(1, share/yieldTo)
	}
	return share
}

// processLoad tells whether the process is busy while the worker rests.
type processLoad struct {
	passed, used time.Duration // of rests since it was decided last, and of processors meanwhile
	busy         bool
}

// rested takes what the process used of some processors during a rest.
func (l *processLoad) rested(passed, used time.Duration, processors int) {
	l.passed, l.used = l.passed+passed, l.used+used
	if l.passed >= lookOver {
		*l = processLoad{busy: l.used > l.passed*time.Duration(processors)/busyFrom}
	}
}

// processTime is what the process has taken of processors, 0 where the system does not tell.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
