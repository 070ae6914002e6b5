package ledgertest

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testDepth(t *testing.T, open Open) {
	f := start(t, open)
	depth := func(want ledger.Depth) {
		t.Helper()
		if got, err := f.l.Depth(f.ctx); err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
	depth(ledger.Depth{})
	m := f.message(Local("a@example.org", 1), Remote("b@far.example"), Settled("c@example.org", storev1.State_STATE_DELIVERED),
		Settled("d@example.org", storev1.State_STATE_QUARANTINED))
	m.Children = []*mailv1.Accepted{Child(m, 0)}
	f.record(m)
	depth(ledger.Depth{Queued: 2, Parked: 1, Outbox: 1})
	f.clock.Advance(ledger.FirstDue + time.Minute)
	depth(ledger.Depth{Queued: 2, Parked: 1, Outbox: 1, Late: time.Minute})
	f.sweep(1)
	depth(ledger.Depth{Queued: 2, Parked: 1, Outbox: 1, Late: time.Minute})
	f.sweep(1)
	depth(ledger.Depth{Queued: 2, Parked: 1, Outbox: 1})
	if _, err := f.l.Act(f.ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_HOLD, QueueIds: [][]byte{m.Message.QueueId}}); err != nil {
		t.Fatal(err)
	}
	depth(ledger.Depth{Parked: 3, Outbox: 1})
}
