package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Purge is reclaim.Books'. Each account is one write, in which COPY cannot come between the look and the removal.
func (b *Books) Purge(ctx context.Context, due, before time.Time, limit int) (purged reclaim.Purged, more bool, err error) {
	return reclaim.PurgeEach(ctx, limit, func(limit int) (accounts []mailbox.AccountID, err error) {
		err = b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
			accounts = nil
			rows, err := tx.Query(`SELECT DISTINCT account FROM tombstone t WHERE expunged_ns < ?
				AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.account = t.account) LIMIT ?`, due.UnixNano(), limit)
			return eachRow(rows, err, func() error {
				var id int64
				err := rows.Scan(&id)
				accounts = append(accounts, mailbox.AccountID(id))
				return err
			})
		})
		return accounts, err
	}, func(id mailbox.AccountID) (reclaim.Purged, error) {
		return write(ctx, b.d, func(u *unit.Unit, r *rows) (reclaim.Purged, error) { return r.purge(u, id, before.UnixNano()) })
	})
}

// purge removes an account's tombstones from before a time, and emails that nothing names any more.
func (r *rows) purge(u *unit.Unit, id mailbox.AccountID, before int64) (p reclaim.Purged, err error) {
	if _, err := u.Account(id); err != nil {
		return p, err
	}
	var held int
	if err := r.tx.QueryRow("SELECT COUNT(*) FROM legal_hold WHERE account = ?", int64(id)).Scan(&held); err != nil || held > 0 {
		return p, err // set since it was looked for
	}
	gone, err := r.expunged(id, "expunged_ns < ?", before)
	if err != nil {
		return p, err
	}
	if err := r.dropNamed(id, before, gone); err != nil {
		return p, err
	}
	if err := u.Step("purge.before-emails"); err != nil {
		return p, err
	}
	for email := range gone {
		n, err := r.tx.Exec("DELETE FROM email WHERE email = ? AND account = ?", int64(email), int64(id))
		if err != nil {
			return p, fmt.Errorf("remove email %d: %w", email, err)
		}
		p.Emails += int(n)
	}
	if err := u.Step("purge.before-tombstones"); err != nil {
		return p, err
	}
	// What a client saw before this one is told as a whole from now on.
	r.changes.of(id)
	if _, err := r.tx.Exec(`UPDATE mailbox SET purged_mod_seq = max(purged_mod_seq, (SELECT max(t.mod_seq) FROM tombstone t
		WHERE t.account = mailbox.account AND t.mailbox = mailbox.mailbox AND t.expunged_ns < ?1))
		WHERE account = ?2 AND mailbox IN (SELECT mailbox FROM tombstone WHERE account = ?2 AND expunged_ns < ?1)`, before, int64(id)); err != nil {
		return p, fmt.Errorf("raise purged MODSEQ: %w", err)
	}
	n, err := r.tx.Exec("DELETE FROM tombstone WHERE account = ? AND expunged_ns < ?", int64(id), before)
	if err != nil {
		return p, fmt.Errorf("remove tombstones: %w", err)
	}
	p.Tombstones = int(n)
	return p, u.Step("purge.before-commit")
}

// expunged is the set of emails that some of an account's tombstones name.
func (r *rows) expunged(id mailbox.AccountID, which string, ns int64) (map[mailbox.EmailID]bool, error) {
	set := map[mailbox.EmailID]bool{}
	err := r.eachEmails("SELECT emails FROM tombstone WHERE account = ? AND "+which, func(ids []mailbox.EmailID) {
		for _, e := range ids {
			set[e] = true
		}
	}, int64(id), ns)
	return set, err
}

// dropNamed takes those out of a set that an entry, what is kept for undelete, or a tombstone not from before a time still names.
func (r *rows) dropNamed(id mailbox.AccountID, before int64, set map[mailbox.EmailID]bool) error {
	drop := func(ids []mailbox.EmailID) {
		for _, e := range ids {
			delete(set, e)
		}
	}
	if err := r.eachEmails("SELECT emails FROM tombstone WHERE account = ? AND expunged_ns >= ?", drop, int64(id), before); err != nil {
		return err
	}
	if err := r.eachEmails("SELECT emails FROM removed WHERE account = ?", drop, int64(id)); err != nil {
		return err
	}
	return r.eachEmails("SELECT emails FROM chunk WHERE account = ?", drop, int64(id))
}

// eachEmails unpacks a column of emails.
func (r *rows) eachEmails(query string, each func([]mailbox.EmailID), args ...any) error {
	rows, err := r.tx.Query(query, args...)
	var ids []mailbox.EmailID
	err = eachRow(rows, err, func() error {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return err
		}
		var err error
		ids, err = mailbox.AllEmails(slices.Delete(ids, 0, len(ids)), b)
		each(ids)
		return err
	})
	if err != nil {
		return fmt.Errorf("read emails: %w", err)
	}
	return nil
}
