package view

import (
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Change is an entry whose flags or MODSEQ differ between two snapshots.
type Change struct {
	UID               mailbox.UID
	Old, New          mailbox.Flags
	OldModSeq, ModSeq mailbox.ModSeq
}

// Delta is what a client is to be told.
type Delta struct {
	// Expunged are numbers before the change. Told from the highest down, each is right when it is read.
	Expunged wire.Set
	// Changed are numbers after the change.
	Changed wire.Set
	// Grown tells that there are new entries.
	Grown bool
}

// Advance moves a session from s to a later snapshot and tells the difference.
//
// With keep, what was expunged stays as ghosts: sequence numbers do not change (RFC 9051 §7.5.1). announce tells whether a
// change is to be told; nil is always. Errors: ErrInconsistent.
func (s *Snapshot) Advance(to *Snapshot, keep bool, announce func(Change) bool) (*Snapshot, Delta, error) {
	var d Delta
	if s == to {
		return s, d, nil
	}
	if s.UIDValidity != to.UIDValidity {
		return s, d, ErrInconsistent
	}
	a := &advance{from: s, to: to, keep: keep, announce: announce}
	a.old = columnPool.Get().(*Columns)
	a.new = columnPool.Get().(*Columns)
	defer columnPool.Put(a.old)
	defer columnPool.Put(a.new)
	if err := a.run(); err != nil {
		return s, d, err
	}
	next := to
	if a.ghosts {
		next = newSnapshot(to.Meta, a.chunks)
	}
	return next, a.delta, nil
}

type advance struct {
	from, to *Snapshot
	keep     bool
	announce func(Change) bool

	old, new *Columns // scratch
	delta    Delta
	oldSeq   uint32   // entries of from that are behind us
	newSeq   uint32   // entries of the result that are behind us
	chunks   []*Chunk // of the result, only needed with ghosts
	ghosts   bool
}

func (a *advance) run() error {
	i, j := 0, 0
	from, to := a.from.chunks, a.to.chunks
	known := a.from.MaxUID()
	for i < len(from) || j < len(to) {
		switch {
		case j == len(to) || i < len(from) && from[i].first < to[j].first:
			a.vanished(from[i])
			i++
		case i == len(from) || to[j].first < from[i].first:
			if err := a.appeared(to[j], known); err != nil {
				return err
			}
			j++
		case from[i] == to[j]:
			a.oldSeq += uint32(from[i].n)
			a.newSeq += uint32(from[i].n)
			a.result(to[j])
			i, j = i+1, j+1
		default:
			if err := a.compare(from[i], to[j], known); err != nil {
				return err
			}
			i, j = i+1, j+1
		}
	}
	return nil
}

func (a *advance) result(c *Chunk) {
	if a.keep {
		a.chunks = append(a.chunks, c)
	}
}

// vanished is a chunk with nothing left.
func (a *advance) vanished(c *Chunk) {
	if a.keep {
		a.result(c.asGhosts())
		a.ghosts = true
		a.newSeq += uint32(c.n)
	} else {
		a.delta.Expunged = a.delta.Expunged.AddRange(a.oldSeq+1, a.oldSeq+uint32(c.n))
	}
	a.oldSeq += uint32(c.n)
}

// appeared is a chunk of new entries.
func (a *advance) appeared(c *Chunk, known mailbox.UID) error {
	c.Decode(a.new, WantUID)
	if a.new.UIDs[0] <= known {
		return ErrInconsistent
	}
	a.delta.Grown = true
	a.newSeq += uint32(c.n)
	a.result(c)
	return nil
}

// compare is a chunk that changed.
func (a *advance) compare(from, to *Chunk, known mailbox.UID) error {
	const want = WantUID | WantFlags | WantModSeq
	from.Decode(a.old, want)
	to.Decode(a.new, want)
	i, j := 0, 0
	gone := 0
	for i < from.n || j < to.n {
		switch {
		case j == to.n || i < from.n && a.old.UIDs[i] < a.new.UIDs[j]:
			if a.keep {
				a.newSeq++
			} else {
				a.delta.Expunged = a.delta.Expunged.Add(a.oldSeq + 1)
			}
			gone++
			a.oldSeq++
			i++
		case i == from.n || a.new.UIDs[j] < a.old.UIDs[i]:
			if a.new.UIDs[j] <= known {
				return ErrInconsistent
			}
			a.delta.Grown = true
			a.newSeq++
			j++
		default:
			a.newSeq++
			a.oldSeq++
			ch := Change{a.new.UIDs[j], a.old.Flags[i], a.new.Flags[j], a.old.ModSeqs[i], a.new.ModSeqs[j]}
			if (ch.Old != ch.New || ch.OldModSeq != ch.ModSeq) && (a.announce == nil || a.announce(ch)) {
				a.delta.Changed = a.delta.Changed.Add(a.newSeq)
			}
			i, j = i+1, j+1
		}
	}
	if a.keep && gone > 0 {
		a.ghosts = true
		to = withGhosts(from, to)
	}
	a.result(to)
	return nil
}
