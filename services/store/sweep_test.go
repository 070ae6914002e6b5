package store

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func (w *world) sweep() {
	w.Helper()
	if err := untilIdle(w.ctx, w.part.tasks[0]); err != nil {
		w.Fatalf("sweep: %v", err)
	}
}

func TestSweepHintsWhatIsDue(t *testing.T) {
	w := newWorld(t)
	w.cfg.SweepBatch = 2
	w.restart()
	m := w.frame(blob.Accepted, nil, "a@example.org", "b@far.example", "c@far.example")
	rows := []*storev1.RecipientRow{ledgertest.Local("a@example.org", 7), ledgertest.Remote("b@far.example"), ledgertest.Remote("c@far.example")}
	for i := range rows {
		rows[i].Number = uint32(i)
	}
	if _, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{{Message: m, Recipients: rows}}); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	if n := w.bus.waits(bus.Local) + w.bus.waits(bus.Remote); n != 0 {
		t.Fatalf("hinted %d before they were due", n)
	}
	w.clock.Advance(ledger.FirstDue)
	w.sweep()
	var local mailv1.LocalWork
	if n := w.bus.waits(bus.Local); n != 1 || proto.Unmarshal(w.bus.streams[bus.Local][0], &local) != nil || local.Account != 7 || local.ForwardPath != "a@example.org" {
		t.Errorf("local: got %d hints, %v", n, &local)
	}
	// The batch may end within a group: its hint may come twice, and the second is dropped by the claim.
	var remote mailv1.RemoteWork
	if n := w.bus.waits(bus.Remote); n < 1 || n > 2 || proto.Unmarshal(w.bus.streams[bus.Remote][0], &remote) != nil || remote.Group != "far.example" {
		t.Errorf("remote: got %d hints, %v", n, &remote)
	}
	before := w.bus.waits(bus.Local)
	w.sweep()
	w.clock.Advance(w.part.cfg.SweepAgain)
	if w.sweep(); w.bus.waits(bus.Local) != before+1 {
		t.Errorf("got %d local hints, want one more after the wait", w.bus.waits(bus.Local))
	}
}

func TestSweepPausesWhileMuchWaits(t *testing.T) {
	w := newWorld(t)
	w.cfg.MaxBacklog = 3
	w.restart()
	for range 10 {
		w.record(w.frame(blob.Accepted, nil, "a@example.org"))
	}
	for range 5 {
		w.clock.Advance(time.Hour)
		w.sweep()
	}
	if n := w.bus.waits(bus.Local); n != 10 {
		t.Fatalf("got %d hints, want 10: a backlog is not hinted again and again", n)
	}
	w.bus.take(bus.Local)
	if w.sweep(); w.bus.waits(bus.Local) != 10 {
		t.Errorf("got %d hints, want the sweep to go on", w.bus.waits(bus.Local))
	}
}

// TestSweepPausesByDestination: where one kind of delivery stands still, the other's work goes on.
func TestSweepPausesByDestination(t *testing.T) {
	for _, tt := range []struct{ stuck, goes bus.Subject }{{bus.Local, bus.Remote}, {bus.Remote, bus.Local}} {
		t.Run(string(tt.stuck), func(t *testing.T) {
			w := newWorld(t)
			w.cfg.MaxBacklog = 3
			w.restart()
			for i := range 10 {
				a, b := ledgertest.Local("a@example.org", 7), ledgertest.Remote("b@far.example")
				a.Number, b.Number = 0, 1
				m := w.frame(blob.Accepted, nil, "a@example.org", "b@far.example")
				if _, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{{Message: m, Recipients: []*storev1.RecipientRow{a, b}}}); err != nil {
					t.Fatal(i, err)
				}
			}
			w.clock.Advance(time.Hour)
			w.sweep()
			w.bus.take(tt.goes)
			w.clock.Advance(time.Hour)
			w.sweep()
			if stuck, goes := w.bus.waits(tt.stuck), w.bus.waits(tt.goes); stuck != 10 || goes != 10 {
				t.Errorf("%d hints of what stands still, want 10; %d of the other, want 10 again", stuck, goes)
			}
		})
	}
}

func TestSweepWithTheBusAwayLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.record(w.frame(blob.Accepted, nil, "a@example.org"))
	w.clock.Advance(time.Hour)
	w.bus.fail = errAway
	if _, err := w.part.tasks[0].step(w.ctx); err == nil {
		t.Fatal("want the error told")
	}
	w.bus.fail = nil
	if w.sweep(); w.bus.waits(bus.Local) != 1 {
		t.Error("not hinted once the bus was back: rows must not be put off before the bus is known to be there")
	}
}
