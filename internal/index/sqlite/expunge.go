package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Expunge is index.Mailboxes'.
func (m *Mailboxes) Expunge(ctx context.Context, id mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (index.ExpungeResult, error) {
	r, err := write(ctx, m.d, func(u *unit) (index.ExpungeResult, error) {
		a, err := u.account(id)
		if err != nil {
			return index.ExpungeResult{}, err
		}
		b, err := u.box(a, mbox)
		if err != nil {
			return index.ExpungeResult{}, err
		}
		removed, err := u.remove(b, uids, force)
		return index.ExpungeResult{Expunged: removed, ModSeq: a.modSeq}, err
	})
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("expunge in mailbox %d: %w", mbox, err)
	}
	return r, nil
}

// remove takes entries out of a mailbox: those of uids that carry \Deleted, or with force all of them.
func (u *unit) remove(b *box, uids mailbox.UIDSet, force bool) (removed mailbox.UIDSet, err error) {
	if !force && b.Deleted == 0 || b.Messages == 0 {
		return nil, nil
	}
	// What was added in this unit lies in the rows too.
	if err := u.flushBox(b); err != nil {
		return nil, err
	}
	packed, err := u.chunkRows(b, uids)
	if err != nil {
		return nil, err
	}
	chunk := u.d.chunk()
	defer u.d.chunks.Put(chunk)
	var emails []mailbox.EmailID
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return nil, err
		}
		before := chunk.Len()
		chunk.Keep(func(i int) bool {
			if !uids.Contains(chunk.UIDs[i]) || !force && chunk.Flags[i]&mailbox.Deleted == 0 {
				return true
			}
			removed = removed.Add(chunk.UIDs[i])
			emails = append(emails, chunk.Emails[i])
			b.count(chunk.At(i), -1)
			return false
		})
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
	if _, err := u.tx.Exec("INSERT INTO tombstone (account, mailbox, mod_seq, uids, emails, expunged_ns) VALUES (?, ?, ?, ?, ?, ?)",
		int64(b.account.id), int64(b.ID), int64(b.changed()), mailbox.AppendUIDSet(nil, removed), mailbox.AppendEmails(nil, emails),
		u.now.UnixNano()); err != nil {
		return nil, fmt.Errorf("write tombstone: %w", err)
	}
	return removed, nil
}

// shrink writes a chunk that lost entries; an empty one goes.
func (u *unit) shrink(b *box, chunk *mailbox.Chunk) error {
	if chunk.Len() > 0 {
		p := chunk.Pack()
		return u.putChunk(b, &p, true)
	}
	if _, err := u.tx.Exec("DELETE FROM chunk WHERE account = ? AND mailbox = ? AND first_uid = ?",
		int64(b.account.id), int64(b.ID), int64(chunk.FirstUID)); err != nil {
		return fmt.Errorf("remove chunk %d: %w", chunk.FirstUID, err)
	}
	return nil
}

// chunkRows reads the whole chunks that may have entries in uids.
func (u *unit) chunkRows(b *box, uids mailbox.UIDSet) (list []mailbox.Packed, err error) {
	for _, r := range spans(uids) {
		rows, err := u.tx.Query("SELECT "+chunkColumns+" FROM chunk WHERE account = ? AND mailbox = ? AND first_uid >= "+
			firstChunk+" AND first_uid <= ? ORDER BY first_uid", b.spanArgs(r)...)
		if err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
		for rows.Next() {
			var p mailbox.Packed
			if err := rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read chunks: %w", err)
			}
			if len(list) == 0 || list[len(list)-1].FirstUID < p.FirstUID {
				list = append(list, p)
			}
		}
		if err := rows.Close(); err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
	}
	return list, nil
}
