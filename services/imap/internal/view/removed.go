package view

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Removed brings the box to where an expunge left it, by what the store told one who knew the mailbox up to since. It tells
// whether the box is there now, or beyond; where it is not, Refresh asks the store.
func (b *Box) Removed(ctx context.Context, since mailbox.ModSeq, told *storev1.ExpungeResponse) bool {
	highest := mailbox.ModSeq(told.GetHighestModSeq())
	if highest == 0 {
		return false
	}
	return b.told(ctx, since, highest, func(s *Snapshot) (*Snapshot, error) {
		gone, err := mailbox.DecodeUIDSet(told.GetExpunged())
		if err != nil {
			return nil, err
		}
		cols := columnPool.Get().(*Columns)
		defer columnPool.Put(cols)
		meta := s.Meta
		meta.HighestModSeq = highest
		return newSnapshot(meta, s.merge(nil, nil, gone, cols)), nil
	})
}

// Deleted are the UIDs of all that carries \Deleted.
func (s *Snapshot) Deleted() wire.Set {
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	var uids wire.Set
	for _, c := range s.chunks {
		if c.found&mailbox.Deleted == 0 {
			continue
		}
		c.Decode(cols, WantUID|WantFlags)
		for i, f := range cols.Flags {
			if f&mailbox.Deleted != 0 {
				uids = uids.Add(uint32(cols.UIDs[i]))
			}
		}
	}
	return uids
}
