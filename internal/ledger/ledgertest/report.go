package ledgertest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testReport(t *testing.T, open Open) {
	t.Run("what remains is a new generation", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"), Remote("b@far.example"), Remote("c@far.example"))
		f.claim("one", false, id, "far.example", 0)
		later := f.clock.Now().Add(5 * time.Minute)
		if !f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: []*storev1.Outcome{
			{Number: 0, State: storev1.State_STATE_RELAYED, Reply: "250 2.0.0 ok", Relay: "mx.far.example"},
			{Number: 1, State: storev1.State_STATE_QUEUED, Reply: "451 4.3.0 later", Relay: "mx.far.example", DueNs: later.UnixNano(), DelayNotified: true},
			{Number: 2, State: storev1.State_STATE_BOUNCED, Reply: strings.Repeat("5", 5000)},
		}}) {
			t.Fatal("report was refused")
		}
		a, b, c := f.row(id, 0), f.row(id, 1), f.row(id, 2)
		if a.State != storev1.State_STATE_RELAYED || a.DueNs != 0 || a.Attempts != 1 || a.LastReply != "250 2.0.0 ok" || a.Relay != "mx.far.example" {
			t.Errorf("relayed: got %v", a)
		}
		if b.State != storev1.State_STATE_QUEUED || b.Generation != 1 || b.DueNs != later.UnixNano() || !b.DelayNotified {
			t.Errorf("deferred: got %v", b)
		}
		if c.State != storev1.State_STATE_BOUNCED || len(c.LastReply) != ledger.ReplyMax {
			t.Errorf("bounced: got %v", c)
		}
		if got := f.claim("two", false, id, "far.example", 0); got.Claimed {
			t.Errorf("the old generation: got %v", got)
		}
		if due := f.sweep(10); due.Rows != 0 {
			t.Errorf("before it is due: got %v", due)
		}
		f.clock.Advance(5 * time.Minute)
		due := f.sweep(10)
		if len(due.Remote) != 1 || due.Remote[0].Generation != 1 {
			t.Fatalf("sweep: got %v", due)
		}
		if got := f.claim("two", false, id, "far.example", 1); !got.Claimed || len(got.Recipients) != 1 || got.Recipients[0].Number != 1 {
			t.Errorf("got %v, want recipient 1", got)
		}
	})
	t.Run("the ledger's clock counts a wait", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"), Remote("b@far.example"), Remote("c@far.example"))
		f.claim("one", false, id, "far.example", 0)
		began, wrong := f.clock.Now(), f.clock.Now().Add(time.Hour) // by the clock of who reports
		waits := []time.Duration{5 * time.Minute, 2 * Expiry, 1 << 62}
		var outcomes []*storev1.Outcome
		for n, wait := range waits {
			o := outcome(uint32(n), storev1.State_STATE_QUEUED, "451 4.3.0 later", wrong)
			o.DueInNs = int64(wait)
			outcomes = append(outcomes, o)
		}
		if !f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: outcomes}) {
			t.Fatal("report was refused")
		}
		for n, want := range []time.Duration{5 * time.Minute, Expiry, Expiry} {
			if got := time.Unix(0, f.row(id, n).DueNs).Sub(began); got != want {
				t.Errorf("to wait %v: due after %v, want %v", waits[n], got, want)
			}
		}
		f.clock.Advance(5 * time.Minute)
		if due := f.sweep(10); due.Rows != 1 {
			t.Errorf("after five minutes: got %v, want one row", due)
		}
	})
	t.Run("all of a report or nothing", func(t *testing.T) {
		f := start(t, open)
		m := f.message(Local("a@example.org", 1), Local("b@example.org", 2), Remote("c@far.example"))
		f.record(m)
		id := m.Message.QueueId
		done := func(numbers ...uint32) (o []*storev1.Outcome) {
			for _, n := range numbers {
				o = append(o, outcome(n, storev1.State_STATE_DISCARDED, "250 gone", time.Time{}))
			}
			return o
		}
		f.claim("one", false, id, "far.example", 0)
		for name, r := range map[string]*storev1.Report{
			"another generation":      {Outcomes: done(0), Generation: 1},
			"an owner of nothing":     {Outcomes: done(0), Owner: "one"},
			"another's claim":         {Outcomes: done(2), Owner: "two"},
			"nobody's, while claimed": {Outcomes: done(2)},
			"no such recipient":       {Outcomes: done(0, 9)},
			"one of two claimed":      {Outcomes: done(0, 2)},
		} {
			r.QueueId, r.Children = id, []*mailv1.Accepted{Child(m, 0)}
			if f.report(r) {
				t.Errorf("%s: was accepted", name)
			}
		}
		for i := range 3 {
			if r := f.row(id, i); r.State != storev1.State_STATE_QUEUED || r.LastReply != "" {
				t.Errorf("recipient %d: got %v, want it untouched", i, r)
			}
		}
		if got := f.outbox(); len(got) != 0 {
			t.Errorf("got children %v of refused reports", got)
		}
		if !f.report(&storev1.Report{QueueId: id, Outcomes: done(0, 1)}) || f.report(&storev1.Report{QueueId: id, Outcomes: done(0, 1)}) {
			t.Error("want the report accepted once and its repeat refused")
		}
		if f.report(&storev1.Report{QueueId: f.message().Message.QueueId, Outcomes: done(0)}) {
			t.Error("a report on an unknown message was accepted")
		}
	})
	t.Run("a late owner may report what nobody took since", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		f.claim("one", false, id, "far.example", 0)
		f.clock.Advance(2 * lease)
		if !f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_RELAYED, "250 ok", time.Time{})}}) {
			t.Error("refused, although the peer has the message: it would be sent twice")
		}
	})
	t.Run("children come with the outcome", func(t *testing.T) {
		f := start(t, open)
		m := f.message(Local("a@example.org", 1))
		f.record(m)
		r := &storev1.Report{QueueId: m.Message.QueueId, Children: []*mailv1.Accepted{Child(m, 3)},
			Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_BOUNCED, "550 no", time.Time{})}}
		f.report(r)
		if got := f.outbox(); len(got) != 1 || string(got[0].ID[:]) != string(r.Children[0].QueueId) || string(got[0].Owner) != string(m.Message.QueueId) {
			t.Errorf("got %v, want the child under its parent", got)
		}
	})
	t.Run("parked is no attempt, and expiry bounds every wait", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1))
		if !f.report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_QUEUED, "", f.clock.Now().Add(100*Expiry))}}) {
			t.Fatal("report was refused")
		}
		if r := f.row(id, 0); r.Attempts != 0 || r.Generation != 1 || r.DueNs != f.clock.Now().Add(Expiry).UnixNano() {
			t.Errorf("got %v, want no attempt and the due time at its expiry", r)
		}
	})
	t.Run("past its expiry a recipient waits as long as it was told to", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1))
		f.clock.Advance(2 * Expiry)
		later := f.clock.Now().Add(time.Minute)
		if !f.report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_QUEUED, "451 no DSN yet", later)}}) {
			t.Fatal("report was refused")
		}
		if r := f.row(id, 0); r.DueNs != later.UnixNano() {
			t.Errorf("due in %v, want a minute", time.Duration(r.DueNs-f.clock.Now().UnixNano()))
		}
	})
	t.Run("dead and held wait for people", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1), Local("b@example.org", 2))
		f.report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{
			outcome(0, storev1.State_STATE_DEAD, "panic", time.Time{}), outcome(1, storev1.State_STATE_HELD, "held", time.Time{})}})
		f.clock.Advance(1000 * Expiry)
		if due := f.sweep(10); due.Rows != 0 {
			t.Errorf("sweep: got %v", due)
		}
	})
	t.Run("what can never be right is refused", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Local("a@example.org", 1))
		for _, r := range []*storev1.Report{
			{QueueId: id}, {QueueId: []byte("x"), Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_DEAD}}},
			{QueueId: id, Outcomes: []*storev1.Outcome{{}}},
			{QueueId: id, Children: []*mailv1.Accepted{{}}, Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_DEAD}}},
		} {
			if _, err := f.l.Report(f.ctx, []*storev1.Report{r}); !errors.Is(err, ledger.ErrInvalid) {
				t.Errorf("%v: got %v, want ErrInvalid", r, err)
			}
		}
	})
}
