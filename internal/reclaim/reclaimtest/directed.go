package reclaimtest

import (
	"context"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// rest lets time pass, with a worker that does what is due.
func (w *world) rest(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= time.Hour {
		w.s.Advance(time.Hour)
		w.recover()
		w.purge()
		w.steps()
	}
}

// childInOutbox removes a parent from its mailbox while its child, which has the parent's body, waits in the outbox for
// days: ahead of recovery first, because a message before it was never routed, and then behind.
func childInOutbox(t *testing.T, s Subject) {
	w := newWorld(t, s, 1)
	parent := w.commit(blob.Accepted, blob.ID{})
	w.record(parent, w.accepted(parent, [16]byte{}))
	w.open() // so that the parent's segment is whole, and recovery can pass it
	w.recover()
	lost := w.commit(blob.Accepted, blob.ID{})
	w.unrouted = append(w.unrouted, lost)
	m := w.frames[parent]
	child := w.commit(blob.Generated, parent)
	results, err := s.Mailboxes.Deliver(context.Background(), []index.Delivery{{
		QueueID: m.Meta.QueueID, Account: mailbox.AccountID(w.account(parent)), Children: []*mailv1.Accepted{w.accepted(child, m.Meta.QueueID)},
		Message: index.Message{Blob: parent, PartIndex: []byte{1}, Size: int64(len(m.Body)), Received: s.Now()},
	}})
	if err != nil || results[0].Status != index.Delivered {
		t.Fatalf("Deliver: %+v, %v", results, err)
	}
	w.waiting = nil
	w.expungeAll()
	w.rest(4 * retention)
	w.check("ahead of recovery")
	w.route()
	w.unrouted = nil
	w.rest(2 * retention)
	w.check("behind recovery")
	w.checkGivenBack()
}

// pardonAtLast has a frame referred to that was condemned, by a child whose maker was slow: it stays.
func pardonAtLast(t *testing.T, s Subject) {
	w := newWorld(t, s, 2)
	ctx := context.Background()
	owner := w.commit(blob.Appended, blob.ID{})
	w.open()
	w.recover()
	s.Advance(config.Every)
	w.steps()
	if r, err := s.Books.Segment(ctx, owner.Incarnation, owner.Segment); err != nil || len(r.Condemned) != 1 {
		t.Fatalf("a frame that nobody refers to is not condemned: %+v, %v", r, err)
	}
	s.Advance(config.Wait)
	w.steps()
	if work, err := s.Books.Work(ctx); err != nil || len(work) != 1 || work[0].Step != reclaim.Empty {
		t.Fatalf("work: %+v, %v; want a segment that waits to be removed", work, err)
	}
	child := w.commit(blob.Appended, owner)
	_, err := s.Mailboxes.Append(ctx, 1, index.Inbox, []index.Message{{Blob: child, PartIndex: []byte{1}, Size: int64(len(w.frames[child].Body)), Received: s.Now()}})
	w.must("Append", err)
	s.Advance(config.RestoreWindow)
	w.steps()
	w.check("when it was to be removed")
	stat, err := w.worker.Stat(ctx)
	if err != nil || stat.Ever.Pardon != 1 {
		t.Errorf("pardoned: %+v, %v; want one", stat, err)
	}
	w.checkGivenBack()
}

// lateMove has a copy win or lose against what became of it and of its frame meanwhile.
func lateMove(t *testing.T, s Subject) {
	w := newWorld(t, s, 3)
	ctx := context.Background()
	frame := w.commit(blob.Appended, blob.ID{})
	_, err := s.Mailboxes.Append(ctx, 1, index.Inbox, []index.Message{{Blob: frame, PartIndex: []byte{1}, Size: int64(len(w.frames[frame].Body)), Received: s.Now()}})
	w.must("Append", err)
	w.open()
	var places [2]blob.ID
	for i := range places {
		copied, err := w.blobs.Rewrite(ctx, []blob.Rewrite{{Origin: frame, Place: frame}})
		if err != nil || copied[0].Err != nil {
			t.Fatalf("Rewrite: %+v, %v", copied, err)
		}
		places[i] = copied[0].Place
	}
	w.open()
	// Both copies are nobody's, and their segment goes; the first one's move comes when its place is condemned already.
	w.recover()
	s.Advance(config.Every)
	w.steps()
	moved, err := s.Books.Move(ctx, []reclaim.Move{{First: frame, From: frame, To: places[0]}})
	if err != nil || moved[0] {
		t.Errorf("Move to a condemned place: %v, %v", moved, err)
	}
	w.rest(12 * time.Hour)
	w.check("after the copies went")
	w.checkGivenBack()
}
