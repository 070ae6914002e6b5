package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
)

// measured is a ledger and a bus with the figures of a test.
type measured struct {
	ledger.Ledger
	away error
}

func (measured) Depth(context.Context) (ledger.Depth, error) {
	return ledger.Depth{Queued: 7, Parked: 2, Late: 90 * time.Second, Outbox: 3}, nil
}

func (measured) Withheld(context.Context, ledger.Decision, envelope.QueueID, int) ([]ledger.Withheld, error) {
	return make([]ledger.Withheld, 4), nil
}

func (m measured) Lags(context.Context) ([]bus.Lag, error) {
	return []bus.Lag{{Subject: bus.Local, Partition: 3, Waiting: 11, InHand: 5}}, m.away
}

func (m measured) CountDead(context.Context) (uint64, error) { return 1, m.away }

func TestWatcher(t *testing.T) {
	const queue = `# HELP mailfarm_queue_late_seconds How long the longest due recipient has been due and was not hinted.
# TYPE mailfarm_queue_late_seconds gauge
mailfarm_queue_late_seconds 90
`
	const lag = `# HELP mailfarm_bus_waiting Work that waits on the bus.
# TYPE mailfarm_bus_waiting gauge
mailfarm_bus_waiting{partition="3",subject="mail.local"} 11
`
	names := []string{"mailfarm_queue_late_seconds", "mailfarm_bus_waiting"}
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	farm := &measured{}
	m := newWatchMetrics(clock)
	w := &watcher{ledger: farm, bus: farm, lease: 15 * time.Second, now: clock, metrics: m}
	want := func(when, text string) {
		t.Helper()
		if err := testutil.CollectAndCompare(m, strings.NewReader(text), names...); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	want("before the first step", "")
	if _, err := w.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("measured", lag+queue)
	if n := testutil.CollectAndCount(m); n != 8 {
		t.Errorf("got %d series, want 8", n)
	}
	now = now.Add(time.Minute)
	want("another process watches by now", "")
	farm.away = bus.ErrAway
	if _, err := w.step(t.Context()); err == nil {
		t.Error("the bus is away: got no error")
	}
	want("the bus is away", queue)
}
