package view

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// fourChunks is a snapshot of 1,000 entries in four chunks.
func fourChunks(t *testing.T, modSeq mailbox.ModSeq) *Snapshot {
	t.Helper()
	var chunks []*Chunk
	var cols, c Columns
	for uid := mailbox.UID(1); uid <= 1000; uid++ {
		if c.Len() == 0 {
			c.FirstUID = uid
		}
		c.Add(mailbox.Entry{UID: uid, ModSeq: modSeq, Email: mailbox.EmailID(uid), Size: 10, Flags: mailbox.Seen})
		if c.Len() == 250 {
			chunk, err := newChunk(c.Pack(), &cols)
			if err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, chunk)
			c.Reset()
		}
	}
	return newSnapshot(Meta{UIDValidity: 1, UIDNext: 1001, HighestModSeq: modSeq}, chunks)
}

// TestRemoved: what an expunge tells is taken by a box that knew all before it and by no other, and is told to the client.
func TestRemoved(t *testing.T) {
	c := NewCache(&oneBox{validity: 1, modSeq: 5}, 1<<20, time.Now)
	b, _, err := c.Open(t.Context(), Key{Account: 1, Actor: 1, ID: 1}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(false)
	was := fourChunks(t, 5)
	b.current.Store(was)
	gone := mailbox.UIDSet{{First: 7, Last: 8}, {First: 251, Last: 500}, {First: 1000, Last: 1000}}
	told := func(highest uint64, uids []byte) *storev1.ExpungeResponse {
		return &storev1.ExpungeResponse{Expunged: uids, HighestModSeq: highest}
	}
	for _, tt := range []struct {
		name  string
		since mailbox.ModSeq
		told  *storev1.ExpungeResponse
		want  bool
		at    mailbox.ModSeq
	}{
		{"nothing", 5, told(0, mailbox.AppendUIDSet(nil, gone)), false, 5},
		{"from a state that the box is not in", 4, told(6, mailbox.AppendUIDSet(nil, gone)), false, 5},
		{"no set", 5, told(6, []byte{1}), false, 5},
		{"the next", 5, told(6, mailbox.AppendUIDSet(nil, gone)), true, 6},
		{"the same again", 5, told(6, mailbox.AppendUIDSet(nil, gone)), true, 6},
	} {
		if got := b.Removed(t.Context(), tt.since, tt.told); got != tt.want || b.Current().HighestModSeq != tt.at {
			t.Errorf("%s: %v, then at %d; want %v, %d", tt.name, got, b.Current().HighestModSeq, tt.want, tt.at)
		}
	}
	_, d, err := was.Advance(b.Current(), false, nil)
	if want := (wire.Set{{First: 7, Last: 8}, {First: 251, Last: 500}, {First: 1000, Last: 1000}}); err != nil || !slices.Equal(d.Expunged, want) || len(d.Changed) > 0 {
		t.Errorf("the client is told %+v, %v; want %v", d, err, want)
	}
	if was.Len() != 1000 || b.Current().Len() != 747 || b.Current().MaxUID() != 999 {
		t.Errorf("%d were there, %d are up to %d", was.Len(), b.Current().Len(), b.Current().MaxUID())
	}
}

// TestFlagsOfChunks: what is noted of a chunk's flags follows them, whichever way they come.
func TestFlagsOfChunks(t *testing.T) {
	s := fourChunks(t, 5)
	if seq := s.FirstWithout(mailbox.Seen); seq != 0 || len(s.Deleted()) > 0 {
		t.Fatalf("first unseen %d, deleted %v", seq, s.Deleted())
	}
	flags := make([]mailbox.Flags, 250)
	for i := range flags {
		flags[i] = mailbox.Seen
	}
	flags[3], flags[9] = 0, mailbox.Deleted|mailbox.Seen
	next, err := s.flagged(&storev1.FlagsTold{HighestModSeq: 6, Chunks: []*storev1.Chunk{{FirstUid: 501, MaxModSeq: 6,
		Flags: mailbox.AppendFlags(nil, flags), ModSeqs: mailbox.AppendModSeqs(nil, make([]mailbox.ModSeq, 250))}}})
	if err != nil {
		t.Fatal(err)
	}
	if seq := next.FirstWithout(mailbox.Seen); seq != 504 {
		t.Errorf("first unseen %d, want 504", seq)
	}
	if got := next.Deleted(); !slices.Equal(got, wire.Set{{First: 510, Last: 510}}) {
		t.Errorf("deleted %v, want 510", got)
	}
	// A chunk that a session sees with ghosts hides none either.
	var cols Columns
	left := next.chunks[2].without(mailbox.UIDSet{{First: 501, Last: 501}}, &cols)
	for _, c := range []*Chunk{left, withGhosts(next.chunks[2], left)} {
		one := newSnapshot(next.Meta, []*Chunk{c})
		if got := one.Deleted(); !slices.Equal(got, wire.Set{{First: 510, Last: 510}}) {
			t.Errorf("ghosts %v: deleted %v", c.ghosts, got)
		}
	}
}

// flagsOnly answers what changed with flags alone.
type flagsOnly struct {
	chunk *storev1.Chunk
	asked []*storev1.SnapshotRequest
}

func (f *flagsOnly) Snapshot(_ context.Context, in *storev1.SnapshotRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	f.asked = append(f.asked, in)
	page := &storev1.SnapshotResponse{Done: true, Mailbox: &storev1.Mailbox{UidValidity: 1, UidNext: 1001, HighestModSeq: 6}}
	if in.GetSinceModSeq() > 0 {
		page.FlagsOnly, page.Chunks = true, []*storev1.Chunk{f.chunk}
	}
	return &pages{rest: []*storev1.SnapshotResponse{page}}, nil
}

// TestFlagsOnly: a snapshot of flags alone is put upon what was known; where it does not fit, all is asked for.
func TestFlagsOnly(t *testing.T) {
	flags := make([]mailbox.Flags, 250)
	flags[0] = mailbox.Flagged
	for _, tt := range []struct {
		name    string
		first   uint32
		entries int
		fits    bool
	}{
		{"as it is", 251, 250, true},
		{"a chunk that is not known", 252, 250, false},
		{"too few entries", 251, 249, false},
	} {
		store := &flagsOnly{chunk: &storev1.Chunk{FirstUid: tt.first, MaxModSeq: 6, Flags: mailbox.AppendFlags(nil, flags[:tt.entries]),
			ModSeqs: mailbox.AppendModSeqs(nil, make([]mailbox.ModSeq, tt.entries))}}
		b := &Box{cache: NewCache(store, 1<<20, time.Now), turn: make(chan struct{}, 1)}
		b.current.Store(fourChunks(t, 5))
		s, err := b.Refresh(t.Context())
		if err != nil || s.HighestModSeq != 6 || !store.asked[0].GetTakesFlags() {
			t.Fatalf("%s: at %d, %v", tt.name, s.HighestModSeq, err)
		}
		if !tt.fits {
			if len(store.asked) != 2 || store.asked[1].GetTakesFlags() || store.asked[1].GetSinceModSeq() != 0 || s.Len() != 0 {
				t.Errorf("%s: asked %v, has %d", tt.name, store.asked, s.Len())
			}
			continue
		}
		if seq := s.FirstWithout(mailbox.Seen); len(store.asked) != 1 || s.Len() != 1000 || seq != 251 {
			t.Errorf("%s: asked %d times, has %d, first unseen %d", tt.name, len(store.asked), s.Len(), seq)
		}
		s.Walk(wire.Set{{First: 250, Last: 252}}, WantFlags|WantUID, func(seq uint32, cols *Columns, lo, hi int) error {
			for i := lo; i < hi; i++ {
				want := map[mailbox.UID]mailbox.Flags{250: mailbox.Seen, 251: mailbox.Flagged, 252: 0}[cols.UIDs[i]]
				if cols.Flags[i] != want {
					t.Errorf("%s: UID %d has %b, want %b", tt.name, cols.UIDs[i], cols.Flags[i], want)
				}
			}
			return nil
		})
	}
}
