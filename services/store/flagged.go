package store

import (
	"cmp"
	"container/list"
	"maps"
	"slices"
	"sync"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Limits of flaggedLately: octets of columns in all, and changes that one answer is put together of.
const (
	flaggedMax  = 4 << 20
	flaggedSpan = 64
)

// flaggedLately remembers what the last changes of flags did, so that whoever asks what became of a mailbox behind one (SELECT
// behind QUIT of POP3) is told without reading the chunks. A change leads from one HIGHESTMODSEQ of its mailbox to another, which
// no other change has in common with it: where those that are remembered lead from what is known to what the mailbox's row
// says, they are all that there were, whoever else writes.
type flaggedLately struct {
	mu     sync.Mutex
	steps  map[stepFrom]*list.Element // guarded by mu
	order  list.List                  // of *step, the latest first; guarded by mu
	octets int                        // guarded by mu
}

// boxID names a mailbox of an account.
type boxID struct {
	account mailbox.AccountID
	mailbox mailbox.ID
}

// stepFrom is where a change begins.
type stepFrom struct {
	box  boxID
	from mailbox.ModSeq
}

// step is a change.
type step struct {
	at     stepFrom
	to     mailbox.ModSeq
	chunks []mailbox.Packed
	octets int
}

// add remembers a change that was committed; nil is one of which not all is known.
func (f *flaggedLately) add(box boxID, told *index.FlagsTold) {
	if told == nil || told.Before == told.HighestModSeq {
		return
	}
	s := &step{at: stepFrom{box, told.Before}, to: told.HighestModSeq, chunks: told.Chunks}
	for i := range s.chunks {
		const packed = 200 // mailbox.Packed itself
		s.octets += packed + len(s.chunks[i].Flags) + len(s.chunks[i].ModSeqs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.steps == nil {
		f.steps = map[stepFrom]*list.Element{}
	}
	if old := f.steps[s.at]; old != nil {
		f.forget(old) // of a history that the database has lost
	}
	f.steps[s.at] = f.order.PushFront(s)
	for f.octets += s.octets; f.octets > flaggedMax; {
		f.forget(f.order.Back())
	}
}

// forget is called with mu held.
func (f *flaggedLately) forget(e *list.Element) {
	s := f.order.Remove(e).(*step)
	delete(f.steps, s.at)
	f.octets -= s.octets
}

// between gives the chunks that changed from one state to another, in the order of their UIDs, as the last change left them; false
// where some change is not remembered.
func (f *flaggedLately) between(box boxID, from, to mailbox.ModSeq) ([]mailbox.Packed, bool) {
	steps := f.path(box, from, to)
	switch len(steps) {
	case 0:
		return nil, false
	case 1:
		return steps[0].chunks, true
	}
	last := map[mailbox.UID]mailbox.Packed{}
	for _, s := range steps {
		for _, c := range s.chunks {
			last[c.FirstUID] = c
		}
	}
	return slices.SortedFunc(maps.Values(last), func(a, b mailbox.Packed) int { return cmp.Compare(a.FirstUID, b.FirstUID) }), true
}

// path are the changes from one state to another, none where some is not remembered.
func (f *flaggedLately) path(box boxID, from, to mailbox.ModSeq) (steps []*step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for from < to && len(steps) < flaggedSpan {
		e := f.steps[stepFrom{box, from}]
		if e == nil {
			return nil
		}
		s := e.Value.(*step)
		steps, from = append(steps, s), s.to
	}
	if from != to {
		return nil
	}
	return steps
}
