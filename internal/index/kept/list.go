package kept

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	removedColumns = `mod_seq, mailbox, part, kind, removed_ns, name, special_use, uid_next, keywords, uids, flags, mod_seqs, emails, sizes, received`
	removedWhere   = ` FROM removed WHERE account = $1 AND (CAST($2 AS BIGINT) = 0 OR mailbox = $3) AND removed_ns >= $4 AND removed_ns < $5 AND kind <> $6
		AND mod_seq <= $7 AND (mod_seq < $8 OR mod_seq = $9 AND (mailbox < $10 OR mailbox = $11 AND part > $12))
		ORDER BY mod_seq DESC, mailbox DESC, part LIMIT $13`
	removedRows = `SELECT ` + removedColumns + removedWhere

	removedBoxes = `SELECT mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, keywords, subscribed, removed_ns,
		(SELECT COALESCE(SUM(r.entries), 0) FROM removed r WHERE r.account = m.account AND r.mailbox = m.mailbox AND r.kind = 3),
		(SELECT COALESCE(SUM(r.octets), 0) FROM removed r WHERE r.account = m.account AND r.mailbox = m.mailbox AND r.kind = 3)
		FROM removed_mailbox m WHERE account = $1 ORDER BY removed_ns DESC, mailbox`
	// Of chunks whose mailbox is not there nobody sees anything.
	seenEmails = `SELECT emails FROM chunk c WHERE account = $1 AND EXISTS (SELECT 1 FROM mailbox m WHERE m.account = c.account AND m.mailbox = c.mailbox)`
	keptOf     = `SELECT entries, octets FROM kept WHERE account = $1`
)

// Removed is index.Retention's.
func (s *Store) Removed(ctx context.Context, q index.RemovedQuery) (rows []index.RemovedRow, err error) {
	after, until, noKind := q.After, int64(math.MaxInt64), int64(0)
	if after == (index.RowID{}) {
		after = index.RowID{ModSeq: math.MaxInt64, Mailbox: math.MaxInt64}
	}
	if !q.Until.IsZero() {
		until = q.Until.UnixNano()
	}
	since := int64(0)
	if !q.Since.IsZero() {
		since = q.Since.UnixNano()
	}
	if q.NoMoved {
		noKind = int64(index.Moved)
	}
	seq, box := int64(after.ModSeq), int64(after.Mailbox)
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		rows = nil
		return tx.Each(removedRows, func(row unit.Scanner) error {
			r, err := scanRemoved(row)
			rows = append(rows, r)
			return err
		}, int64(q.Account), int64(q.Mailbox), int64(q.Mailbox), since, until, noKind, seq, seq, seq, box, box, int64(after.Part), int64(q.Limit))
	})
	return rows, wrap(fmt.Sprintf("read what was removed of account %d", q.Account), err)
}

func scanRemoved(row unit.Scanner) (r index.RemovedRow, err error) {
	var seq, box, part, kind, removed, next int64
	var keywords string
	p := &r.Entries
	err = row.Scan(&seq, &box, &part, &kind, &removed, &r.Name, &r.SpecialUse, &next, &keywords,
		&p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received)
	r.ModSeq, r.Mailbox, r.Part = mailbox.ModSeq(seq), mailbox.ID(box), int(part)
	r.Kind, r.Removed, r.UIDNext, r.Keywords = index.Kind(kind), at(removed), mailbox.UID(next), unit.KeywordsOf(keywords)
	return r, err
}

// RemovedMailboxes is index.Retention's.
func (s *Store) RemovedMailboxes(ctx context.Context, account mailbox.AccountID) (list []index.RemovedMailbox, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		return tx.Each(removedBoxes, func(row unit.Scanner) error {
			var m index.RemovedMailbox
			var id, validity, next, seq, subscribed, removed, messages int64
			var keywords string
			err := row.Scan(&id, &m.Name, &m.SpecialUse, &validity, &next, &seq, &keywords, &subscribed, &removed, &messages, &m.Size)
			m.ID, m.UIDValidity, m.UIDNext = mailbox.ID(id), mailbox.UIDValidity(validity), mailbox.UID(next)
			m.HighestModSeq, m.Subscribed, m.Removed = mailbox.ModSeq(seq), subscribed != 0, at(removed)
			m.Messages, m.Keywords = uint32(messages), unit.KeywordsOf(keywords)
			list = append(list, m)
			return err
		}, int64(account))
	})
	return list, wrap(fmt.Sprintf("read removed mailboxes of account %d", account), err)
}

// Placed is index.Retention's.
func (s *Store) Placed(ctx context.Context, account mailbox.AccountID, emails []mailbox.EmailID) (placed map[mailbox.EmailID]bool, err error) {
	asked := make(map[mailbox.EmailID]bool, len(emails))
	for _, e := range emails {
		asked[e] = true
	}
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		placed = map[mailbox.EmailID]bool{}
		return AccountEmails(tx, account, func(ids []mailbox.EmailID) {
			for _, e := range ids {
				if asked[e] {
					placed[e] = true
				}
			}
		})
	})
	return placed, wrap(fmt.Sprintf("read entries of account %d", account), err)
}

