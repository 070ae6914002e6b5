package ledgertest

import (
	"testing"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testClaim(t *testing.T, open Open) {
	t.Run("one owner at a time takes a group", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"), Remote("b@far.example"), Remote("c@other.example"), Local("d@example.org", 4))
		got := f.claim("one", false, id, "far.example", 0)
		if !got.Claimed || len(got.Recipients) != 2 || got.Message == nil || string(got.Message.QueueId) != string(id) {
			t.Fatalf("got %v, want the two recipients with their message", got)
		}
		if got := f.claim("two", false, id, "far.example", 0); got.Claimed {
			t.Errorf("another owner got %v", got)
		}
		if got := f.claim("one", false, id, "far.example", 0); !got.Claimed || len(got.Recipients) != 2 {
			t.Errorf("the same owner again got %v, want the same", got)
		}
		if got := f.claim("two", false, id, "other.example", 0); !got.Claimed || len(got.Recipients) != 1 {
			t.Errorf("the other group: got %v", got)
		}
		if got := f.claim("two", false, id, "", 0); got.Claimed {
			t.Errorf("local work was claimed: %v", got)
		}
	})
	t.Run("another generation, a final row and an unknown message are not claimed", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		if got := f.claim("one", false, id, "far.example", 1); got.Claimed {
			t.Errorf("generation 1: got %v", got)
		}
		f.claim("one", false, id, "far.example", 0)
		if !f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_RELAYED, "250 ok", time.Time{})}}) {
			t.Fatal("report was refused")
		}
		if got := f.claim("one", false, id, "far.example", 0); got.Claimed {
			t.Errorf("relayed: got %v", got)
		}
		if got := f.claim("one", false, f.message().Message.QueueId, "far.example", 0); got.Claimed {
			t.Errorf("unknown: got %v", got)
		}
	})
	t.Run("a lease ends on the ledger's clock", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		f.claim("one", false, id, "far.example", 0)
		f.clock.Advance(lease - 1)
		if got := f.claim("two", false, id, "far.example", 0); got.Claimed {
			t.Errorf("while the lease runs: got %v", got)
		}
		f.clock.Advance(1)
		if got := f.claim("two", false, id, "far.example", 0); !got.Claimed {
			t.Error("after the lease: not claimed")
		}
		if got := f.claim("one", true, id, "far.example", 0); got.Claimed {
			t.Errorf("the first owner renewed what another holds: %v", got)
		}
	})
	t.Run("renewing lengthens a claim and gives no message", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		if got := f.claim("one", true, id, "far.example", 0); got.Claimed {
			t.Errorf("renewed what was never claimed: %v", got)
		}
		f.claim("one", false, id, "far.example", 0)
		f.clock.Advance(lease / 2)
		if got := f.claim("one", true, id, "far.example", 0); !got.Claimed || got.Message != nil || len(got.Recipients) != 1 {
			t.Errorf("got %v, want the recipient without message", got)
		}
		f.clock.Advance(lease - 1)
		if got := f.claim("two", false, id, "far.example", 0); got.Claimed {
			t.Errorf("within the renewed lease: got %v", got)
		}
	})
	t.Run("a swept claim is lost", func(t *testing.T) {
		f := start(t, open)
		id := f.put(Remote("a@far.example"))
		f.claim("one", false, id, "far.example", 0)
		f.clock.Advance(lease)
		due := f.sweep(10)
		if len(due.Remote) != 1 || due.Remote[0].Generation != 1 {
			t.Fatalf("sweep: got %v, want a hint of generation 1", due.Remote)
		}
		if got := f.claim("one", true, id, "far.example", 0); got.Claimed {
			t.Errorf("the late owner renewed: %v", got)
		}
		if f.report(&storev1.Report{QueueId: id, Owner: "one", Outcomes: []*storev1.Outcome{outcome(0, storev1.State_STATE_RELAYED, "250 ok", time.Time{})}}) {
			t.Error("the late owner's report was accepted")
		}
		if got := f.claim("two", false, id, "far.example", 1); !got.Claimed {
			t.Error("the new generation was not claimed")
		}
	})
}
