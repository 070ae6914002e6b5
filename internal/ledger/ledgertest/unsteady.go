package ledgertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Trouble is what befalls the way to a ledger.
type Trouble struct {
	// Begin lets calls with the context that it gives fail now and then, until End.
	Begin func(context.Context, *rand.Rand) context.Context
	End   func()
	// Settle returns once nothing of earlier calls is under way any more.
	Settle func(context.Context) error
}

// RunUnsteady takes messages from Record by Claim to Report while calls fail now and then. What failed is there in whole or
// not at all, and is repeated until it succeeds: each message is recorded once, claimed by one owner, reported on once, and
// its children are made once.
func RunUnsteady(t *testing.T, l ledger.Ledger, trouble Trouble) {
	messages := 60
	if testing.Short() {
		messages = 8
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d messages", seed, messages)
	u := &unsteady{T: t, l: l, trouble: trouble, rand: rand.New(rand.NewPCG(seed, 0))}
	for i := range messages {
		u.message(uint32(i))
	}
	children, err := l.TakeOutbox(t.Context(), 10*messages, time.Hour)
	if err != nil || len(children) != 2*messages {
		t.Errorf("%d children, %v; want two of each of %d messages", len(children), err, messages)
	}
	t.Logf("%d calls failed, %d of them with all of their effect", u.failed, u.whole)
	if u.failed == 0 {
		t.Error("no call failed: the test shows nothing")
	}
}

type unsteady struct {
	*testing.T
	l             ledger.Ledger
	trouble       Trouble
	rand          *rand.Rand
	failed, whole int
}

// until makes a call in trouble until it succeeds. done tells without trouble whether the call had its effect, which it has
// in whole or not at all. It tells whether a call that failed had it.
func (u *unsteady) until(what string, call func(context.Context) error, done func() bool) (before bool) {
	u.Helper()
	for try := 0; ; try++ {
		var err error
		if ctx := u.trouble.Begin(u.Context(), u.rand); try < 20 {
			err = call(ctx)
			u.trouble.End()
		} else {
			u.trouble.End()
			err = call(u.Context())
		}
		if serr := u.trouble.Settle(u.Context()); serr != nil {
			u.Fatalf("settle: %v", serr)
		}
		is := done()
		if err == nil {
			if !is {
				u.Fatalf("%s succeeded and had no effect", what)
			}
			return before
		}
		if u.failed++; is && !before {
			u.whole++
		}
		if before && !is {
			u.Fatalf("%s had its effect, and lost it", what)
		}
		before = is
	}
}

// rows are a message's as they stand.
func (u *unsteady) rows(id []byte) []*storev1.RecipientRow {
	u.Helper()
	entries, err := u.l.Load(u.Context(), [][]byte{id})
	if err != nil {
		u.Fatalf("load: %v", err)
	}
	if m := entries[0].Message; (m == nil) != (len(entries[0].Recipients) == 0) {
		u.Fatalf("message %v with %d recipients", m, len(entries[0].Recipients))
	}
	return entries[0].Recipients
}

// inState tells whether both rows of a message are in a state; one alone must never be.
func (u *unsteady) inState(id []byte, state storev1.State) bool {
	u.Helper()
	rows := u.rows(id)
	if len(rows) != 2 || rows[0].State != rows[1].State {
		u.Fatalf("message %x is in part as it should be: %v", id, rows)
	}
	return rows[0].State == state
}

// message takes one message through its life.
func (u *unsteady) message(n uint32) {
	m := Message(time.Now(), n, Remote("a@far.example"), Remote("b@far.example"))
	m.Children = []*mailv1.Accepted{Child(m, 0)}
	id := m.Message.QueueId
	var recorded *storev1.RecordResult
	before := u.until("record", func(ctx context.Context) error {
		results, err := u.l.Record(ctx, []*storev1.Routed{proto.Clone(m).(*storev1.Routed)})
		if err == nil {
			recorded = results[0]
		}
		return err
	}, func() bool {
		rows := u.rows(id)
		if len(rows) != 0 && len(rows) != 2 {
			u.Fatalf("message %x is recorded in part: %v", id, rows)
		}
		return len(rows) == 2
	})
	if recorded.Recorded == before || recorded.Conflict || len(recorded.Recipients) != 2 {
		u.Errorf("message %x: recorded before: %v; got %v", id, before, recorded)
	}
	claim := func(ctx context.Context, owner string) (*storev1.Claimed, error) {
		claims, err := u.l.Claim(ctx, &storev1.ClaimRequest{Owner: owner, LeaseMs: lease.Milliseconds(),
			Work: []*mailv1.RemoteWork{{QueueId: id, Group: "far.example"}}})
		if err != nil {
			return nil, err
		}
		return claims[0], nil
	}
	u.until("claim", func(ctx context.Context) error {
		c, err := claim(ctx, "mine")
		if err == nil && (!c.Claimed || len(c.Recipients) != 2) {
			u.Errorf("message %x: claim got %v", id, c)
		}
		return err
	}, func() bool { return u.inState(id, storev1.State_STATE_QUEUED) })
	if c, err := claim(u.Context(), "other"); err != nil || c.Claimed {
		u.Errorf("message %x: somebody else's claim got %v, %v", id, c, err)
	}
	accepted := false
	before = u.until("report", func(ctx context.Context) error {
		results, err := u.l.Report(ctx, []*storev1.Report{{QueueId: id, Owner: "mine",
			Children: []*mailv1.Accepted{Child(m, 1)},
			Outcomes: []*storev1.Outcome{
				{Number: 0, State: storev1.State_STATE_BOUNCED, Reply: "550 no"}, {Number: 1, State: storev1.State_STATE_BOUNCED, Reply: "550 no"},
			}}})
		if err == nil {
			accepted = results[0].Accepted
		}
		return err
	}, func() bool { return u.inState(id, storev1.State_STATE_BOUNCED) })
	if accepted == before {
		u.Errorf("message %x: reported on before: %v, and accepted: %v", id, before, accepted)
	}
	for _, r := range u.rows(id) {
		if r.Attempts != 1 {
			u.Errorf("message %x: %d attempts, want one: %v", id, r.Attempts, fmt.Sprint(r))
		}
	}
}
