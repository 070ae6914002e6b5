// Package ledgertest is the contract of a ledger as tests: Run is called for every implementation.
package ledgertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Open makes an empty ledger whose clock is now; tb cleans it up.
type Open func(tb testing.TB, now func() time.Time) ledger.Ledger

// Run checks an implementation against the contract.
func Run(t *testing.T, open Open) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"record", testRecord}, {"claim", testClaim}, {"report", testReport}, {"sweep", testSweep}, {"outbox", testOutbox}, {"depth", testDepth},
		{"list", testList}, {"search", testSearch}, {"act", testAct}, {"accounts", testAccounts}, {"audits", testAudits}, {"prune", testPrune}, {"history", testHistory},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open) })
	}
}

// Clock is the database's clock in tests.
type Clock struct {
	mu sync.Mutex
	t  time.Time // guarded by mu
}

// NewClock begins at a fixed time.
func NewClock() *Clock { return &Clock{t: time.Unix(1_800_000_000, 0)} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Advance lets time pass.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// fixture is a ledger with its clock, and failures that end the test.
type fixture struct {
	fataler
	ctx   context.Context
	l     ledger.Ledger
	clock *Clock
	made  uint32
}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func start(t *testing.T, open Open) *fixture {
	clock := NewClock()
	return &fixture{fataler: t, ctx: context.Background(), l: open(t, clock.Now), clock: clock}
}

// Expiry is the age at which the messages of tests are given up.
const Expiry = 24 * time.Hour

// Message makes an accepted message of one recipient per row, not yet recorded. n makes it one of its own.
func Message(now time.Time, n uint32, rows ...*storev1.RecipientRow) *storev1.Routed {
	id := envelope.NewQueueID(now)
	env := &mailv1.Envelope{
		QueueId: id[:], ReversePath: fmt.Sprintf("sender-%d@example.net", n), MessageId: fmt.Sprintf("<m%d@example.net>", n),
		AcceptedNs: now.UnixNano(), Kind: mailv1.Kind_KIND_ACCEPTED,
	}
	for i, r := range rows {
		r.Number, r.ExpiryNs = uint32(i), now.Add(Expiry).UnixNano()
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: r.Number, ForwardPath: r.ForwardPath})
	}
	return &storev1.Routed{
		Message: &mailv1.Accepted{
			QueueId: id[:], BlobId: blob.ID{Incarnation: 1, Offset: n, Length: 100}.Bytes(), Envelope: env,
			Verdict: &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}, PartIndex: []byte("index"),
		},
		Recipients: rows,
	}
}

// Local is a row for a mailbox here, queued.
func Local(address string, account uint64) *storev1.RecipientRow {
	return &storev1.RecipientRow{
		ForwardPath: address, State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_LOCAL, Account: account,
	}
}

// Remote is a row for another server, queued.
func Remote(address string) *storev1.RecipientRow {
	return &storev1.RecipientRow{
		ForwardPath: address, State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_REMOTE,
		Group: envelope.ForwardPath(address).Domain(),
	}
}

// Settled is a row that the router settled.
func Settled(address string, state storev1.State) *storev1.RecipientRow {
	return &storev1.RecipientRow{
		ForwardPath: address, State: state, Destination: storev1.Destination_DESTINATION_NONE, LastReply: "250 2.0.0 settled",
	}
}

// Child makes a message that parent gives rise to.
func Child(parent *storev1.Routed, ordinal uint32) *mailv1.Accepted {
	pid := envelope.QueueID(parent.Message.QueueId)
	id := envelope.ChildID(pid, 0, ordinal)
	return &mailv1.Accepted{
		QueueId: id[:], BlobId: blob.ID{Incarnation: 1, Segment: 1, Offset: ordinal, Length: 100}.Bytes(),
		Envelope: &mailv1.Envelope{
			QueueId: id[:], Parent: pid[:], Kind: mailv1.Kind_KIND_GENERATED,
			Recipients: []*mailv1.Recipient{{ForwardPath: "sender@example.net"}},
		},
	}
}

func (f *fixture) message(rows ...*storev1.RecipientRow) *storev1.Routed {
	f.made++
	return Message(f.clock.Now(), f.made, rows...)
}

func (f *fixture) record(messages ...*storev1.Routed) []*storev1.RecordResult {
	f.Helper()
	// The ledger completes rows; what was asked for stays as it was.
	copies := make([]*storev1.Routed, len(messages))
	for i, m := range messages {
		copies[i] = proto.Clone(m).(*storev1.Routed)
	}
	results, err := f.l.Record(f.ctx, copies)
	if err != nil {
		f.Fatalf("record: %v", err)
	}
	return results
}

// put records a new message and returns its id.
func (f *fixture) put(rows ...*storev1.RecipientRow) []byte {
	f.Helper()
	m := f.message(rows...)
	if r := f.record(m)[0]; !r.Recorded {
		f.Fatalf("record: got %v, want it recorded", r)
	}
	return m.Message.QueueId
}

func (f *fixture) load(id []byte) *storev1.LedgerEntry {
	f.Helper()
	entries, err := f.l.Load(f.ctx, [][]byte{id})
	if err != nil {
		f.Fatalf("load: %v", err)
	}
	return entries[0]
}

func (f *fixture) row(id []byte, number int) *storev1.RecipientRow {
	f.Helper()
	e := f.load(id)
	if len(e.Recipients) <= number {
		f.Fatalf("load: got %d recipients, want one of number %d", len(e.Recipients), number)
	}
	return e.Recipients[number]
}

func (f *fixture) claim(owner string, renew bool, id []byte, group string, generation uint32) *storev1.Claimed {
	f.Helper()
	claims, err := f.l.Claim(f.ctx, &storev1.ClaimRequest{
		Owner: owner, LeaseMs: lease.Milliseconds(), Renew: renew,
		Work: []*mailv1.RemoteWork{{QueueId: id, Group: group, Generation: generation}},
	})
	if err != nil {
		f.Fatalf("claim: %v", err)
	}
	return claims[0]
}

// lease is that of the claims in tests.
const lease = time.Minute

func (f *fixture) report(r *storev1.Report) bool {
	f.Helper()
	results, err := f.l.Report(f.ctx, []*storev1.Report{r})
	if err != nil {
		f.Fatalf("report: %v", err)
	}
	return results[0].Accepted
}

func (f *fixture) sweep(limit int) ledger.Due {
	f.Helper()
	due, err := f.l.Sweep(f.ctx, ledger.SweepAll, limit, time.Minute)
	if err != nil {
		f.Fatalf("sweep: %v", err)
	}
	return due
}

func (f *fixture) act(req *storev1.ActRequest) uint32 {
	f.Helper()
	n, err := f.l.Act(f.ctx, req)
	if err != nil {
		f.Fatalf("act: %v", err)
	}
	return n
}

func (f *fixture) outbox() []ledger.OutboxChild {
	f.Helper()
	children, err := f.l.TakeOutbox(f.ctx, 100, time.Second)
	if err != nil {
		f.Fatalf("take from the outbox: %v", err)
	}
	return children
}

func outcome(number uint32, state storev1.State, reply string, due time.Time) *storev1.Outcome {
	o := &storev1.Outcome{Number: number, State: state, Reply: reply}
	if !due.IsZero() {
		o.DueNs = due.UnixNano()
	}
	return o
}
