package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/mailbox"
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

// TestHurry: the worker hurries for the account in hand and for those behind it by how long they have waited, and for one that
// failed only when it is tried again and that takes long.
func TestHurry(t *testing.T) {
	began := time.Unix(1e9, 0)
	for _, tt := range []struct {
		name  string
		dirty map[mailbox.AccountID]wait // 1 is taken
		after time.Duration
		want  time.Duration
	}{
		{"one alone", map[mailbox.AccountID]wait{1: {since: began.Add(-yieldFor)}}, time.Second, yieldFor + time.Second},
		{"an older one behind it", map[mailbox.AccountID]wait{1: {since: began}, 2: {since: began.Add(-time.Hour)}}, 0, time.Hour},
		{"an older one that failed", map[mailbox.AccountID]wait{1: {since: began}, 2: {began.Add(-time.Hour), true}, 3: {since: began.Add(-time.Second)}}, 0, time.Second},
		{"one that failed", map[mailbox.AccountID]wait{1: {began.Add(-time.Hour), true}}, yieldFor, yieldFor},
	} {
		now := began
		w := &textWorker{deps: FullTextDeps{Now: func() time.Time { return now }}, dirty: tt.dirty}
		w.take(1)
		now = began.Add(tt.after)
		if got := w.hurry(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestHurryLooksNowAndThen: who comes to wait is seen a little later, and who waits no more is hurried for no longer.
func TestHurryLooksNowAndThen(t *testing.T) {
	now := time.Unix(1e9, 0)
	w := &textWorker{deps: FullTextDeps{Now: func() time.Time { return now }}, dirty: map[mailbox.AccountID]wait{1: {since: now}, 2: {since: now.Add(-time.Hour)}}}
	w.take(1)
	for i, tt := range []struct{ passed, want time.Duration }{
		{0, time.Hour}, {lookOver - 1, time.Hour + lookOver - 1}, {1, lookOver}, {lookOver, 2 * lookOver},
	} {
		now = now.Add(tt.passed)
		if got := w.hurry(); got != tt.want {
			t.Errorf("look %d: got %v, want %v", i, got, tt.want)
		}
		delete(w.dirty, 2)
	}
}

// brokenTexts is a database of texts that cannot be read.
type brokenTexts struct{ fulltext.DB }

var errBroken = errors.New("broken")

func (brokenTexts) ReadSQL(context.Context, func(fulltext.SQL) error) error { return errBroken }

// TestNoHurryForTheFailed: an account that failed waits on, and the worker gives way again.
func TestNoHurryForTheFailed(t *testing.T) {
	now := time.Unix(1e9, 0)
	since := now.Add(-time.Hour)
	w := &textWorker{deps: FullTextDeps{Now: func() time.Time { return now }, Index: fulltext.New(brokenTexts{})},
		cfg: FullTextConfig{SweepEvery: time.Hour}, swept: now, stepped: now, dirty: map[mailbox.AccountID]wait{1: {since: since}}}
	if _, err := w.step(t.Context()); !errors.Is(err, errBroken) {
		t.Fatalf("got %v, want %v", err, errBroken)
	}
	if got := w.dirty[1]; !got.failed || !got.since.Equal(since) {
		t.Errorf("it waits since %v, failed: %v; want %v and that it failed", got.since, got.failed, since)
	}
	w.dirty[2] = wait{since: now}
	if w.take(2); w.hurry() != 0 {
		t.Errorf("the next is hurried for by %v", w.hurry())
	}
	if w.take(1); w.hurry() != 0 {
		t.Errorf("it is hurried for by %v when it is tried again", w.hurry())
	}
}
