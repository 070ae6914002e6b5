package ledger_test

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

func TestPruneRule(t *testing.T) {
	before := time.Unix(1_800_000_000, 0)
	rule := ledger.PruneRule{Before: before, Checkpoints: map[uint64]ledger.Checkpoint{
		1: {Position: blob.Position{Incarnation: 1, Segment: 3, Offset: 500}},
		2: {Position: blob.Position{Incarnation: 2, Segment: 1}, Done: true},
	}}
	at := func(incarnation uint64, segment, offset uint32) []byte {
		return blob.ID{Incarnation: incarnation, Segment: segment, Offset: offset, Length: 10}.Bytes()
	}
	old := before.Add(-time.Second)
	good := ledger.PruneCandidate{Kind: mailv1.Kind_KIND_ACCEPTED, BlobID: at(1, 3, 499), Recorded: old, Changed: old}
	with := func(change func(*ledger.PruneCandidate)) ledger.PruneCandidate {
		c := good
		change(&c)
		return c
	}
	for name, row := range map[string]struct {
		c    ledger.PruneCandidate
		want bool
	}{
		"old, final, below":           {good, true},
		"recorded too lately":         {with(func(c *ledger.PruneCandidate) { c.Recorded = before }), false},
		"changed too lately":          {with(func(c *ledger.PruneCandidate) { c.Changed = before }), false},
		"a recipient is open":         {with(func(c *ledger.PruneCandidate) { c.Open = 1 }), false},
		"a child waits":               {with(func(c *ledger.PruneCandidate) { c.Waiting = 1 }), false},
		"at the checkpoint":           {with(func(c *ledger.PruneCandidate) { c.BlobID = at(1, 3, 500) }), false},
		"a segment behind it":         {with(func(c *ledger.PruneCandidate) { c.BlobID = at(1, 4, 0) }), false},
		"dead and done":               {with(func(c *ledger.PruneCandidate) { c.BlobID = at(2, 9, 9) }), true},
		"no checkpoint":               {with(func(c *ledger.PruneCandidate) { c.BlobID = at(3, 0, 0) }), false},
		"no blob id":                  {with(func(c *ledger.PruneCandidate) { c.BlobID = nil }), false},
		"generated, at no checkpoint": {with(func(c *ledger.PruneCandidate) { c.BlobID, c.Kind = at(3, 0, 0), mailv1.Kind_KIND_GENERATED }), true},
	} {
		if got := rule.Allows(row.c); got != row.want {
			t.Errorf("%s: got %t, want %t", name, got, row.want)
		}
		if got := rule.Allows(good, row.c); got != row.want {
			t.Errorf("%s, as a descendant: got %t, want %t", name, got, row.want)
		}
	}
	if rule.Allows() {
		t.Error("nothing at all was allowed")
	}
}

func TestKeys(t *testing.T) {
	id := envelope.QueueID{8: 1, 15: 2}
	if got := ledger.QueueKey(id); got != 1<<56|2 {
		t.Errorf("queue key: got %x, want the last 8 octets", got)
	}
	// FNV-64a's own test vector: "a" is af63dc4c8601ec8c.
	if got := ledger.GroupKey("A"); got != 0xaf63dc4c8601ec8c {
		t.Errorf("group key: got %x, want FNV-64a in lower case", got)
	}
}
