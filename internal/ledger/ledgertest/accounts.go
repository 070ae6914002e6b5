package ledgertest

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testAccounts(t *testing.T, open Open) {
	t.Run("a checkpoint only moves forward", func(t *testing.T) {
		f := start(t, open)
		at := func(segment, offset uint32, done bool) ledger.Checkpoint {
			return ledger.Checkpoint{Position: blob.Position{Incarnation: 1 << 62, Segment: segment, Offset: offset}, Done: done}
		}
		for _, row := range []struct{ save, want ledger.Checkpoint }{
			{at(1, 500, false), at(1, 500, false)}, {at(1, 400, false), at(1, 500, false)}, {at(2, 0, false), at(2, 0, false)},
			{at(1, 900, true), at(2, 0, false)}, {at(2, 0, true), at(2, 0, true)}, {at(2, 0, false), at(2, 0, true)},
		} {
			if err := f.l.SaveCheckpoint(f.ctx, row.save); err != nil {
				t.Fatal(err)
			}
			if got, err := f.l.Checkpoints(f.ctx); err != nil || len(got) != 1 || got[1<<62] != row.want {
				t.Errorf("after %v: got %v, %v; want %v", row.save, got, err, row.want)
			}
		}
	})
	t.Run("walking tells every message once", func(t *testing.T) {
		f := start(t, open)
		want := map[envelope.QueueID]int{}
		var ids [][]byte
		for i := range 25 {
			rows := []*storev1.RecipientRow{Local("a@example.org", 1)}
			for range i % 4 {
				rows = append(rows, Settled("b@example.org", storev1.State_STATE_BOUNCED))
			}
			id := f.put(rows...)
			want[envelope.QueueID(id)], ids = len(rows), append(ids, id)
			f.clock.Advance(time.Millisecond)
		}
		got := map[envelope.QueueID]int{}
		var after envelope.QueueID
		for {
			page, err := f.l.Walk(f.ctx, after, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page {
				if _, twice := got[a.ID]; twice || a.Kind != mailv1.Kind_KIND_ACCEPTED || int(a.Envelope) != len(a.Rows) || !a.Rows[0].Local || a.Rows[0].Filed {
					t.Errorf("got %+v", a)
				}
				got[a.ID], after = len(a.Rows), a.ID
			}
			if len(page) < 7 {
				break
			}
		}
		for id, n := range want {
			if got[id] != n {
				t.Errorf("message %s: got %d recipients, want %d", id, got[id], n)
			}
		}
		byID, err := f.l.Accounts(f.ctx, append(ids, f.message().Message.QueueId))
		if err != nil || byID[len(ids)] != nil {
			t.Fatalf("got %v, %v; want nil for the unknown one", byID[len(ids)], err)
		}
		for i, id := range ids {
			if a := byID[i]; a == nil || a.ID != envelope.QueueID(id) || len(a.Rows) != want[a.ID] || !a.Has(0) || a.Has(99) {
				t.Errorf("message %x: got %+v", id, a)
			}
		}
	})
}

func testPrune(t *testing.T, open Open) {
	f := start(t, open)
	final := func() *storev1.RecipientRow { return Settled("a@example.org", storev1.State_STATE_BOUNCED) }
	child := func(parent *storev1.Routed, ordinal uint32, row *storev1.RecipientRow) *storev1.Routed {
		c := f.message(row)
		made := Child(parent, ordinal)
		c.Message.QueueId, c.Message.BlobId, c.Message.Envelope.Parent, c.Message.Envelope.Kind =
			made.QueueId, made.BlobId, made.Envelope.Parent, mailv1.Kind_KIND_GENERATED
		return c
	}
	old := f.message(final())
	queued := f.message(final(), Local("b@example.org", 1))
	family := f.message(final())
	familyChild := child(family, 0, final())
	waiting := f.message(final())
	waiting.Children = []*mailv1.Accepted{Child(waiting, 0)}
	parent := f.message(final())
	openChild := child(parent, 0, Local("c@example.org", 2))
	orphan := child(f.message(final()), 0, final())
	beyond := f.message(final())
	beyond.Message.BlobId = blob.ID{Incarnation: 1, Offset: 5000, Length: 1}.Bytes()
	stranger := f.message(final())
	stranger.Message.BlobId = blob.ID{Incarnation: 2, Length: 1}.Bytes()
	f.record(old, queued, family, familyChild, waiting, parent, openChild, orphan, beyond, stranger)
	f.clock.Advance(ledger.PruneAfter + time.Hour)
	young := f.message(final())
	f.record(young)
	rule := ledger.PruneRule{
		Before:      f.clock.Now().Add(-ledger.PruneAfter),
		Checkpoints: map[uint64]ledger.Checkpoint{1: {Position: blob.Position{Incarnation: 1, Offset: 5000}}},
	}
	if n, more, err := f.l.Prune(f.ctx, rule, 1000); err != nil || n != 4 || more {
		t.Errorf("got %d pruned, more %t, error %v; want 4", n, more, err)
	}
	for name, row := range map[string]struct {
		m    *storev1.Routed
		gone bool
	}{
		"old and final": {old, true}, "parent with its child": {family, true}, "child with its parent": {familyChild, true},
		"child without parent": {orphan, true},
		"one still queued":     {queued, false}, "a child in the outbox": {waiting, false}, "parent of an open child": {parent, false},
		"open child": {openChild, false}, "not below the checkpoint": {beyond, false}, "no checkpoint": {stranger, false}, "young": {young, false},
	} {
		e := f.load(row.m.Message.QueueId)
		if gone := e.Message == nil; gone != row.gone || (len(e.Recipients) == 0) != row.gone {
			t.Errorf("%s: gone is %t, want %t", name, gone, row.gone)
		}
	}
	if before, err := f.l.PrunedBefore(f.ctx); err != nil || !before.Equal(rule.Before) {
		t.Errorf("pruned before: got %v, %v; want %v", before, err, rule.Before)
	}
}
