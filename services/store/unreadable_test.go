package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// spoiltStore is a blob store with incarnations of which the second frame, and what lies behind, cannot be read.
type spoiltStore struct {
	blob.Store
	spoilt map[uint64]bool
	opened int
}

var errSpoilt = errors.New("segment 7: 500 Internal Error")

func (s *spoiltStore) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	if !s.spoilt[from.Incarnation] {
		return s.Store.Scan(ctx, from, each)
	}
	s.opened++
	n := 0
	at, err := s.Store.Scan(ctx, blob.Position{Incarnation: from.Incarnation}, func(f blob.Scanned) error {
		if n++; n > 1 {
			return errSpoilt
		}
		if placeOf(f.ID).Before(from) {
			return nil
		}
		return each(f)
	})
	return at, err
}

func TestRecoveryGoesOnBehindWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	spoilt := &spoiltStore{spoilt: map[uint64]bool{}}
	w.store = func(s blob.Store) blob.Store {
		spoilt.Store = s
		return spoilt
	}
	var old []*mailv1.Accepted
	for range maxUnreadable + 2 {
		old = append(old, w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "a@example.org"),
			w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "lost@example.org"))
		spoilt.spoilt[must(blob.IDFrom(old[len(old)-1].BlobId)).Incarnation] = true
		w.newIncarnation()
	}
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "b@example.org")
	w.clock.Advance(time.Minute)
	settle := func() {
		t.Helper()
		for range 4 {
			w.recover()
			w.route()
			w.clock.Advance(unreadableAgain)
		}
	}
	settle()
	if known := must(w.db.Ledger().Known(w.ctx, [][]byte{w.accepted[len(w.accepted)-1][:]})); !known[0].Found {
		t.Error("a message behind incarnations that cannot be read was not recovered")
	}
	for i, m := range old {
		if known := must(w.db.Ledger().Known(w.ctx, [][]byte{m.QueueId})); known[0].Found != (i%2 == 0) {
			t.Errorf("old message %d: in the ledger: %t, want what lies before the fault to be recovered", i, known[0].Found)
		}
		at := must(blob.IDFrom(m.BlobId))
		if c := must(w.db.Ledger().Checkpoints(w.ctx))[at.Incarnation]; i%2 == 1 && c.Passed(at) {
			t.Errorf("the checkpoint passed frame %v, which nobody has read", at)
		}
	}
	before := spoilt.opened
	w.recover()
	if n := spoilt.opened - before; n > maxUnreadable {
		t.Errorf("one look tried %d incarnations in vain, want at most %d", n, maxUnreadable)
	}
	clear(spoilt.spoilt)
	settle()
	for i, m := range old {
		if known := must(w.db.Ledger().Known(w.ctx, [][]byte{m.QueueId})); !known[0].Found {
			t.Errorf("old message %d was not recovered once it could be read", i)
		}
	}
}

// deafStore is a blob store of which one incarnation answers nothing.
type deafStore struct {
	blob.Store
	deaf uint64
}

func (s *deafStore) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	if from.Incarnation == s.deaf {
		return from, errSpoilt
	}
	return s.Store.Scan(ctx, from, each)
}

func (s *deafStore) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	if id.Incarnation == s.deaf {
		return nil, errSpoilt
	}
	return s.Store.Open(ctx, id)
}

// TestAuditGoesOnBehindWhatCannotBeRead has an incarnation that cannot be read: the audit fails, keeps nothing that it has
// not seen, and calls nothing lost that may be there; what is lost elsewhere it tells.
func TestAuditGoesOnBehindWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	deaf := &deafStore{}
	w.store = func(s blob.Store) blob.Store {
		deaf.Store = s
		return deaf
	}
	w.record(w.frame(blob.Accepted, nil, "a@example.org"))
	w.newIncarnation()
	lost := w.frame(blob.Accepted, nil, "lost@example.org", "b@example.org")
	at := must(blob.IDFrom(lost.BlobId))
	end := ledger.Checkpoint{Position: placeBehind(at)}
	if err := w.db.Ledger().SaveCheckpoint(w.ctx, end); err != nil {
		t.Fatal(err)
	}
	deaf.deaf = must(w.blobs.Incarnations(w.ctx))[0].ID
	for range 2 {
		_, err := w.part.queue.audit(w.ctx, &storev1.AuditRequest{Full: true})
		if !errors.Is(err, errSpoilt) || !strings.Contains(err.Error(), "2 recipients unaccounted") {
			t.Errorf("audit: %v, want the fault, and the two recipients behind it that are lost", err)
		}
	}
	deaf.deaf = 0
	w.wantAudit(&storev1.AuditResponse{Accepted: 3, Queued: 1, Unaccounted: 2})
}

