package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// RemoveAccount implements account.Remover.
func (s *Store) RemoveAccount(ctx context.Context, address string, now time.Time) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		n, err := tx.Exec(`INSERT INTO removed_account (id, address, credential, created, disabled, removed)
			SELECT id, address, credential, created, disabled, ? FROM account WHERE address = ?`, now.UnixNano(), address)
		if err == nil && n == 0 {
			return account.ErrNotFound
		}
		if err == nil {
			_, err = tx.Exec(`DELETE FROM account WHERE address = ?`, address)
		}
		return err
	})
	return wrap(err, "remove account", address)
}

// RemovedAccounts implements account.Remover.
func (s *Store) RemovedAccounts(ctx context.Context) (list []account.Removed, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return readRows(tx, `SELECT id, address, credential, created, disabled, removed FROM removed_account ORDER BY address, removed DESC`, nil, func(rows *sql.Rows) error {
			var r account.Removed
			var id, created, removed int64
			err := rows.Scan(&id, &r.Address, &r.Credential, &created, &r.Disabled, &removed)
			r.ID, r.Created, r.Removed = mailbox.AccountID(id), time.Unix(0, created), time.Unix(0, removed)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list removed accounts: %w", err)
	}
	return list, nil
}

// RestoreAccount implements account.Remover.
func (s *Store) RestoreAccount(ctx context.Context, id mailbox.AccountID, address string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, version int64) error {
		a := account.Account{ID: id, Address: address}
		var created int64
		err := tx.QueryRow(`SELECT credential, created, disabled FROM removed_account WHERE id = ?`, int64(id)).Scan(&a.Credential, &created, &a.Disabled)
		if errors.Is(err, sql.ErrNoRows) {
			return account.ErrNotFound
		}
		if err != nil {
			return err
		}
		if there, err := exists(tx, `SELECT 1 FROM account WHERE address = ?`, address); err != nil || there {
			return errors.Join(err, account.ErrExists)
		}
		a.Created = time.Unix(0, created)
		o, err := add(tx, version, a)
		if err = errors.Join(err, o.Err); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM removed_account WHERE id = ?`, int64(id))
		return err
	})
	return wrap(err, "restore account", address)
}

// ForgetAccount implements account.Remover.
func (s *Store) ForgetAccount(ctx context.Context, id mailbox.AccountID, removed time.Time) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		n, err := tx.Exec(`DELETE FROM removed_account WHERE id = ? AND removed = ?`, int64(id), removed.UnixNano())
		if err != nil || n > 0 {
			return err
		}
		known, err := exists(tx, `SELECT 1 FROM account WHERE id = ?1 UNION ALL SELECT 1 FROM removed_account WHERE id = ?1`, int64(id))
		if err != nil {
			return err
		}
		if known {
			return account.ErrKnown
		}
		return account.ErrNotFound
	})
	return wrap(err, "forget account", fmt.Sprint(id))
}
