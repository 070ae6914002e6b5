// Package view is what a session sees of a mailbox: entries by sequence number, kept as the packed chunks that the store
// sends, shared by all sessions of the process, and moved on from one state to the next only where the protocol lets the
// client be told (RFC 9051 §5.2, §7.5.1).
package view

import (
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// ErrInconsistent is a mailbox that changed in a way no client can be told: a UID appeared below known ones, or UIDVALIDITY
// changed. End the connection.
var ErrInconsistent = errors.New("mailbox changed its past")

// Meta is what a snapshot tells of its mailbox.
type Meta struct {
	Account       mailbox.AccountID
	ID            mailbox.ID
	Name          string
	UIDValidity   mailbox.UIDValidity
	UIDNext       mailbox.UID
	HighestModSeq mailbox.ModSeq
	// Keywords: bit mailbox.KeywordShift+i of an entry's flags stands for Keywords[i]. One that no entry has may give its place to
	// another.
	Keywords []string
	// RecentUID is where \Recent begins.
	RecentUID mailbox.UID
}

// Snapshot is a mailbox at one moment. It is immutable and shared.
//
// Sequence numbers count from 1 through all chunks. A session's own snapshot may hold ghosts: entries that are expunged,
// of which the client could not be told yet, so that they keep their numbers.
type Snapshot struct {
	Meta
	chunks []*Chunk
	// before[i] counts the entries of all chunks before i; one more element tells the sum.
	before []uint32
	ghosts bool
}

func newSnapshot(meta Meta, chunks []*Chunk) *Snapshot {
	s := &Snapshot{Meta: meta, chunks: chunks, before: make([]uint32, len(chunks)+1)}
	for i, c := range chunks {
		s.before[i+1] = s.before[i] + uint32(c.n)
		s.ghosts = s.ghosts || c.ghosts
	}
	return s
}

// Len is the number of messages: the highest sequence number.
func (s *Snapshot) Len() uint32 { return s.before[len(s.chunks)] }

// size is about how many octets it holds.
func (s *Snapshot) size() int64 {
	const chunk, snapshot = 300, 500 // a chunk's fields, and a snapshot's with the box
	size := int64(snapshot)
	for _, c := range s.chunks {
		p := &c.packed
		size += chunk + int64(len(p.UIDs)+len(p.Flags)+len(p.ModSeqs)+len(p.Emails)+len(p.Sizes)+len(p.Received)+len(p.Saved))
	}
	for _, k := range s.Keywords {
		size += int64(len(k)) + 16
	}
	return size
}

// HasGhosts tells whether some entries are expunged behind the client's back.
func (s *Snapshot) HasGhosts() bool { return s.ghosts }

// MaxUID is the last entry's UID, 0 where there is none.
func (s *Snapshot) MaxUID() mailbox.UID {
	if n := len(s.chunks); n > 0 {
		return s.chunks[n-1].last
	}
	return 0
}

// columnPool keeps columns for walks.
var columnPool = sync.Pool{New: func() any { return new(Columns) }}

// chunkOf is the chunk that holds a sequence number.
func (s *Snapshot) chunkOf(seq uint32) int {
	return sort.Search(len(s.chunks), func(i int) bool { return s.before[i+1] >= seq })
}

// Walk calls each with the entries of ascending, disjoint ranges of sequence numbers, a run within one chunk at a time:
// the entries are cols at lo to hi-1, and seq is the first one's number. Numbers above Len are passed over. cols holds
// the wanted columns and is valid during the call only.
func (s *Snapshot) Walk(seqs wire.Set, want Want, each func(seq uint32, cols *Columns, lo, hi int) error) error {
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	held := -1
	for _, r := range seqs {
		first, last := max(r.First, 1), min(r.Last, s.Len())
		for first <= last {
			i := held
			if i < 0 || first > s.before[i+1] {
				i = s.chunkOf(first)
				if held >= 0 && held+1 < len(s.chunks) && first <= s.before[held+2] {
					i = held + 1
				}
			}
			if i != held {
				s.chunks[i].Decode(cols, want)
				held = i
			}
			end := min(last, s.before[i+1])
			if err := each(first, cols, int(first-s.before[i]-1), int(end-s.before[i])); err != nil {
				return err
			}
			if end == last {
				break
			}
			first = end + 1
		}
	}
	return nil
}

// WalkDown is Walk from the highest number to the lowest, an entry at a time.
func (s *Snapshot) WalkDown(seqs wire.Set, want Want, each func(seq uint32, cols *Columns, lo, hi int) error) error {
	for _, some := range slices.Backward(s.ByChunk(seqs)) {
		err := s.Walk(some, want, func(seq uint32, cols *Columns, lo, hi int) error {
			for i := hi - 1; i >= lo; i-- {
				if err := each(seq+uint32(i-lo), cols, i, i+1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ByChunk splits ascending, disjoint ranges of sequence numbers into runs that each lie within one chunk.
func (s *Snapshot) ByChunk(seqs wire.Set) (runs []wire.Set) {
	for _, r := range seqs {
		for first, last := max(r.First, 1), min(r.Last, s.Len()); first <= last; {
			end := min(last, s.before[s.chunkOf(first)+1])
			runs = append(runs, wire.Set{{First: first, Last: end}})
			first = end + 1
		}
	}
	return runs
}

// All is the range of all sequence numbers.
func (s *Snapshot) All() wire.Set {
	if s.Len() == 0 {
		return nil
	}
	return wire.Set{{First: 1, Last: s.Len()}}
}

// Rank counts the entries with a UID below uid: the entry with uid, or the first above, has number Rank+1.
func (s *Snapshot) Rank(uid mailbox.UID) uint32 {
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	held := -1
	return s.rank(uid, cols, &held)
}

// rank is Rank with the last decoded chunk at hand.
func (s *Snapshot) rank(uid mailbox.UID, cols *Columns, held *int) uint32 {
	i := sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].last >= uid })
	if i == len(s.chunks) {
		return s.Len()
	}
	if *held != i {
		s.chunks[i].Decode(cols, WantUID)
		*held = i
	}
	uids := cols.UIDs
	return s.before[i] + uint32(sort.Search(len(uids), func(k int) bool { return uids[k] >= uid }))
}

// UID is the UID at a sequence number, 0 for one that is not there.
func (s *Snapshot) UID(seq uint32) mailbox.UID {
	var uid mailbox.UID
	s.Walk(wire.Set{{First: seq, Last: seq}}, WantUID, func(_ uint32, cols *Columns, lo, _ int) error {
		uid = cols.UIDs[lo]
		return nil
	})
	return uid
}

// Seqs turns a resolved set of UIDs into sequence numbers; UIDs that are not there are passed over.
func (s *Snapshot) Seqs(uids wire.Set) wire.Set {
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	held := -1
	out := make(wire.Set, 0, len(uids))
	for _, r := range uids {
		lo := s.rank(mailbox.UID(r.First), cols, &held) + 1
		hi := s.Len()
		if r.Last < 1<<32-1 {
			hi = s.rank(mailbox.UID(r.Last)+1, cols, &held)
		}
		if lo <= hi {
			out = out.AddRange(lo, hi)
		}
	}
	return out
}

// UIDs turns sequence numbers into a set of UIDs.
func (s *Snapshot) UIDs(seqs wire.Set) wire.Set {
	var out wire.Set
	s.Walk(seqs, WantUID, func(_ uint32, cols *Columns, lo, hi int) error {
		for _, uid := range cols.UIDs[lo:hi] {
			out = out.Add(uint32(uid))
		}
		return nil
	})
	return out
}

// UIDList is UIDs one by one.
func (s *Snapshot) UIDList(seqs wire.Set) []mailbox.UID {
	out := make([]mailbox.UID, 0, min(seqs.Count(), uint64(s.Len())))
	s.Walk(seqs, WantUID, func(_ uint32, cols *Columns, lo, hi int) error {
		out = append(out, cols.UIDs[lo:hi]...)
		return nil
	})
	return out
}

// FirstWithout is the number of the first entry that lacks all of flags, 0 where none does.
func (s *Snapshot) FirstWithout(flags mailbox.Flags) uint32 {
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	for i, c := range s.chunks {
		if c.common&flags != 0 {
			continue // all of them have one
		}
		c.Decode(cols, WantFlags)
		for k, f := range cols.Flags {
			if f&flags == 0 {
				return s.before[i] + uint32(k) + 1
			}
		}
	}
	return 0
}

// KeywordsFull tells whether the mailbox has all the keywords that it may have, and each is on some entry: none of them makes
// room for another. What only other readers have is not seen here.
func (s *Snapshot) KeywordsFull() bool {
	if len(s.Keywords) < mailbox.MaxKeywords {
		return false
	}
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	missing := ^(mailbox.KeywordFlag(0) - 1)
	for _, c := range s.chunks {
		if c.found&missing == 0 {
			continue
		}
		c.Decode(cols, WantFlags)
		for _, f := range cols.Flags {
			missing &^= f
		}
		if missing == 0 {
			return true
		}
	}
	return false
}
