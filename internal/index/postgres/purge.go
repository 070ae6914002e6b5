package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

const (
	purgeDue = `SELECT DISTINCT account FROM tombstone t WHERE expunged_ns < $1
		AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.account = t.account) LIMIT $2`
	purgeHeld       = `SELECT COUNT(*) FROM legal_hold WHERE account = $1`
	purgeExpunged   = `SELECT emails FROM tombstone WHERE account = $1 AND expunged_ns < $2`
	purgeYounger    = `SELECT emails FROM tombstone WHERE account = $1 AND expunged_ns >= $2`
	purgeKept       = `SELECT emails FROM removed WHERE account = $1`
	purgeEntries    = `SELECT emails FROM chunk WHERE account = $1`
	purgeEmails     = `DELETE FROM email WHERE account = $1 AND email = ANY($2::bigint[])`
	purgeTombstones = `DELETE FROM tombstone WHERE account = $1 AND expunged_ns < $2`
	// What a client saw before this one is told as a whole from now on.
	purgeRaise = `UPDATE mailbox m SET purged_mod_seq = greatest(m.purged_mod_seq, t.mod_seq)
		FROM (SELECT mailbox, max(mod_seq) AS mod_seq FROM tombstone WHERE account = $1 AND expunged_ns < $2 GROUP BY mailbox) t
		WHERE m.account = $1 AND m.mailbox = t.mailbox`
)

// Purge is reclaim.Books'. Each account is one write under its lock, so that COPY cannot come between the look and the removal.
func (b *Books) Purge(ctx context.Context, due, before time.Time, limit int) (purged reclaim.Purged, more bool, err error) {
	return reclaim.PurgeEach(ctx, limit, func(limit int) (accounts []mailbox.AccountID, err error) {
		err = b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
			accounts = nil
			rows, err := tx.Query(purgeDue, due.UnixNano(), limit)
			return eachRow(rows, err, func() error {
				var id int64
				err := rows.Scan(&id)
				accounts = append(accounts, mailbox.AccountID(id))
				return err
			})
		})
		return accounts, err
	}, func(id mailbox.AccountID) (reclaim.Purged, error) {
		return write(ctx, b.d, load{accounts: one(id)}, func(u *unit.Unit, r *rows) (reclaim.Purged, error) {
			return r.purge(u, id, before.UnixNano())
		})
	})
}

// purge removes an account's tombstones from before a time, and emails that nothing names any more.
func (r *rows) purge(u *unit.Unit, id mailbox.AccountID, before int64) (p reclaim.Purged, err error) {
	if _, err := u.Account(id); err != nil {
		return p, err
	}
	var held int
	if err := r.tx.QueryRow(purgeHeld, int64(id)).Scan(&held); err != nil || held > 0 {
		return p, err // set since it was looked for
	}
	gone := map[mailbox.EmailID]bool{}
	drop := func(e mailbox.EmailID) { delete(gone, e) }
	if err := r.eachEmail(purgeExpunged, func(e mailbox.EmailID) { gone[e] = true }, int64(id), before); err != nil {
		return p, err
	}
	if err := r.eachEmail(purgeYounger, drop, int64(id), before); err != nil {
		return p, err
	}
	if err := r.eachEmail(purgeKept, drop, int64(id)); err != nil {
		return p, err
	}
	if err := r.eachEmail(purgeEntries, drop, int64(id)); err != nil {
		return p, err
	}
	ids := make([]int64, 0, len(gone))
	for e := range gone {
		ids = append(ids, int64(e))
	}
	if err := u.Step("purge.before-emails"); err != nil {
		return p, err
	}
	emails, err := r.tx.Exec(purgeEmails, int64(id), ids)
	if err != nil {
		return p, fmt.Errorf("remove emails: %w", err)
	}
	if err := u.Step("purge.before-tombstones"); err != nil {
		return p, err
	}
	if _, err := r.tx.Exec(purgeRaise, int64(id), before); err != nil {
		return p, fmt.Errorf("raise purged MODSEQ: %w", err)
	}
	tombstones, err := r.tx.Exec(purgeTombstones, int64(id), before)
	if err != nil {
		return p, fmt.Errorf("remove tombstones: %w", err)
	}
	p.Emails, p.Tombstones = int(emails), int(tombstones)
	return p, u.Step("purge.before-commit")
}

// eachEmail unpacks a column of emails.
func (r *rows) eachEmail(query string, each func(mailbox.EmailID), args ...any) error {
	found, err := r.tx.Query(query, args...)
	var ids []mailbox.EmailID
	err = eachRow(found, err, func() error {
		var b []byte
		if err := found.Scan(&b); err != nil {
			return err
		}
		var err error
		ids, err = mailbox.AllEmails(ids[:0], b)
		for _, e := range ids {
			each(e)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read emails: %w", err)
	}
	return nil
}
