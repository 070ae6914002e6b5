package ledger

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// PruneAfter is the age from which final rows go by default.
const PruneAfter = 30 * 24 * time.Hour

// PruneRule says which messages' rows may go.
type PruneRule struct {
	// Before is the time before which a message must have been recorded, and last changed.
	Before time.Time
	// Checkpoints are recovery's.
	Checkpoints map[uint64]Checkpoint
}

// PruneCandidate is a message as the rule sees it.
type PruneCandidate struct {
	Kind   mailv1.Kind
	BlobID []byte
	// Recorded and Changed are when the message was recorded and when one of its recipients last changed.
	Recorded, Changed time.Time
	// Open is how many recipients are not final.
	Open int
	// Waiting is how many of its children stand in the outbox.
	Waiting int
}

// Allows tells whether the rows of a message may go together with those of all its descendants.
//
// Each of them must be final in all recipients, unchanged since Before, and without children in the outbox; an accepted
// one must lie below its incarnation's checkpoint, or recovery would take its frame for one that was never routed.
// A child goes with its parent and not before: as long as work on the parent may be repeated, the child's row is what
// keeps it from being made twice.
func (r PruneRule) Allows(tree ...PruneCandidate) bool {
	for _, c := range tree {
		if c.Open > 0 || c.Waiting > 0 || !c.Recorded.Before(r.Before) || !c.Changed.Before(r.Before) {
			return false
		}
		if c.Kind == mailv1.Kind_KIND_ACCEPTED && !r.passed(c.BlobID) {
			return false
		}
	}
	return len(tree) > 0
}

func (r PruneRule) passed(blobID []byte) bool {
	id, err := blob.IDFrom(blobID)
	if err != nil {
		return false
	}
	c, ok := r.Checkpoints[id.Incarnation]
	return ok && c.Passed(id)
}