// Restore is index.Retention's.
func (s *Store) Restore(ctx context.Context, q index.Restore) (r index.RestoreResult, err error) {
	err = s.db.WriteAccount(ctx, q.Account, func(u *unit.Unit, _ SQL) (err error) {
		r, err = u.Restore(&q)
		return err
	})
	if err != nil {
		return index.RestoreResult{}, fmt.Errorf("restore into %q: %w", q.Target, err)
	}
	return r, nil
}

// Kept is index.Retention's.
func (s *Store) Kept(ctx context.Context, account mailbox.AccountID) (k index.Kept, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		k = index.Kept{}
		return tx.Each(keptOf, func(row unit.Scanner) error { return row.Scan(&k.Entries, &k.Octets) }, int64(account))
	})
	return k, wrap(fmt.Sprintf("read what is kept of account %d", account), err)
}

const (
	setHold   = `INSERT INTO legal_hold (account, set_ns, reason) VALUES ($1, $2, $3) ON CONFLICT (account) DO UPDATE SET reason = excluded.reason`
	clearHold = `DELETE FROM legal_hold WHERE account = $1`
	holds     = `SELECT account, set_ns, reason FROM legal_hold WHERE CAST($1 AS BIGINT) = 0 OR account = $2 ORDER BY account`

	setRule   = `INSERT INTO retention_rule (account, domain, folder, keep_ns) VALUES ($1, $2, $3, $4) ON CONFLICT (account, domain, folder) DO UPDATE SET keep_ns = excluded.keep_ns`
	clearRule = `DELETE FROM retention_rule WHERE account = $1 AND domain = $2 AND folder = $3`
	allRules  = `SELECT account, domain, folder, keep_ns FROM retention_rule ORDER BY account, domain, folder`
	// What a rule changes is looked at again: it may be due now.
	lookAgain = `UPDATE kept SET next_ns = 0 WHERE CAST($1 AS BIGINT) = 0 OR account = $2`
)

// Hold is index.Retention's.
func (s *Store) Hold(ctx context.Context, account mailbox.AccountID, reason string, hold bool) error {
	// Under the account's lock, so that a purge that had begun has ended when the hold is there.
	err := s.db.WriteAccount(ctx, account, func(_ *unit.Unit, tx SQL) (err error) {
		if hold {
			_, err = tx.Exec(setHold, int64(account), s.db.Clock().UnixNano(), reason)
			return err
		}
		if _, err = tx.Exec(clearHold, int64(account)); err == nil {
			_, err = tx.Exec(lookAgain, int64(account), int64(account))
		}
		return err
	})
	if errors.Is(err, index.ErrDropped) {
		err = index.ErrDropping
	}
	return wrap(fmt.Sprintf("hold account %d", account), err)
}

// Holds is index.Retention's.
func (s *Store) Holds(ctx context.Context, account mailbox.AccountID) (list []index.Hold, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		list, err = readHolds(tx, account)
		return err
	})
	return list, wrap("read legal holds", err)
}

func readHolds(tx SQL, account mailbox.AccountID) (list []index.Hold, err error) {
	err = tx.Each(holds, func(row unit.Scanner) error {
		var h index.Hold
		var id, set int64
		err := row.Scan(&id, &set, &h.Reason)
		h.Account, h.Set = mailbox.AccountID(id), at(set)
		list = append(list, h)
		return err
	}, int64(account), int64(account))
	return list, err
}

// SetRule is index.Retention's.
func (s *Store) SetRule(ctx context.Context, r index.RetentionRule) error {
	set := func(tx SQL) (err error) {
		account := int64(r.Account)
		if r.Keep < 0 {
			_, err = tx.Exec(clearRule, account, r.Domain, r.Folder)
		} else {
			_, err = tx.Exec(setRule, account, r.Domain, r.Folder, int64(r.Keep))
		}
		if err == nil {
			_, err = tx.Exec(lookAgain, account, account)
		}
		return err
	}
	if r.Account == 0 {
		return wrap("set retention", s.db.WriteSQL(ctx, set))
	}
	// Under the account's lock, so that a purge that had begun has ended when the rule is there.
	return wrap("set retention", s.db.WriteAccount(ctx, r.Account, func(_ *unit.Unit, tx SQL) error { return set(tx) }))
}

// Rules is index.Retention's.
func (s *Store) Rules(ctx context.Context) (list []index.RetentionRule, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		list, err = readRules(tx)
		return err
	})
	return list, wrap("read retention rules", err)
}

func readRules(tx SQL) (list []index.RetentionRule, err error) {
	err = tx.Each(allRules, func(row unit.Scanner) error {
		var r index.RetentionRule
		var account, keep int64
		err := row.Scan(&account, &r.Domain, &r.Folder, &keep)
		r.Account, r.Keep = mailbox.AccountID(account), time.Duration(keep)
		list = append(list, r)
		return err
	})
	return list, err
}
