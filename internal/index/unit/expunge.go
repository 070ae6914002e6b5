package unit

import (
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Expunge removes those of uids that carry \Deleted, or with force all of them.
func (u *Unit) Expunge(id mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (index.ExpungeResult, error) {
	a, err := u.Account(id)
	if err != nil {
		return index.ExpungeResult{}, err
	}
	b, err := u.box(a, mbox)
	if err != nil {
		return index.ExpungeResult{}, err
	}
	removed, err := u.remove(b, uids, force, index.Expunged)
	return index.ExpungeResult{Expunged: removed, ModSeq: a.ModSeq}, err
}

// remove takes entries out of a mailbox: those of uids that carry \Deleted, or with force all of them. What goes is kept
// for undelete.
func (u *Unit) remove(b *Box, uids mailbox.UIDSet, force bool, kind index.Kind) (removed mailbox.UIDSet, err error) {
	if !force && b.Deleted == 0 || b.Messages == 0 {
		return nil, nil
	}
	// What was added in this unit lies in the rows too.
	if err := u.flushBox(b); err != nil {
		return nil, err
	}
	packed, err := u.chunksOf(b, uids)
	if err != nil {
		return nil, err
	}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	kept := u.keeper(b, kind)
	defer kept.done()
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return nil, err
		}
		before := chunk.Len()
		var failed error
		chunk.Keep(func(i int) bool {
			if !uids.Contains(chunk.UIDs[i]) || !force && chunk.Flags[i]&mailbox.Deleted == 0 {
				return true
			}
			removed = removed.Add(chunk.UIDs[i])
			b.count(chunk.At(i), -1)
			failed = errors.Join(failed, kept.add(chunk.At(i)))
			return false
		})
		if failed != nil {
			return nil, failed
		}
		if chunk.Len() == before {
			continue
		}
		if err := u.shrink(b, chunk); err != nil {
			return nil, err
		}
	}
	if len(removed) == 0 {
		return nil, nil
	}
	if err := kept.flush(); err != nil {
		return nil, err
	}
	if err := u.Step("remove.before-tombstone"); err != nil {
		return nil, err
	}
	// It names no emails: what is kept does.
	if err := u.Rows.PutTombstone(b, b.changed(), removed, nil); err != nil {
		return nil, fmt.Errorf("write tombstone: %w", err)
	}
	return removed, nil
}

// shrink writes a chunk that lost entries; an empty one goes.
func (u *Unit) shrink(b *Box, chunk *mailbox.Chunk) error {
	if chunk.Len() > 0 {
		p := chunk.Pack()
		return u.putChunk(b, &p, true)
	}
	if err := u.Rows.DropChunk(b, chunk.FirstUID); err != nil {
		return fmt.Errorf("remove chunk %d: %w", chunk.FirstUID, err)
	}
	return nil
}

func (u *Unit) chunksOf(b *Box, uids mailbox.UIDSet) ([]mailbox.Packed, error) {
	list, err := u.Rows.Chunks(b, uids)
	if err != nil {
		return nil, fmt.Errorf("read chunks: %w", err)
	}
	return list, nil
}
