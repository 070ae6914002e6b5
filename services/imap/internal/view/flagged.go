package view

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Flagged brings the box to where a change of flags left it, by what the store told one who knew the mailbox up to since. It
// tells whether the box is there now, or beyond; where it is not, Refresh asks the store.
func (b *Box) Flagged(ctx context.Context, since mailbox.ModSeq, told *storev1.FlagsTold) bool {
	if told == nil {
		return false
	}
	return b.told(ctx, since, mailbox.ModSeq(told.GetHighestModSeq()), func(s *Snapshot) (*Snapshot, error) { return s.flagged(told) })
}

// told brings the box from since to highest, by what the store told of that.
func (b *Box) told(ctx context.Context, since, highest mailbox.ModSeq, next func(*Snapshot) (*Snapshot, error)) bool {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-b.turn }()
	have := b.current.Load()
	switch {
	case have.HighestModSeq >= highest:
		return true
	case have.HighestModSeq != since:
		return false
	}
	s, err := next(have)
	if err != nil {
		return false // as if nothing had been told
	}
	b.current.Store(s)
	return true
}

// flagged is the snapshot with other flags.
func (s *Snapshot) flagged(told *storev1.FlagsTold) (*Snapshot, error) {
	next := *s
	next.HighestModSeq, next.Keywords = mailbox.ModSeq(told.GetHighestModSeq()), told.GetKeywords()
	next.chunks = slices.Clone(s.chunks)
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	for _, p := range told.GetChunks() {
		i, found := slices.BinarySearchFunc(next.chunks, mailbox.UID(p.GetFirstUid()), func(c *Chunk, first mailbox.UID) int { return int(int64(c.first) - int64(first)) })
		if !found {
			return nil, fmt.Errorf("flags of mailbox %d: no chunk %d", s.ID, p.GetFirstUid())
		}
		c, err := next.chunks[i].withFlags(p, cols)
		if err != nil {
			return nil, fmt.Errorf("flags of mailbox %d: %w", s.ID, err)
		}
		next.chunks[i] = c
	}
	return &next, nil
}

// withFlags is the chunk with other flags and MODSEQs of the same entries.
func (c *Chunk) withFlags(p *storev1.Chunk, cols *Columns) (*Chunk, error) {
	var err error
	if cols.Flags, err = mailbox.DecodeFlags(cols.Flags[:0], p.GetFlags(), c.n); err == nil {
		cols.ModSeqs, err = mailbox.DecodeModSeqs(cols.ModSeqs[:0], p.GetModSeqs(), c.n)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %d: %w", c.first, err)
	}
	next := *c
	next.packed.MaxModSeq, next.packed.Flags, next.packed.ModSeqs = mailbox.ModSeq(p.GetMaxModSeq()), p.GetFlags(), p.GetModSeqs()
	next.note(cols.Flags)
	return &next, nil
}
