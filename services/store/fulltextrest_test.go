package store

import (
	"testing"
	"time"
)

// TestShareOf: the worker gives way to a busy process, unless it was told not to or somebody has waited for long.
func TestShareOf(t *testing.T) {
	for _, c := range []struct {
		share int
		busy  bool
		lag   time.Duration
		want  int
	}{
		{50, false, 0, 50}, {50, true, 0, 10}, {50, true, 59 * time.Second, 10}, {50, true, time.Minute, 50},
		{3, true, 0, 1}, {1, true, 0, 1}, {100, true, 0, 100}, {100, false, time.Hour, 100},
	} {
		if got := shareOf(c.share, c.busy, c.lag); got != c.want {
			t.Errorf("share %d, busy %v, lag %v: got %d, want %d", c.share, c.busy, c.lag, got, c.want)
		}
	}
}

// TestProcessLoad: a process is busy by what it does while the worker rests, over a second of rests.
func TestProcessLoad(t *testing.T) {
	const ms = time.Millisecond
	var l processLoad
	for i, c := range []struct {
		passed, used time.Duration
		want         bool
	}{
		{900 * ms, 900 * ms, false}, {100 * ms, 0, true}, // 0.9 of 2 processors
		{999 * ms, 0, true}, {ms, 0, false},
		{time.Second, 250 * ms, false}, {time.Second, 251 * ms, true},
		{5 * time.Second, time.Second, false},
	} {
		if l.rested(c.passed, c.used, 2); l.busy != c.want {
			t.Errorf("rest %d: busy is %v, want %v", i, l.busy, c.want)
		}
	}
	if a, b := processTime(), processTime(); a <= 0 || b < a {
		t.Errorf("the process took %v, then %v", a, b)
	}
}
