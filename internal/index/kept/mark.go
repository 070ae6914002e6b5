package kept

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	accountsBehind = `SELECT account FROM account WHERE account > $1 AND timeline >= 0 ORDER BY account LIMIT $2`

	markAt   = `SELECT COALESCE(MAX(uid_next), 0) FROM uid_mark WHERE account = $1 AND mailbox = $2 AND at_ns <= $3`
	lastMark = `SELECT COALESCE(MAX(at_ns), 0) FROM uid_mark WHERE account = $1 AND mailbox = $2`
	putMark  = `INSERT INTO uid_mark (account, mailbox, uid_next, at_ns) VALUES ($1, $2, $3, $4) ON CONFLICT (account, mailbox, uid_next) DO NOTHING`
	// Older ones say less than the one that was found.
	dropMarks = `DELETE FROM uid_mark WHERE account = $1 AND mailbox = $2 AND uid_next < $3`

	// marksApart is how long after one the next mark is noted.
	marksApart = 6 * time.Hour
)

// Accounts is index.Retention's.
func (s *Store) Accounts(ctx context.Context, after mailbox.AccountID, limit int) (list []mailbox.AccountID, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		return tx.Each(accountsBehind, func(row unit.Scanner) error {
			var id int64
			err := row.Scan(&id)
			list = append(list, mailbox.AccountID(id))
			return err
		}, int64(after), int64(limit))
	})
	return list, wrap("list accounts", err)
}

// Mark is index.Retention's.
func (s *Store) Mark(ctx context.Context, account mailbox.AccountID, mbox mailbox.ID, next mailbox.UID, before time.Time, keep bool) (mailbox.UID, error) {
	var found, last int64
	read := func(tx SQL) error {
		if err := tx.Each(markAt, func(row unit.Scanner) error { return row.Scan(&found) }, int64(account), int64(mbox), before.UnixNano()); err != nil {
			return err
		}
		return tx.Each(lastMark, func(row unit.Scanner) error { return row.Scan(&last) }, int64(account), int64(mbox))
	}
	if err := s.db.ReadSQL(ctx, read); err != nil {
		return 0, wrap("read marks", err)
	}
	now := s.db.Clock()
	if !keep || now.Sub(at(last)) < marksApart {
		return mailbox.UID(found), nil
	}
	err := s.db.WriteSQL(ctx, func(tx SQL) error {
		_, err := tx.Exec(putMark, int64(account), int64(mbox), int64(next), now.UnixNano())
		if err == nil && found > 0 {
			_, err = tx.Exec(dropMarks, int64(account), int64(mbox), found)
		}
		return err
	})
	return mailbox.UID(found), wrap("note a mark", err)
}
