package sqlite

import (
	"database/sql"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const chunkColumns = `first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved`

func (r *rows) LastChunk(b *unit.Box, c *mailbox.Chunk) (bool, error) {
	rows, err := r.tx.Query("SELECT "+chunkColumns+" FROM chunk WHERE account = ? AND mailbox = ? ORDER BY first_uid DESC LIMIT 1",
		int64(b.Account.ID), int64(b.ID))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	// Not copied: p holds until the next row.
	var p mailbox.Packed
	if err := rows.Scan(&p.FirstUID, &p.MaxModSeq, (*sql.RawBytes)(&p.UIDs), (*sql.RawBytes)(&p.Flags), (*sql.RawBytes)(&p.ModSeqs),
		(*sql.RawBytes)(&p.Emails), (*sql.RawBytes)(&p.Sizes), (*sql.RawBytes)(&p.Received), (*sql.RawBytes)(&p.Saved)); err != nil {
		return false, err
	}
	if err := c.Unpack(&p); err != nil {
		return false, err
	}
	return true, rows.Err()
}

func (r *rows) PutChunk(b *unit.Box, p *mailbox.Packed, stored bool) error {
	account, id, first := int64(b.Account.ID), int64(b.ID), int64(p.FirstUID)
	if stored {
		return r.exec(`UPDATE chunk SET max_mod_seq = ?, uids = ?, flags = ?, mod_seqs = ?, emails = ?, sizes = ?, received = ?, saved = ?
			WHERE account = ? AND mailbox = ? AND first_uid = ?`,
			int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received, p.Saved, account, id, first)
	}
	return r.exec(`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		account, id, first, int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received, p.Saved)
}

func (r *rows) PutFlags(b *unit.Box, p *mailbox.Packed) error {
	return r.exec("UPDATE chunk SET max_mod_seq = ?, flags = ?, mod_seqs = ? WHERE account = ? AND mailbox = ? AND first_uid = ?",
		int64(p.MaxModSeq), p.Flags, p.ModSeqs, int64(b.Account.ID), int64(b.ID), int64(p.FirstUID))
}

func (r *rows) DropChunk(b *unit.Box, first mailbox.UID) error {
	if err := r.exec("DELETE FROM seen WHERE account = ? AND mailbox = ? AND first_uid = ?", int64(b.Account.ID), int64(b.ID), int64(first)); err != nil {
		return err
	}
	return r.exec("DELETE FROM chunk WHERE account = ? AND mailbox = ? AND first_uid = ?", int64(b.Account.ID), int64(b.ID), int64(first))
}

func (r *rows) Chunks(b *unit.Box, uids mailbox.UIDSet) ([]mailbox.Packed, error) {
	return r.chunks(b, uids, chunkColumns, func(rows *sql.Rows, p *mailbox.Packed) error {
		return rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved)
	})
}

func (r *rows) FlagChunks(b *unit.Box, uids mailbox.UIDSet) ([]mailbox.Packed, error) {
	return r.chunks(b, uids, "first_uid, uids, flags, mod_seqs", func(rows *sql.Rows, p *mailbox.Packed) error {
		return rows.Scan(&p.FirstUID, &p.UIDs, &p.Flags, &p.ModSeqs)
	})
}

// firstChunk is the chunk that a UID would lie in.
const firstChunk = `(SELECT COALESCE(MAX(first_uid), 0) FROM chunk WHERE account = ? AND mailbox = ? AND first_uid <= ?)`

func (r *rows) chunks(b *unit.Box, uids mailbox.UIDSet, columns string, scan func(*sql.Rows, *mailbox.Packed) error) (list []mailbox.Packed, err error) {
	account, id := int64(b.Account.ID), int64(b.ID)
	for _, span := range unit.Spans(uids) {
		rows, err := r.tx.Query("SELECT "+columns+" FROM chunk WHERE account = ? AND mailbox = ? AND first_uid >= "+firstChunk+
			" AND first_uid <= ? ORDER BY first_uid", account, id, account, id, int64(span.First), int64(span.Last))
		if err != nil {
			return nil, err
		}
		if list, err = scanChunks(list, rows, scan); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func scanChunks(list []mailbox.Packed, rows *sql.Rows, scan func(*sql.Rows, *mailbox.Packed) error) ([]mailbox.Packed, error) {
	defer rows.Close()
	for rows.Next() {
		var p mailbox.Packed
		if err := scan(rows, &p); err != nil {
			return nil, err
		}
		if len(list) == 0 || list[len(list)-1].FirstUID < p.FirstUID {
			list = append(list, p)
		}
	}
	return list, rows.Err()
}
