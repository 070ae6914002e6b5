package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Flag is index.Mailboxes'.
func (m *Mailboxes) Flag(ctx context.Context, c index.FlagChange) (index.FlagResult, error) {
	r, err := write(ctx, m.d, func(u *unit) (index.FlagResult, error) {
		a, err := u.account(c.Account)
		if err != nil {
			return index.FlagResult{}, err
		}
		b, err := u.box(a, c.Mailbox)
		if err != nil {
			return index.FlagResult{}, err
		}
		r, err := u.flag(b, c)
		r.ModSeq = a.modSeq
		return r, err
	})
	if err != nil {
		return index.FlagResult{}, fmt.Errorf("flag in mailbox %d: %w", c.Mailbox, err)
	}
	return r, nil
}

// flagRow is the part of a chunk that flags are in.
type flagRow struct {
	first               mailbox.UID
	uids, flags, modSeq []byte
}

func (u *unit) flag(b *box, c index.FlagChange) (r index.FlagResult, err error) {
	var bits mailbox.Flags
	if c.Mode == index.RemoveFlags {
		for _, name := range c.Flags {
			bit, _ := mailbox.FindFlag(name, b.Keywords)
			bits |= bit
		}
	} else if bits, err = b.flags(c.Flags); err != nil {
		return r, err
	}
	rows, err := u.flagRows(b, c.UIDs)
	if err != nil {
		return r, err
	}
	chunk := u.d.chunk()
	defer u.d.chunks.Put(chunk)
	for _, row := range rows {
		if err := chunk.UnpackFlags(&mailbox.Packed{FirstUID: row.first, UIDs: row.uids, Flags: row.flags, ModSeqs: row.modSeq}); err != nil {
			return r, err
		}
		if !flagChunk(b, chunk, &c, bits, &r) {
			continue
		}
		if _, err := u.tx.Exec("UPDATE chunk SET max_mod_seq = ?, flags = ?, mod_seqs = ? WHERE account = ? AND mailbox = ? AND first_uid = ?",
			int64(b.account.modSeq), mailbox.AppendFlags(nil, chunk.Flags), mailbox.AppendModSeqs(nil, chunk.ModSeqs),
			int64(b.account.id), int64(b.ID), int64(row.first)); err != nil {
			return r, fmt.Errorf("write chunk %d: %w", row.first, err)
		}
		r.Changed = true
	}
	return r, nil
}

// flagChunk changes the entries of one chunk and tells whether any was changed.
func flagChunk(b *box, chunk *mailbox.Chunk, c *index.FlagChange, bits mailbox.Flags, r *index.FlagResult) (changed bool) {
	for i, uid := range chunk.UIDs {
		if !c.UIDs.Contains(uid) {
			continue
		}
		if c.Conditional && chunk.ModSeqs[i] > c.UnchangedSince {
			r.Modified = r.Modified.Add(uid)
			continue
		}
		was := chunk.Flags[i]
		is := bits
		switch c.Mode {
		case index.AddFlags:
			is = was | bits
		case index.RemoveFlags:
			is = was &^ bits
		}
		if is == was {
			continue
		}
		chunk.Flags[i] = is
		chunk.ModSeqs[i] = b.changed()
		b.Unseen += uint32(was&mailbox.Seen) - uint32(is&mailbox.Seen) // Seen is the lowest bit
		if (was^is)&mailbox.Deleted != 0 {
			if is&mailbox.Deleted != 0 {
				b.Deleted++
			} else {
				b.Deleted--
			}
		}
		changed = true
	}
	return changed
}

// fewRanges is up to how many ranges of UIDs are looked up one by one; the chunks under more are read in one go.
const fewRanges = 8

// flagRows reads the chunks that may have entries in uids.
func (u *unit) flagRows(b *box, uids mailbox.UIDSet) (list []flagRow, err error) {
	for _, r := range spans(uids) {
		rows, err := u.tx.Query("SELECT first_uid, uids, flags, mod_seqs FROM chunk WHERE account = ? AND mailbox = ? AND first_uid >= "+
			firstChunk+" AND first_uid <= ? ORDER BY first_uid", b.spanArgs(r)...)
		if err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
		if list, err = scanFlagRows(list, rows); err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
	}
	return list, nil
}

// firstChunk is the chunk that a UID would lie in.
const firstChunk = `(SELECT COALESCE(MAX(first_uid), 0) FROM chunk WHERE account = ? AND mailbox = ? AND first_uid <= ?)`

// spanArgs are the arguments of a query over the chunks of a range.
func (b *box) spanArgs(r mailbox.UIDRange) []any {
	account, id := int64(b.account.id), int64(b.ID)
	return []any{account, id, account, id, int64(r.First), int64(r.Last)}
}

// spans are the ranges to read chunks for. Two may need the same chunk: it is read twice, and passed over the second time.
func spans(uids mailbox.UIDSet) mailbox.UIDSet {
	if len(uids) > fewRanges {
		return mailbox.UIDSet{{First: uids[0].First, Last: uids[len(uids)-1].Last}}
	}
	return uids
}

func scanFlagRows(list []flagRow, rows *sql.Rows) ([]flagRow, error) {
	defer rows.Close()
	for rows.Next() {
		var r flagRow
		if err := rows.Scan(&r.first, &r.uids, &r.flags, &r.modSeq); err != nil {
			return nil, err
		}
		if len(list) == 0 || list[len(list)-1].first < r.first {
			list = append(list, r)
		}
	}
	return list, rows.Err()
}
