package run_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/run"
)

// diary notes in which order things happen.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

func (d *diary) part(name string, finish time.Duration) run.Part {
	return run.Part{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(finish) // under synctest: no time goes by
		d.write(name + " stopped")
		return nil
	}}
}

var silent = slog.New(slog.DiscardHandler)

func TestStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := run.Stages(ctx, silent, run.Stage{d.part("store", 0)}, run.Stage{d.part("router", time.Second)}, run.Stage{d.part("ingress", 3*time.Second)})
		if want := []string{"ingress stopped", "router stopped", "store stopped"}; err != nil || !slices.Equal(d.lines, want) {
			t.Errorf("got %v, %v; want %v", d.lines, err, want)
		}
	})
}

func TestFirstFailureStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		boom := errors.New("boom")
		err := run.Stages(t.Context(), silent, run.Stage{d.part("store", 0)},
			run.Stage{{Name: "router", Run: func(context.Context) error { return boom }}})
		if !errors.Is(err, boom) || len(d.lines) != 1 {
			t.Errorf("got %v and %v; want boom and one part stopped", err, d.lines)
		}
	})
}

func TestPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := run.Stages(t.Context(), silent, run.Stage{{Name: "router", Run: func(context.Context) error { panic("boom") }}})
		if err == nil {
			t.Error("got no error")
		}
	})
}

func TestSlowPartIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d := &diary{}
		slow := d.part("slow", time.Hour)
		slow.Grace = time.Second
		start := time.Now()
		err := run.Stages(ctx, silent, run.Stage{slow})
		if err != nil || time.Since(start) != time.Second {
			t.Errorf("got %v after %v; want none after 1s", err, time.Since(start))
		}
		time.Sleep(time.Hour) // the goroutine ends before the test does
	})
}
