package view

import (
	"context"
	"errors"
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
	for _, p := range told.GetChunks() {
		i, _ := next.place(mailbox.UID(p.GetFirstUid()))
		c, err := next.named(mailbox.UID(p.GetFirstUid())).withFlags(p)
		if err != nil {
			return nil, fmt.Errorf("flags of mailbox %d: %w", s.ID, err)
		}
		next.chunks[i] = c
	}
	return &next, nil
}

// errUnfit is what was told of flags that does not fit what is known of the mailbox.
var errUnfit = errors.New("flags do not fit")

// withFlags is the chunk with other flags and MODSEQs of the same entries; c is nil where the mailbox has no such chunk.
func (c *Chunk) withFlags(p *storev1.Chunk) (*Chunk, error) {
	if c == nil {
		return nil, fmt.Errorf("%w: no chunk %d", errUnfit, p.GetFirstUid())
	}
	common, found, err := mailbox.FlagsOf(p.GetFlags(), c.n)
	if err == nil {
		err = mailbox.CheckModSeqs(p.GetModSeqs(), c.n)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", errUnfit, c.first, err)
	}
	next := *c
	next.packed.MaxModSeq, next.packed.Flags, next.packed.ModSeqs = mailbox.ModSeq(p.GetMaxModSeq()), p.GetFlags(), p.GetModSeqs()
	next.common, next.found = common, found
	return &next, nil
}
