package unit

import (
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Expunge removes those of uids that carry \Deleted, or with force all of them.
func (u *Unit) Expunge(id mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (index.ExpungeResult, error) {
	return u.expunge(id, mbox, func(b *Box) (mailbox.UIDSet, error) { return u.remove(b, uids, force, index.Expunged) })
}

// ExpungeDeleted removes all that carry \Deleted; likely are those, as somebody thinks.
func (u *Unit) ExpungeDeleted(id mailbox.AccountID, mbox mailbox.ID, likely mailbox.UIDSet) (index.ExpungeResult, error) {
	return u.expunge(id, mbox, func(b *Box) (mailbox.UIDSet, error) { return u.removeDeleted(b, likely) })
}

func (u *Unit) expunge(id mailbox.AccountID, mbox mailbox.ID, remove func(*Box) (mailbox.UIDSet, error)) (r index.ExpungeResult, err error) {
	a, err := u.Account(id)
	if err != nil {
		return r, err
	}
	b, err := u.box(a, mbox)
	if err != nil {
		return r, err
	}
	r.Before = b.HighestModSeq
	r.Expunged, err = remove(b)
	r.ModSeq, r.After = a.ModSeq, b.HighestModSeq
	return r, err
}

// remove takes entries out of a mailbox: those of uids that carry \Deleted, or with force all of them. What goes is kept
// for undelete.
func (u *Unit) remove(b *Box, uids mailbox.UIDSet, force bool, kind index.Kind) (mailbox.UIDSet, error) {
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
	return u.removeFrom(b, packed, uids, force, kind)
}

// removeDeleted takes out all that carry \Deleted.
func (u *Unit) removeDeleted(b *Box, likely mailbox.UIDSet) (mailbox.UIDSet, error) {
	if b.Deleted == 0 || b.Messages == 0 {
		return nil, nil
	}
	if err := u.flushBox(b); err != nil {
		return nil, err
	}
	packed, err := u.deletedChunks(b, likely)
	if err != nil {
		return nil, err
	}
	return u.removeFrom(b, packed, all, false, index.Expunged)
}

// all are all UIDs.
var all = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

// deletedChunks are those with entries that carry \Deleted: the ones of likely, where these have as many as the mailbox, or else
// those that a look at the flags of all finds.
func (u *Unit) deletedChunks(b *Box, likely mailbox.UIDSet) ([]mailbox.Packed, error) {
	if n := likely.Len(); n > 0 && n <= uint64(b.Deleted) {
		packed, err := u.chunksOf(b, likely)
		if err != nil {
			return nil, err
		}
		deleted, err := u.deleted(packed)
		if err != nil || deleted.Len() == uint64(b.Deleted) {
			return packed, err
		}
	}
	rows, err := u.Rows.FlagChunks(b, all)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	deleted, err := u.deleted(rows)
	if err != nil || len(deleted) == 0 {
		return nil, err
	}
	return u.chunksOf(b, deleted)
}

// deleted are the entries of chunks that carry \Deleted.
func (u *Unit) deleted(packed []mailbox.Packed) (uids mailbox.UIDSet, err error) {
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.UnpackFlags(&packed[i]); err != nil {
			return nil, err
		}
		for k, flags := range chunk.Flags {
			if flags&mailbox.Deleted != 0 {
				uids = uids.Add(chunk.UIDs[k])
			}
		}
	}
	return uids, nil
}

// removeFrom takes entries out of chunks, which are all that have any of them.
func (u *Unit) removeFrom(b *Box, packed []mailbox.Packed, uids mailbox.UIDSet, force bool, kind index.Kind) (removed mailbox.UIDSet, err error) {
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
