package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testSweep(t *testing.T, open Open) {
	t.Run("a row that nobody was hinted of is found", func(t *testing.T) {
		f := start(t, open)
		local := Local("a@example.org", 1<<62)
		local.Detail, local.Notify, local.Orcpt = "lists", 3, "rfc822;a"
		id := f.put(local, Remote("b@far.example"), Remote("c@far.example"), Settled("d@example.org", storev1.State_STATE_BOUNCED))
		if due := f.sweep(10); due.Rows != 0 {
			t.Fatalf("at once: got %v", due)
		}
		f.clock.Advance(ledger.FirstDue)
		due := f.sweep(10)
		want := &mailv1.LocalWork{QueueId: id, Account: 1 << 62, ForwardPath: "a@example.org", Detail: "lists", Notify: 3, Orcpt: "rfc822;a"}
		if due.Rows != 3 || len(due.Local) != 1 || !proto.Equal(due.Local[0], want) {
			t.Errorf("local: got %v, want %v", due.Local, want)
		}
		if want := (&mailv1.RemoteWork{QueueId: id, Group: "far.example"}); len(due.Remote) != 1 || !proto.Equal(due.Remote[0], want) {
			t.Errorf("remote: got %v, want one hint of the group", due.Remote)
		}
		if due := f.sweep(10); due.Rows != 0 {
			t.Errorf("again at once: got %v", due)
		}
		f.clock.Advance(time.Minute)
		if due := f.sweep(10); due.Rows != 3 {
			t.Errorf("after the wait: got %v, want the same again", due)
		}
	})
	t.Run("one destination alone", func(t *testing.T) {
		f := start(t, open)
		for i := range 5 {
			f.put(Local(fmt.Sprintf("u%d@example.org", i), uint64(i+1)))
		}
		f.put(Remote("b@far.example"))
		f.clock.Advance(ledger.FirstDue)
		take := func(of ledger.SweepOf, limit int) ledger.Due {
			t.Helper()
			due, err := f.l.Sweep(f.ctx, of, limit, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return due
		}
		if due := take(ledger.SweepRemote, 3); due.Rows != 1 || len(due.Remote) != 1 || len(due.Local) != 0 {
			t.Errorf("remote behind what is local: got %v", due)
		}
		if due := take(ledger.SweepRemote, 3); due.Rows != 0 {
			t.Errorf("remote again: got %v", due)
		}
		if due := take(ledger.SweepLocal, 3); due.Rows != 3 || len(due.Local) != 3 {
			t.Errorf("local: got %v", due)
		}
		if due := take(ledger.SweepAll, 10); due.Rows != 2 || len(due.Local) != 2 {
			t.Errorf("the rest: got %v, want what was not taken", due)
		}
	})
	t.Run("batches take the longest due first", func(t *testing.T) {
		f := start(t, open)
		for i := range 10 {
			r := Local(fmt.Sprintf("u%d@example.org", i), uint64(i+1))
			r.DueNs = f.clock.Now().Add(time.Duration(10-i) * time.Second).UnixNano()
			f.put(r)
		}
		f.clock.Advance(7 * time.Second)
		var got []uint64
		for {
			due := f.sweep(3)
			for _, w := range due.Local {
				got = append(got, w.Account)
			}
			if due.Rows < 3 {
				break
			}
		}
		seen := map[uint64]bool{}
		for i, a := range got {
			if seen[a] = true; i < 3 && a < 8 {
				t.Errorf("got accounts %v, want the longest due in the first batch", got)
			}
		}
		if len(seen) != 7 || len(got) != 7 {
			t.Errorf("got accounts %v, want the 7 that are due, once", got)
		}
	})
}

func testOutbox(t *testing.T, open Open) {
	f := start(t, open)
	m := f.message(Settled("a@example.org", storev1.State_STATE_BOUNCED))
	child := Child(m, 0)
	m.Children = []*mailv1.Accepted{child}
	f.record(m)
	take := func(d time.Duration) []ledger.OutboxChild {
		t.Helper()
		f.clock.Advance(d)
		return f.outbox()
	}
	got := take(0)
	if len(got) != 1 || got[0].Tries != 0 {
		t.Fatalf("at once: got %v", got)
	}
	want := proto.Clone(child).(*mailv1.Accepted)
	want.Verdict = &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}
	var payload mailv1.Accepted
	if err := proto.Unmarshal(got[0].Payload, &payload); err != nil || !proto.Equal(&payload, want) {
		t.Errorf("payload: got %v, %v; want %v", &payload, err, want)
	}
	for i, row := range []struct {
		wait time.Duration
		want int
	}{{0, 0}, {time.Second, 1}, {time.Second, 0}, {time.Second, 1}, {3 * time.Second, 0}, {time.Second, 1}} {
		if got := take(row.wait); len(got) != row.want {
			t.Errorf("take %d: got %d children, want %d: the wait doubles", i, len(got), row.want)
		}
	}
	for range 40 {
		take(ledger.OutboxMaxWait)
	}
	if got := take(ledger.OutboxMaxWait); len(got) != 1 {
		t.Errorf("got %d children, want the wait bounded", len(got))
	}
	if err := f.l.DropOutbox(f.ctx, got); err != nil {
		t.Fatal(err)
	}
	if got := take(2 * ledger.OutboxMaxWait); len(got) != 0 {
		t.Errorf("got %v after it was dropped", got)
	}
}
