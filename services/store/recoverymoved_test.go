package store

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

// TestRecoveryPassesOverMovedFrames has copies of frames, as compaction leaves them: recovery publishes none of them a second
// time, notes whose body is shared and which lies apart before the checkpoint passes, and goes on.
func TestRecoveryPassesOverMovedFrames(t *testing.T) {
	w := newWorld(t)
	m := w.frame(blob.Accepted, nil, "a@example.org")
	id := must(blob.IDFrom(m.BlobId))
	draft := must(w.blobs.Create(id))
	child := must(draft.Commit(w.ctx, blob.Meta{Kind: blob.Generated, QueueID: envelope.NewQueueID(w.clock.Now())}))
	large := must(w.blobs.Create(blob.ID{}))
	must(large.Write(make([]byte, blob.SpoolMemory+1)))
	apart := must(large.Commit(w.ctx, blob.Meta{Kind: blob.Appended}))
	w.newIncarnation()
	for _, c := range must(w.blobs.Rewrite(w.ctx, []blob.Rewrite{{Origin: id, Place: id}, {Origin: child, Place: child}})) {
		if c.Err != nil {
			t.Fatal(c.Err)
		}
	}
	w.clock.Advance(w.part.cfg.RecoverAfter)
	for range 3 {
		w.recover()
		if n := w.bus.waits(bus.Accepted); n != 1 {
			t.Fatalf("%d on %s, want the message once", n, bus.Accepted)
		}
	}
	w.filter()
	w.route()
	w.recover()
	w.recover()
	w.wantCheckpoint(2)
	if n := w.bus.waits(bus.Accepted) + w.bus.waits(bus.Filtered); n != 0 {
		t.Errorf("published %d messages that the ledger has", n)
	}
	r := must(w.db.Books().Segment(w.ctx, id.Incarnation, id.Segment))
	if len(r.Shares) != 1 || r.Shares[0] != (reclaim.Share{Owner: id, Child: child}) {
		t.Errorf("noted shares %+v, want %v of %v", r.Shares, child, id)
	}
	if len(r.Aparts) != 1 || r.Aparts[0].Place != apart {
		t.Errorf("noted bodies apart %+v, want that of %v", r.Aparts, apart)
	}
}
