package view

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// oneBox is a store of mailboxes of one message each, which changes with every MODSEQ.
type oneBox struct {
	validity uint32
	modSeq   uint64
	gone     bool
	since    []uint64 // of every request
}

func (o *oneBox) Snapshot(_ context.Context, in *storev1.SnapshotRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	o.since = append(o.since, in.GetSinceModSeq())
	if o.gone {
		return nil, status.Error(codes.NotFound, "no such mailbox")
	}
	page := &storev1.SnapshotResponse{Done: true, Mailbox: &storev1.Mailbox{UidValidity: o.validity, UidNext: 2, HighestModSeq: o.modSeq}}
	if in.GetSinceModSeq() != o.modSeq {
		c := mailbox.Chunk{FirstUID: 1}
		c.Add(mailbox.Entry{UID: 1, ModSeq: mailbox.ModSeq(o.modSeq), Email: 1})
		p := c.Pack()
		page.Chunks = []*storev1.Chunk{{FirstUid: 1, MaxModSeq: o.modSeq, Uids: p.UIDs, Flags: p.Flags, ModSeqs: p.ModSeqs,
			Emails: p.Emails, Sizes: p.Sizes, Received: p.Received, Saved: p.Saved}}
	}
	return &pages{rest: []*storev1.SnapshotResponse{page}}, nil
}

type pages struct {
	grpc.ServerStreamingClient[storev1.SnapshotResponse]
	rest []*storev1.SnapshotResponse
}

func (p *pages) Recv() (*storev1.SnapshotResponse, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	page := p.rest[0]
	p.rest = p.rest[1:]
	return page, nil
}

// TestLeft: what was left is there when somebody comes back, unless that was long ago, there is too much of it, it is gone or
// of a history that the store lost.
func TestLeft(t *testing.T) {
	now := time.Unix(1e9, 0)
	store := &oneBox{validity: 1, modSeq: 5}
	box := func(id mailbox.ID) Key { return Key{Account: 1, Actor: 1, ID: id} }
	var c *Cache
	// visit opens and closes a mailbox and tells what the store was asked for first.
	visit := func(id mailbox.ID) uint64 {
		t.Helper()
		store.since = nil
		b, s, err := c.Open(t.Context(), box(id), false)
		if err == nil {
			if s.Len() != 1 || s.HighestModSeq != mailbox.ModSeq(store.modSeq) || s.UIDValidity != mailbox.UIDValidity(store.validity) {
				t.Fatalf("mailbox %d: %d messages of %d at %d", id, s.Len(), s.UIDValidity, s.HighestModSeq)
			}
			if c.Len() != 1 {
				t.Fatalf("%d are open", c.Len())
			}
			b.Close(false)
		} else if !store.gone {
			t.Fatal(err)
		}
		if c.Len() != 0 {
			t.Fatalf("%d stay open", c.Len())
		}
		return store.since[0]
	}
	want := func(what string, got, want uint64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: asked for what changed since %d, want %d", what, got, want)
		}
	}
	one := func() int64 {
		c = NewCache(store, 1<<20, func() time.Time { return now })
		visit(1)
		return c.Left()
	}()
	c = NewCache(store, 2*one, func() time.Time { return now })
	want("first", visit(1), 0)
	want("again", visit(1), 5)
	store.modSeq = 6
	want("changed", visit(1), 5)
	want("as it was then", visit(1), 6)
	store.validity, store.modSeq = 2, 9
	want("another history", visit(1), 6)
	if len(store.since) != 2 || store.since[1] != 0 {
		t.Errorf("another history: asked for %v", store.since)
	}
	now = now.Add(keepLeft)
	want("long after", visit(1), 0)
	visit(2)
	visit(1)
	visit(3) // 2 is the one left first
	want("among others", visit(1), 9)
	want("too many", visit(2), 0)
	if c.Left() != 2*one {
		t.Errorf("%d octets are held, want %d", c.Left(), 2*one)
	}
	store.gone = true
	visit(2)
	store.gone = false
	want("gone", visit(2), 0)
	// Two sessions share one; it is left by the last.
	a, _, err := c.Open(t.Context(), box(2), false)
	if err != nil {
		t.Fatal(err)
	}
	want("shared", func() uint64 {
		store.since = nil
		b, _, err := c.Open(t.Context(), box(2), true)
		if err != nil {
			t.Fatal(err)
		}
		b.Close(true)
		return store.since[0]
	}(), 9)
	held := c.Left()
	if a.Close(false); c.Left() <= held {
		t.Errorf("%d octets are held after the last left, %d before", c.Left(), held)
	}
}

// takenBox is oneBox, of which \Recent is taken, and whose flags fit nothing where unfit is set.
type takenBox struct {
	oneBox
	recent uint32
	unfit  bool
}

func (o *takenBox) Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	s, err := o.oneBox.Snapshot(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	page := s.(*pages).rest[0]
	page.Mailbox.RecentUid = o.recent
	if in.GetTakeRecent() {
		o.recent = page.Mailbox.UidNext
	}
	if o.unfit && in.GetSinceModSeq() != 0 {
		page.FlagsOnly, page.Chunks = true, []*storev1.Chunk{{FirstUid: 9}}
	}
	return s, nil
}

// TestRecentOfTheFirstAnswer: where all is asked for again, \Recent begins where the first answer, which took it, had it.
func TestRecentOfTheFirstAnswer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		validity uint32
		unfit    bool
	}{
		{"another history", 2, false},
		{"flags that do not fit", 1, true},
		{"flags that do not fit, of another history", 2, true},
	} {
		store := &takenBox{oneBox: oneBox{validity: 1, modSeq: 5}, recent: 2}
		c := NewCache(store, 1<<20, time.Now)
		k := Key{Account: 1, Actor: 1, ID: 1}
		b, _, err := c.Open(t.Context(), k, true)
		if err != nil {
			t.Fatal(err)
		}
		b.Close(true)
		store.validity, store.modSeq, store.recent, store.unfit, store.since = tt.validity, 7, 1, tt.unfit, nil
		b, s, err := c.Open(t.Context(), k, true)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if len(store.since) != 2 || s.RecentUID != 1 || s.HighestModSeq != 7 {
			t.Errorf("%s: asked since %v, \\Recent begins at %d of %d; want two questions and 1 of 7", tt.name, store.since, s.RecentUID, s.HighestModSeq)
		}
		if b.Current().RecentUID != 1 {
			t.Errorf("%s: the box has it begin at %d", tt.name, b.Current().RecentUID)
		}
		b.Close(true)
	}
}
