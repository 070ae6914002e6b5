package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// What a reader sees: chunks with his rows beside them. Those that changed are found by either's MODSEQ.
const (
	readerColumns = `SELECT c.first_uid, c.max_mod_seq, c.uids, c.flags, c.mod_seqs, c.emails, c.sizes, c.received, c.saved,
		COALESCE(s.max_mod_seq, 0), s.uids, s.flags, s.mod_seqs FROM chunk c LEFT JOIN seen s
		ON s.account = c.account AND s.mailbox = c.mailbox AND s.reader = $1 AND s.first_uid = c.first_uid
		WHERE c.account = $2 AND c.mailbox = $3`
	readerWhole = readerColumns + ` ORDER BY c.first_uid`
	readerSince = readerColumns + ` AND c.first_uid IN (
		SELECT first_uid FROM chunk WHERE account = $2 AND mailbox = $3 AND max_mod_seq > $4
		UNION SELECT first_uid FROM seen WHERE account = $2 AND mailbox = $3 AND reader = $1 AND max_mod_seq > $4) ORDER BY c.first_uid`
	ownChunks = `SELECT first_uid, max_mod_seq, uids, flags, mod_seqs FROM seen
		WHERE account = $1 AND mailbox = $2 AND reader = $3 AND first_uid = ANY($4::bigint[])`
	eachOwn = `SELECT first_uid, uids, flags, mod_seqs FROM seen WHERE account = $1 AND mailbox = $2`
	putOwn  = `INSERT INTO seen (account, mailbox, reader, first_uid, max_mod_seq, uids, flags, mod_seqs) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (account, mailbox, reader, first_uid) DO UPDATE SET max_mod_seq = excluded.max_mod_seq, uids = excluded.uids,
			flags = excluded.flags, mod_seqs = excluded.mod_seqs`
	dropOwn = `DELETE FROM seen s USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (account, mailbox, first_uid)
		WHERE s.account = k.account AND s.mailbox = k.mailbox AND s.first_uid = k.first_uid`
	dropBoxOwn = `DELETE FROM seen WHERE account = $1 AND mailbox = $2`
)

// queryReader is the query of chunks as a reader sees them.
func queryReader(tx *pgdb.ReadTx, q index.SnapshotQuery, since mailbox.ModSeq) (pgx.Rows, error) {
	if since == 0 {
		return tx.Query(readerWhole, int64(q.Reader.Account), int64(q.Account), int64(q.Mailbox))
	}
	return tx.Query(readerSince, int64(q.Reader.Account), int64(q.Account), int64(q.Mailbox), int64(since))
}

// scanReader reads one row of it.
func scanReader(rows pgx.Rows, p *mailbox.Packed, mask mailbox.Flags) error {
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
	if err := r.flush(); err != nil {
		return nil, err
	}
	found := map[mailbox.UID]*mailbox.Packed{}
	rows, err := r.tx.Query(ownChunks, int64(b.Account.ID), int64(b.ID), int64(reader), int64s(firsts))
	err = eachRow(rows, err, func() error {
		p := &mailbox.Packed{}
		err := rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs)
		found[p.FirstUID] = p
		return err
	})
	return found, err
}

func (r *rows) EachOwn(b *unit.Box, each func(*mailbox.Packed) error) error {
	if err := r.flush(); err != nil {
		return err
	}
	rows, err := r.tx.Query(eachOwn, int64(b.Account.ID), int64(b.ID))
	return eachRow(rows, err, func() error {
		var p mailbox.Packed
		if err := rows.Scan(&p.FirstUID, &p.UIDs, &p.Flags, &p.ModSeqs); err != nil {
			return err
		}
		return each(&p)
	})
}

func (r *rows) PutOwn(b *unit.Box, reader mailbox.AccountID, p *mailbox.Packed) error {
	_, err := r.tx.Exec(putOwn, int64(b.Account.ID), int64(b.ID), int64(reader), int64(p.FirstUID), int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs)
	return err
}
