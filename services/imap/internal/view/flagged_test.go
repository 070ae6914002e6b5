package view

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestFlagged: what a change of flags tells is taken by a box that knew all before it, is nothing to one that is further, and
// is refused by one that is not as far, and where it does not fit.
func TestFlagged(t *testing.T) {
	c := NewCache(&oneBox{validity: 1, modSeq: 5}, 1<<20, time.Now)
	b, was, err := c.Open(t.Context(), Key{Account: 1, Actor: 1, ID: 1}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(false)
	told := func(seq uint64, first uint32, entries int) *storev1.FlagsTold {
		return &storev1.FlagsTold{HighestModSeq: seq, Keywords: []string{"new"}, Chunks: []*storev1.Chunk{{FirstUid: first, MaxModSeq: seq,
			Flags:   mailbox.AppendFlags(nil, make([]mailbox.Flags, entries)),
			ModSeqs: mailbox.AppendModSeqs(nil, make([]mailbox.ModSeq, entries))}}}
	}
	seen := &storev1.FlagsTold{HighestModSeq: 6, Chunks: []*storev1.Chunk{{FirstUid: 1, MaxModSeq: 6,
		Flags: mailbox.AppendFlags(nil, []mailbox.Flags{mailbox.Seen}), ModSeqs: mailbox.AppendModSeqs(nil, []mailbox.ModSeq{6})}}}
	for _, tt := range []struct {
		name  string
		since mailbox.ModSeq
		told  *storev1.FlagsTold
		want  bool
		// at is the box's MODSEQ then.
		at mailbox.ModSeq
	}{
		{"nothing", 5, nil, false, 5},
		{"from a state that the box is not in", 4, told(6, 1, 1), false, 5},
		{"of a chunk that is not there", 5, told(6, 2, 1), false, 5},
		{"of too many entries", 5, told(6, 1, 2), false, 5},
		{"as it was", 4, told(5, 1, 1), true, 5},
		{"the next", 5, seen, true, 6},
		{"the same again", 5, seen, true, 6},
	} {
		if got := b.Flagged(t.Context(), tt.since, tt.told); got != tt.want || b.Current().HighestModSeq != tt.at {
			t.Errorf("%s: %v, then at %d; want %v, %d", tt.name, got, b.Current().HighestModSeq, tt.want, tt.at)
		}
	}
	var ch []Change
	if _, d, err := was.Advance(b.Current(), false, func(c Change) bool { ch = append(ch, c); return true }); err != nil || len(d.Changed) != 1 ||
		len(ch) != 1 || ch[0].New != mailbox.Seen || ch[0].ModSeq != 6 {
		t.Errorf("the client is told %+v of %+v, %v", d, ch, err)
	}
	if seq := was.chunks[0].packed.MaxModSeq; seq != 5 {
		t.Errorf("what the client knew is now of %d", seq)
	}
}