// TestStuckMessageDoesNotHoldRecovery has a message before the mark that no consumer can settle.
func TestStuckMessageDoesNotHoldRecovery(t *testing.T) {
	w := newWorld(t)
	w.publish(w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "stuck@example.org"))
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "lost@example.org")
	w.clock.Advance(time.Minute)
	w.recover()
	pass := func(routed, want int, what string) {
		t.Helper()
		for range routed {
			m := w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "a@example.org")
			w.publish(m)
			w.record(m)
			w.bus.beyond[bus.Filtered]++
		}
		w.clock.Advance(patience)
		w.recover()
		if n := w.bus.waits(bus.Filtered); n != want {
			t.Fatalf("%s: %d wait for the router, want %d", what, n, want)
		}
	}
	pass(0, 1, "the router stands still")
	pass(0, 1, "it still does")
	pass(3, 3, "the router settles all but one")
}

func TestClockAheadOfOursHoldsNothing(t *testing.T) {
	w := newWorld(t)
	w.clock.Advance(time.Hour)
	for range 3 {
		w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "a@example.org")
	}
	w.clock.Advance(-time.Hour)
	w.recover()
	if n := w.bus.waits(bus.Filtered); n != 0 {
		t.Fatalf("published %d messages whose own publish may be under way", n)
	}
	w.clock.Advance(w.part.cfg.RecoverAfter)
	w.recover()
	if n := w.bus.waits(bus.Filtered); n != 3 {
		t.Errorf("published %d, want all 3 once they were known for %v", n, w.part.cfg.RecoverAfter)
	}
}

func TestDeadWriterIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "a@example.org")
	w.newIncarnation()
	w.recover()
	if n := w.bus.waits(bus.Filtered); n != 1 {
		t.Errorf("published %d, want the message at once", n)
	}
}

// TestLargeTails has tails of which few may be held at once.
func TestLargeTails(t *testing.T) {
	w := newWorld(t)
	const messages = 20
	for i := range messages {
		id := envelope.NewQueueID(w.clock.Now())
		env := &mailv1.Envelope{QueueId: id[:], AcceptedNs: w.clock.Now().UnixNano(), Kind: 1, Recipients: []*mailv1.Recipient{{ForwardPath: "a@example.org"}}}
		w.write(blob.Meta{Kind: blob.Accepted, QueueID: id}, &mailv1.FrameTail{
			Envelope: env, Verdict: accept(mailv1.Action_ACTION_ACCEPT), PartIndex: bytes.Repeat([]byte{byte(i)}, 1<<20),
		})
	}
	w.clock.Advance(time.Minute)
	s := &scanner{recovery: newRecovery(w.part.deps, &w.part.cfg, newLedgerMetrics(nil, w.clock.Now))}
	if err := s.scanAll(w.ctx); err != nil {
		t.Fatal(err)
	}
	if len(s.candidates) != messages || slices.ContainsFunc(s.candidates, func(c candidate) bool { return proto.Size(c.tail) > 1000 }) {
		t.Errorf("%d candidates, want %d without what does not go on the bus", len(s.candidates), messages)
	}
	if cap(s.batch) >= messages {
		t.Errorf("%d tails were held at once, of more than %d octets", cap(s.batch), maxTails)
	}
}

func TestTailWithoutPartIndex(t *testing.T) {
	tail := &mailv1.FrameTail{
		Envelope: &mailv1.Envelope{ReversePath: "a@example.org"}, Verdict: accept(mailv1.Action_ACTION_JUNK), PartIndex: []byte("index"),
		Overlay: &mailv1.Overlay{Prefix: []byte("X-Spam: yes\r\n")},
	}
	b := must(proto.Marshal(tail))
	got, err := decodeTail(withoutPartIndex(b))
	tail.PartIndex = nil
	if err != nil || !proto.Equal(got, tail) {
		t.Errorf("got %v, %v; want all but the part index: %v", got, err, tail)
	}
	if cut := b[:len(b)-1]; !bytes.Equal(withoutPartIndex(cut), cut) {
		t.Error("a tail that cannot be read was changed")
	}
}
