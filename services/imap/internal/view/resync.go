package view

import (
	"context"
	"fmt"
	"io"
	"sort"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// ChangedSince are those of seqs, a resolved set, whose MODSEQ is above since. Chunks that did not change are not looked into.
func (s *Snapshot) ChangedSince(since mailbox.ModSeq, seqs wire.Set) wire.Set {
	var chunks, out wire.Set
	for i, c := range s.chunks {
		if c.packed.MaxModSeq > since {
			chunks = chunks.AddRange(s.before[i]+1, s.before[i+1])
		}
	}
	s.Walk(seqs.Intersect(chunks), WantModSeq, func(seq uint32, cols *Columns, lo, hi int) error {
		for i := lo; i < hi; i, seq = i+1, seq+1 {
			if cols.ModSeqs[i] > since {
				out = out.Add(seq)
			}
		}
		return nil
	})
	return out
}

// Expunged are the UIDs that the store still knows to have been expunged after since, perhaps some more; known is false
// where it knows no longer, or where since is of no time that was. Errors: ErrGone, and what the store says.
func (b *Box) Expunged(ctx context.Context, since mailbox.ModSeq) (uids wire.Set, known bool, err error) {
	if since == 0 {
		return nil, false, nil
	}
	// The first page tells; the chunks behind it are here already.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.cache.store.Snapshot(ctx, &storev1.SnapshotRequest{
		Account: uint64(b.key.Account), Actor: uint64(b.key.Actor), Mailbox: uint64(b.key.ID), SinceModSeq: uint64(since),
	})
	if err != nil {
		return nil, false, gone(err)
	}
	page, err := stream.Recv()
	if err == io.EOF {
		return nil, false, fmt.Errorf("snapshot of mailbox %d: ended before it was done", b.key.ID)
	}
	if err != nil {
		return nil, false, gone(err)
	}
	if page.GetComplete() {
		return nil, false, nil
	}
	set, err := mailbox.DecodeUIDSet(page.GetExpunged())
	if err != nil {
		return nil, false, fmt.Errorf("snapshot of mailbox %d: expunged: %w", b.key.ID, err)
	}
	for _, r := range set {
		uids = append(uids, wire.Range{First: uint32(r.First), Last: uint32(r.Last)})
	}
	return uids.Join(), true, nil
}

// Matched is the highest of uids that still has the sequence number it is paired with in seqs, 0 where none has. Both are
// resolved and count the same. Up to such a pair nothing was expunged, so that all lower pairs match too.
func (s *Snapshot) Matched(seqs, uids wire.Set) mailbox.UID {
	at := func(set wire.Set, i int) uint32 { return set.Slice(uint64(i)+1, uint64(i)+1)[0].First }
	n := sort.Search(int(seqs.Count()), func(i int) bool {
		seq := at(seqs, i)
		return seq > s.Len() || uint32(s.UID(seq)) != at(uids, i)
	})
	if n == 0 {
		return 0
	}
	return mailbox.UID(at(uids, n-1))
}
