package kept

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// One that is gone is only noted again where a directory of before knows it: it is told once more.
	beginDrop = `INSERT INTO dropping (account, removed_ns, forgotten) VALUES ($1, $2, 0) ON CONFLICT (account)
		DO UPDATE SET removed_ns = excluded.removed_ns, forgotten = 0 WHERE dropping.forgotten = 3`
	dropping = `SELECT account, removed_ns, forgotten FROM dropping WHERE forgotten <> 3 ORDER BY account`
	// forgotten is a unit.DropState.
	forgetting = `UPDATE dropping SET forgotten = 2 WHERE account = $1 AND forgotten = 0`
	forgotten  = `UPDATE dropping SET forgotten = 1 WHERE account = $1 AND forgotten = 2`
	keepAfter  = `DELETE FROM dropping WHERE account = $1 AND forgotten NOT IN (1, 3)`
	dropState  = `SELECT forgotten FROM dropping WHERE account = $1`

	// On no timeline an account's row tells who is about to write that there is a state to be read; all others are spared it.
	offTimelines = `UPDATE account SET timeline = -timeline WHERE account = $1 AND timeline > 0`
	onTimeline   = `UPDATE account SET timeline = -timeline WHERE account = $1 AND timeline < 0`

	// lockAccount keeps others from writing to the account until the end of the transaction. A row that is not there is not made.
	lockAccount = `UPDATE account SET account = account WHERE account = $1`

	// dropOnce is how many rows of other kinds than entries go in one step.
	dropOnce = 4096
)

// What goes with an account, in this order and so many rows at a time: what names emails before the emails, the account last.
// Whoever makes a table of mailbox data adds it here.
var dropSteps = []struct {
	query string
	big   bool // rows as large as chunks
}{
	{`DELETE FROM chunk WHERE account = $1 AND (mailbox, first_uid) IN (SELECT mailbox, first_uid FROM chunk WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM removed WHERE account = $1 AND (mailbox, mod_seq, part) IN (SELECT mailbox, mod_seq, part FROM removed WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM tombstone WHERE account = $1 AND (mailbox, mod_seq) IN (SELECT mailbox, mod_seq FROM tombstone WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM email WHERE account = $1 AND email IN (SELECT email FROM email WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM mailbox WHERE account = $1 AND mailbox IN (SELECT mailbox FROM mailbox WHERE account = $2 LIMIT $3)`, false},
	// The hints by their key, so that no look goes through those of all accounts: what has one is in a list.
	{`DELETE FROM share WHERE account = $1 AND identifier IN (SELECT a.identifier FROM acl a JOIN share s ON s.identifier = a.identifier
		AND s.account = a.account WHERE a.account = $2 LIMIT $3)`, false},
	{`DELETE FROM acl WHERE account = $1 AND (mailbox, identifier) IN (SELECT mailbox, identifier FROM acl WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM seen WHERE account = $1 AND (mailbox, reader, first_uid) IN (SELECT mailbox, reader, first_uid FROM seen WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM annotation WHERE account = $1 AND (mailbox, reader, name) IN (SELECT mailbox, reader, name FROM annotation WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM operation WHERE account = $1 AND operation IN (SELECT operation FROM operation WHERE account = $2 LIMIT $3)`, true},
	{`DELETE FROM removed_mailbox WHERE account = $1 AND mailbox IN (SELECT mailbox FROM removed_mailbox WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM subscription WHERE account = $1 AND name IN (SELECT name FROM subscription WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM uid_mark WHERE account = $1 AND (mailbox, uid_next) IN (SELECT mailbox, uid_next FROM uid_mark WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM conversation WHERE account = $1 AND id_hash IN (SELECT id_hash FROM conversation WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM imported WHERE account = $1 AND (mailbox, key) IN (SELECT mailbox, key FROM imported WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM spent_validity WHERE account = $1 AND uid_validity IN (SELECT uid_validity FROM spent_validity WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM quota WHERE account = $1 AND (root, resource) IN (SELECT root, resource FROM quota WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM quota_notice WHERE account = $1 AND account IN (SELECT account FROM quota_notice WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM expire_rule WHERE account = $1 AND (domain, folder, name) IN (SELECT domain, folder, name FROM expire_rule WHERE account = $2 LIMIT $3)`, false},
	{`DELETE FROM retention_rule WHERE account = $1 AND account IN (SELECT account FROM retention_rule WHERE account = $2 LIMIT $3)`, false},
}

