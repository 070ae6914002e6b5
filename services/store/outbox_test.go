package store

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func (w *world) post() {
	w.Helper()
	if err := untilIdle(w.ctx, w.part.tasks[1]); err != nil {
		w.Fatalf("outbox: %v", err)
	}
}

// childOf writes the frame of a child as delivery does.
func (w *world) childOf(parent *mailv1.Accepted, ordinal uint32) *mailv1.Accepted {
	w.Helper()
	id := envelope.ChildID(envelope.QueueID(parent.QueueId), 0, ordinal)
	return w.write(blob.Meta{Kind: blob.Generated, QueueID: id}, &mailv1.FrameTail{Envelope: &mailv1.Envelope{
		QueueId: id[:], Parent: parent.QueueId, Kind: mailv1.Kind_KIND_GENERATED, AcceptedNs: w.clock.Now().UnixNano(),
		Recipients: []*mailv1.Recipient{{ForwardPath: "sender@example.net"}},
	}})
}

func TestChildrenArePublishedUntilTheyAreRecorded(t *testing.T) {
	w := newWorld(t)
	m := w.frame(blob.Accepted, nil, "a@example.org")
	child := w.childOf(m, 0)
	w.record(m, child)
	w.post()
	var got mailv1.Accepted
	if w.bus.waits(bus.Filtered) != 1 || proto.Unmarshal(w.bus.streams[bus.Filtered][0], &got) != nil {
		t.Fatal("not published at once")
	}
	child.Verdict = accept(mailv1.Action_ACTION_ACCEPT)
	if !proto.Equal(&got, child) {
		t.Errorf("got %v, want %v", &got, child)
	}
	w.bus.wipe()
	w.post()
	if n := w.bus.waits(bus.Filtered); n != 0 {
		t.Errorf("published %d again at once", n)
	}
	w.clock.Advance(w.part.cfg.OutboxAgain)
	if w.post(); w.bus.waits(bus.Filtered) != 1 {
		t.Fatal("not published again, although the bus lost it")
	}
	w.route()
	w.clock.Advance(2 * w.part.cfg.OutboxAgain)
	w.post()
	w.clock.Advance(1000 * w.part.cfg.OutboxAgain)
	w.post()
	if n := w.bus.waits(bus.Filtered); n != 0 {
		t.Errorf("published %d that the ledger has", n)
	}
	if waits := must(w.db.Ledger().Waiting(w.ctx, [][]byte{child.QueueId})); waits[0] {
		t.Error("it is still in the outbox")
	}
}

func TestWhoMakesChildrenWakesTheOutbox(t *testing.T) {
	w := newWorld(t)
	s := &Service{deps: Deps{Mailboxes: w.db.Mailboxes()}}
	if err := s.AddLedger(LedgerConfig{}, w.part.deps); err != nil {
		t.Fatal(err)
	}
	woken := 0
	s.deps.Mailboxes = wakingMailboxes{Mailboxes: w.db.Mailboxes(), wake: func() { woken++ }}
	m := w.frame(blob.Accepted, nil, "a@example.org")
	w.record(m)
	d := index.Delivery{QueueID: envelope.QueueID(m.QueueId), Account: 7, Children: []*mailv1.Accepted{w.childOf(m, 0)},
		Message: index.Message{Blob: must(blob.IDFrom(m.BlobId)), Size: 10, Received: w.clock.Now()}}
	if r, err := s.deps.Mailboxes.Deliver(w.ctx, []index.Delivery{d}); err != nil || r[0].Status != index.Delivered || woken != 1 {
		t.Errorf("deliver: got %v, %v, woken %d times; want once", r, err, woken)
	}
	if w.post(); w.bus.waits(bus.Filtered) != 1 {
		t.Error("the child of a delivery was not published")
	}
	l := &ledgerServer{ledger: w.db.Ledger(), wake: func() { woken++ }}
	other := w.frame(blob.Accepted, nil, "b@example.org")
	w.record(other)
	report := &storev1.Report{QueueId: other.QueueId, Children: []*mailv1.Accepted{w.childOf(other, 0)},
		Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 no"}}}
	if r, err := l.Report(w.ctx, &storev1.ReportRequest{Reports: []*storev1.Report{report}}); err != nil || !r.Results[0].Accepted || woken != 2 {
		t.Errorf("report: got %v, %v, woken %d times; want twice", r, err, woken)
	}
}
