package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	keepRemoved = `INSERT INTO directory_removed (id, address, credential, created, disabled, removed)
		SELECT id, address, credential, created, disabled, $2 FROM directory_account WHERE address = $1`
	listRemoved   = `SELECT id, address, credential, created, disabled, removed FROM directory_removed ORDER BY address, removed DESC`
	readRemoved   = `SELECT credential, created, disabled FROM directory_removed WHERE id = $1`
	dropRemoved   = `DELETE FROM directory_removed WHERE id = $1`
	forgetRemoved = `DELETE FROM directory_removed WHERE id = $1 AND removed = $2`
	// One statement, so that both tables are as they were at one moment.
	knownAccount = `SELECT EXISTS (SELECT 1 FROM directory_account WHERE id = $1) OR EXISTS (SELECT 1 FROM directory_removed WHERE id = $1)`
)

// RemoveAccount implements account.Remover.
func (s *Store) RemoveAccount(ctx context.Context, address string, now time.Time) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		n, err := tx.Exec(keepRemoved, address, now.UnixNano())
		if err == nil && n == 0 {
			return account.ErrNotFound
		}
		if err == nil {
			_, err = tx.Exec(`DELETE FROM directory_account WHERE address = $1`, address)
		}
		return err
	})
	return wrap(err, "remove account", address)
}

// RemovedAccounts implements account.Remover.
func (s *Store) RemovedAccounts(ctx context.Context) (list []account.Removed, err error) {
	err = s.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		list = nil
		rows, err := tx.Query(listRemoved)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r account.Removed
			var id, created, removed int64
			if err := rows.Scan(&id, &r.Address, &r.Credential, &created, &r.Disabled, &removed); err != nil {
				return err
			}
			r.ID, r.Created, r.Removed = mailbox.AccountID(id), time.Unix(0, created), time.Unix(0, removed)
			list = append(list, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list removed accounts: %w", err)
	}
	return list, nil
}

// RestoreAccount implements account.Remover.
func (s *Store) RestoreAccount(ctx context.Context, id mailbox.AccountID, address string) error {
	err := s.write(ctx, func(tx *pgdb.Tx, version int64) error {
		a := account.Account{ID: id, Address: address}
		var created int64
		err := tx.QueryRow(readRemoved, int64(id)).Scan(&a.Credential, &created, &a.Disabled)
		if errors.Is(err, pgdb.ErrNoRows) {
			return account.ErrNotFound
		}
		if err != nil {
			return err
		}
		a.Created = time.Unix(0, created)
		changes := []account.Change{{Mode: account.Add, Account: a}}
		p := &putting{version: version, standing: map[string]*standing{}, ours: map[string]bool{}, aliases: map[string]bool{}}
		if err := p.read(tx, changes); err != nil {
			return err
		}
		if o := p.put(&changes[0]); o.Err != nil {
			return o.Err
		}
		if err := p.write(tx); err != nil {
			return err
		}
		_, err = tx.Exec(dropRemoved, int64(id))
		return err
	})
	return wrap(err, "restore account", address)
}

// ForgetAccount implements account.Remover.
func (s *Store) ForgetAccount(ctx context.Context, id mailbox.AccountID, removed time.Time) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		n, err := tx.Exec(forgetRemoved, int64(id), removed.UnixNano())
		if err != nil || n > 0 {
			return err
		}
		known := false
		if err := tx.QueryRow(knownAccount, int64(id)).Scan(&known); err != nil {
			return err
		}
		if known {
			return account.ErrKnown
		}
		return account.ErrNotFound
	})
	return wrap(err, "forget account", fmt.Sprint(id))
}
