package ledger

import "time"

// DepthMax bounds what Depth counts of a kind: more is told as that much.
const DepthMax = 1_000_000

// Depth is how long the queue is.
type Depth struct {
	// Queued recipients are tried when they are due; Parked ones are held or quarantined and wait for people.
	Queued, Parked int64
	// Late is how long the longest due recipient has been due: 0 where none is.
	Late time.Duration
	// Outbox is how many children wait until the router has recorded them.
	Outbox int64
}