var dropLast = []string{`DELETE FROM kept WHERE account = $1`, `DELETE FROM account WHERE account = $1`}

// dropDone leaves the row: see unit.Gone.
const dropDone = `UPDATE dropping SET forgotten = 3 WHERE account = $1`

// errNotForgotten is an account that the directory may still know.
var errNotForgotten = errors.New("account is not to be dropped")

// BeginDrop is index.Retention's.
func (s *Store) BeginDrop(ctx context.Context, account mailbox.AccountID, removed time.Time) error {
	return s.unheld(ctx, "begin to drop", account, func(tx SQL) error {
		_, err := tx.Exec(beginDrop, int64(account), removed.UnixNano())
		return err
	})
}

// unheld writes to an account that is not under legal hold, which it does not come under meanwhile: Hold takes the same lock.
func (s *Store) unheld(ctx context.Context, what string, account mailbox.AccountID, fn func(SQL) error) error {
	return wrap(fmt.Sprintf("%s account %d", what, account), s.db.WriteSQL(ctx, func(tx SQL) error {
		if _, err := tx.Exec(lockAccount, int64(account)); err != nil {
			return err
		}
		held, err := readHolds(tx, account)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			return index.ErrHeld
		}
		return fn(tx)
	}))
}

// ReadDropState tells how far an account is on its way out.
func ReadDropState(tx SQL, account mailbox.AccountID) (state unit.DropState, err error) {
	err = tx.Each(dropState, func(row unit.Scanner) error { return row.Scan(&state) }, int64(account))
	return state, err
}

// Dropping is index.Retention's.
func (s *Store) Dropping(ctx context.Context) (list []index.Dropping, err error) {
	err = s.db.ReadSQL(ctx, func(tx SQL) error {
		list = nil
		return tx.Each(dropping, func(row unit.Scanner) error {
			var id, removed, gone int64
			err := row.Scan(&id, &removed, &gone)
			list = append(list, index.Dropping{Account: mailbox.AccountID(id), Removed: at(removed), Forgotten: unit.DropState(gone) == unit.Forgotten})
			return err
		})
	})
	return list, wrap("read accounts to be dropped", err)
}

// Forgetting is index.Retention's.
func (s *Store) Forgetting(ctx context.Context, account mailbox.AccountID) error {
	return s.unheld(ctx, "begin to forget", account, func(tx SQL) error {
		return inOrder(tx, account, forgetting, offTimelines)
	})
}

// inOrder runs statements about an account, up to one that finds nothing to change.
func inOrder(tx SQL, account mailbox.AccountID, queries ...string) error {
	for _, q := range queries {
		if n, err := tx.Exec(q, int64(account)); err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// Forgotten is index.Retention's.
func (s *Store) Forgotten(ctx context.Context, account mailbox.AccountID) error {
	return s.exec(ctx, "note forgotten account", account, forgotten, offTimelines)
}

// Keep is index.Retention's.
func (s *Store) Keep(ctx context.Context, account mailbox.AccountID) error {
	return s.exec(ctx, "keep account", account, keepAfter, onTimeline)
}

func (s *Store) exec(ctx context.Context, what string, account mailbox.AccountID, queries ...string) error {
	return wrap(what, s.db.WriteSQL(ctx, func(tx SQL) error { return inOrder(tx, account, queries...) }))
}

// Drop is index.Retention's.
func (s *Store) Drop(ctx context.Context, account mailbox.AccountID, limit int) (done bool, err error) {
	err = s.unheld(ctx, "drop", account, func(tx SQL) error {
		done = false
		state, err := ReadDropState(tx, account)
		if err != nil {
			return err
		}
		if state != unit.Forgotten {
			return errNotForgotten
		}
		for _, step := range dropSteps {
			n := dropOnce
			if step.big {
				n = limit
			}
			gone, err := tx.Exec(step.query, int64(account), int64(account), int64(n))
			if err != nil || gone > 0 {
				return err
			}
		}
		for _, query := range append(dropLast, dropDone) {
			if _, err := tx.Exec(query, int64(account)); err != nil {
				return err
			}
		}
		done = true
		return nil
	})
	return done, err
}
