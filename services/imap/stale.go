package imap

import (
	"math"
	"sync/atomic"
)

// stale tells whether a session must ask what became of its mailbox, and up to which MODSEQ something is known to have changed:
// what the process has heard of already needs no asking. Notices set it while the session's goroutine works.
type stale struct{ to atomic.Uint64 }

// anything is the MODSEQ of a change of which none is known, or which has none: the store must be asked.
const anything = math.MaxUint64

// Store says that something changed, or that nothing is to be asked.
func (d *stale) Store(changed bool) {
	if changed {
		d.to.Store(anything)
	} else {
		d.to.Store(0)
	}
}

// raise says that something changed, no later than a MODSEQ.
func (d *stale) raise(seq uint64) {
	for have := d.to.Load(); have < seq && !d.to.CompareAndSwap(have, seq); have = d.to.Load() {
	}
}

// Load tells whether something changed.
func (d *stale) Load() bool { return d.to.Load() != 0 }

// take tells up to which MODSEQ something changed, 0 for nothing, and forgets it.
func (d *stale) take() uint64 { return d.to.Swap(0) }
