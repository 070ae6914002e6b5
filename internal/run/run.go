// Package run starts the parts of a process in order, and stops them in reverse.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Part is something that runs until its context ends and then finishes what it has in hand.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
	// Grace is how long it may take to finish. Default 8s.
	Grace time.Duration
}

// Stage is parts that start and stop together.
type Stage []Part

// Stages starts the stages in order and runs until ctx ends or a part fails; then it stops them, last stage first. It
// returns the first failure. Each part's goroutine is waited for, as long as its grace; one that takes longer is logged and
// left behind, which is no failure: what it holds is handed to whoever comes next.
func Stages(ctx context.Context, log *slog.Logger, stages ...Stage) error {
	failed := make(chan error, 1)
	running := make([]*stage, 0, len(stages))
	for _, s := range stages {
		running = append(running, start(s, failed))
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failed:
	}
	for i := len(running) - 1; i >= 0; i-- {
		running[i].stop(log)
	}
	return failure
}

type stage struct {
	cancel context.CancelFunc
	parts  []*part
}

type part struct {
	Part
	done chan struct{}
}

func start(s Stage, failed chan<- error) *stage {
	// Not a child of the caller's context: a stage lives until those behind it have stopped.
	ctx, cancel := context.WithCancel(context.Background())
	st := &stage{cancel: cancel}
	for _, p := range s {
		r := &part{Part: p, done: make(chan struct{})}
		if r.Grace <= 0 {
			r.Grace = 8 * time.Second
		}
		st.parts = append(st.parts, r)
		go func() {
			defer close(r.done)
			err := guarded(ctx, r.Run)
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				select {
				case failed <- fmt.Errorf("%s: %w", r.Name, err):
				default: // another failed before: its error is the one that tells
				}
			}
		}()
	}
	return st
}

func guarded(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

func (s *stage) stop(log *slog.Logger) {
	s.cancel()
	var wg sync.WaitGroup
	for _, p := range s.parts {
		wg.Go(func() {
			grace := time.NewTimer(p.Grace)
			defer grace.Stop()
			select {
			case <-p.done:
			case <-grace.C:
				log.Warn("part did not stop in time", "part", p.Name, obs.Delay("stop", p.Grace))
			}
		})
	}
	wg.Wait()
}
