package sqlite

import (
	"database/sql"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// What a reader sees: chunks with his rows beside them. Those that changed are found by either's MODSEQ.
const (
	readerColumns = `c.first_uid, c.max_mod_seq, c.uids, c.flags, c.mod_seqs, c.emails, c.sizes, c.received, c.saved,
		COALESCE(s.max_mod_seq, 0), s.uids, s.flags, s.mod_seqs FROM chunk c LEFT JOIN seen s
		ON s.account = c.account AND s.mailbox = c.mailbox AND s.reader = ?1 AND s.first_uid = c.first_uid`
	readerWhole = `SELECT ` + readerColumns + ` WHERE c.account = ?2 AND c.mailbox = ?3 AND ?4 = 0 ORDER BY c.first_uid`
	readerSince = `SELECT ` + readerColumns + ` WHERE c.account = ?2 AND c.mailbox = ?3 AND c.first_uid IN (
		SELECT first_uid FROM chunk WHERE account = ?2 AND mailbox = ?3 AND max_mod_seq > ?4
		UNION SELECT first_uid FROM seen WHERE account = ?2 AND mailbox = ?3 AND reader = ?1 AND max_mod_seq > ?4) ORDER BY c.first_uid`
)

// queryReader is the query of chunks as a reader sees them.
func queryReader(tx *sqlitedb.ReadTx, q index.SnapshotQuery) (*sql.Rows, error) {
	query := readerSince
	if q.Since == 0 {
		query = readerWhole
	}
	return tx.Query(query, int64(q.Reader.Account), int64(q.Account), int64(q.Mailbox), int64(q.Since))
}

// scanReader reads one row of it.
func scanReader(rows *sql.Rows, p *mailbox.Packed, mask mailbox.Flags) error {
	var own mailbox.Packed
	err := rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved,
		&own.MaxModSeq, &own.UIDs, &own.Flags, &own.ModSeqs)
	if err != nil {
		return err
	}
	if own.UIDs == nil {
		return index.Overlay(p, nil, mask)
	}
	own.FirstUID = p.FirstUID
	return index.Overlay(p, &own, mask)
}

func (r *rows) OwnChunks(b *unit.Box, reader mailbox.AccountID, firsts []mailbox.UID) (map[mailbox.UID]*mailbox.Packed, error) {
	if len(firsts) == 0 {
		return nil, nil
	}
	rows, err := r.tx.Query(`SELECT first_uid, max_mod_seq, uids, flags, mod_seqs FROM seen
		WHERE account = ? AND mailbox = ? AND reader = ? AND first_uid BETWEEN ? AND ?`,
		int64(b.Account.ID), int64(b.ID), int64(reader), int64(firsts[0]), int64(firsts[len(firsts)-1]))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[mailbox.UID]*mailbox.Packed{}
	for rows.Next() {
		p := &mailbox.Packed{}
		if err := rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs); err != nil {
			return nil, err
		}
		found[p.FirstUID] = p
	}
	return found, rows.Err()
}

func (r *rows) EachOwn(b *unit.Box, each func(*mailbox.Packed) error) error {
	rows, err := r.tx.Query("SELECT first_uid, uids, flags, mod_seqs FROM seen WHERE account = ? AND mailbox = ?", int64(b.Account.ID), int64(b.ID))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p mailbox.Packed
		if err := rows.Scan(&p.FirstUID, &p.UIDs, &p.Flags, &p.ModSeqs); err != nil {
			return err
		}
		if err := each(&p); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *rows) PutOwn(b *unit.Box, reader mailbox.AccountID, p *mailbox.Packed) error {
	return r.exec(`INSERT INTO seen (account, mailbox, reader, first_uid, max_mod_seq, uids, flags, mod_seqs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, mailbox, reader, first_uid) DO UPDATE SET max_mod_seq = excluded.max_mod_seq, uids = excluded.uids,
			flags = excluded.flags, mod_seqs = excluded.mod_seqs`,
		int64(b.Account.ID), int64(b.ID), int64(reader), int64(p.FirstUID), int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs)
}
