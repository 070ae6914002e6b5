package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// loads notes what is asked for.
type loads struct {
	storev1.LedgerClient
	mu    sync.Mutex
	calls int
	twice int // ids that one call asked for again
}

func (l *loads) Load(ctx context.Context, req *storev1.LoadRequest, opts ...grpc.CallOption) (*storev1.LoadResponse, error) {
	seen := map[string]bool{}
	l.mu.Lock()
	l.calls++
	for _, id := range req.QueueIds {
		if seen[string(id)] {
			l.twice++
		}
		seen[string(id)] = true
	}
	l.mu.Unlock()
	return l.LedgerClient.Load(ctx, req, opts...)
}

// everybody records a message that an alias led to so many mailboxes.
func (w *world) everybody(members int) {
	w.t.Helper()
	m := proto.Clone(w.letter(bob, nil).Message).(*mailv1.Accepted)
	id := envelope.NewQueueID(w.now())
	m.QueueId, m.Envelope.QueueId = id[:], id[:]
	routed := &storev1.Routed{Message: m, Recipients: []*storev1.RecipientRow{{
		ForwardPath: "bob@example.org", State: storev1.State_STATE_EXPANDED, Destination: storev1.Destination_DESTINATION_NONE,
	}}}
	for i := range members {
		routed.Recipients = append(routed.Recipients, &storev1.RecipientRow{
			Number: uint32(i + 1), ForwardPath: fmt.Sprintf("firstname.lastname%d@example.org", i), Original: "bob@example.org",
			Orcpt: "rfc822;bob@example.org", State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_LOCAL,
			Account: uint64(1000 + i), DueNs: w.now().Add(time.Second).UnixNano(), ExpiryNs: w.now().Add(5 * time.Hour).UnixNano(),
		})
	}
	_, err := w.ledger.Record(context.Background(), &storev1.RecordRequest{Messages: []*storev1.Routed{routed}})
	w.check(err)
}

// TestHintsOfOneMessage: the sweep's hints carry no message, and a batch of them may be all of one that has many recipients.
func TestHintsOfOneMessage(t *testing.T) {
	const members = 2500
	l := &loads{}
	w := newWorld(t, func(w *world) {
		w.cfg.Batch = 128
		l.LedgerClient = w.deps.Ledger
		w.deps.Ledger = l
	})
	w.everybody(members)
	w.pass(30 * time.Second)
	if n := w.sweep(); n != 1000 {
		t.Fatalf("%d are due", n)
	}
	for _, line := range w.wait(1000) {
		if !strings.HasPrefix(line, "delivered ") {
			t.Fatal(line)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.twice != 0 || l.calls == 0 {
		t.Errorf("%d calls asked for %d messages twice", l.calls, l.twice)
	}
}

// TestLoadInParts: the ledger may answer for the first messages only.
func TestLoadInParts(t *testing.T) {
	w := newWorld(t, func(w *world) { w.deps.Ledger = stingy{w.deps.Ledger} })
	var bare []*mailv1.LocalWork
	for i := range 5 {
		work := w.letter(uint64(100+i), nil)
		bare = append(bare, &mailv1.LocalWork{QueueId: work.QueueId, Account: work.Account})
	}
	w.publish(bare...)
	w.wait(5)
	for _, work := range bare {
		w.want(work, "delivered")
	}
}

// stingy answers for one message at a time.
type stingy struct{ storev1.LedgerClient }

func (s stingy) Load(ctx context.Context, req *storev1.LoadRequest, opts ...grpc.CallOption) (*storev1.LoadResponse, error) {
	return s.LedgerClient.Load(ctx, &storev1.LoadRequest{QueueIds: req.QueueIds[:1]}, opts...)
}
