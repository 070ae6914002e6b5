package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// PutAccounts implements account.Store.
func (s *Store) PutAccounts(ctx context.Context, changes []account.Change) ([]account.Outcome, error) {
	outcomes := make([]account.Outcome, len(changes))
	err := s.write(ctx, func(tx *sqlitedb.Tx, version int64) error {
		for i := range changes {
			o, err := put(tx, version, &changes[i])
			if err != nil {
				return fmt.Errorf("put account %s: %w", changes[i].Account.Address, err)
			}
			outcomes[i] = o
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// put writes one account. Its error is the database's; what is wrong with the change is in the outcome.
func put(tx *sqlitedb.Tx, version int64, c *account.Change) (account.Outcome, error) {
	a := c.Account
	var old account.Account
	err := scanAccount(tx.QueryRow(`SELECT `+accountColumns+` FROM account WHERE address = ?`, a.Address), &old)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if c.Mode == account.Update {
			return account.Outcome{Err: account.ErrNotFound}, nil
		}
		return add(tx, version, a)
	case err != nil:
		return account.Outcome{}, err
	case c.Mode == account.Add:
		return account.Outcome{Account: old, Err: account.ErrExists}, nil
	}
	if _, err := tx.Exec(`UPDATE account SET credential = ?, version = ? WHERE id = ?`, a.Credential, version, int64(old.ID)); err != nil {
		return account.Outcome{}, err
	}
	old.Credential, old.Version = a.Credential, uint64(version)
	return account.Outcome{Account: old}, nil
}

func add(tx *sqlitedb.Tx, version int64, a account.Account) (account.Outcome, error) {
	ours, err := exists(tx, `SELECT 1 FROM domain WHERE name = ?`, a.Domain())
	if err != nil {
		return account.Outcome{}, err
	}
	if !ours {
		return account.Outcome{Err: account.ErrNoDomain}, nil
	}
	alias, err := exists(tx, `SELECT 1 FROM alias WHERE address = ?`, a.Address)
	if err != nil {
		return account.Outcome{}, err
	}
	if alias {
		return account.Outcome{Err: account.ErrIsAlias}, nil
	}
	a.Version = uint64(version)
	_, err = tx.Exec(`INSERT INTO account (id, address, domain, credential, version, created, disabled) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		int64(a.ID), a.Address, a.Domain(), a.Credential, version, a.Created.UnixNano(), a.Disabled)
	return account.Outcome{Account: a, Added: true}, err
}

// ListAccounts implements account.Store.
func (s *Store) ListAccounts(ctx context.Context, domain string) ([]account.Account, error) {
	var accounts []account.Account
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return readAccounts(tx, func(a *account.Account) { accounts = append(accounts, *a) },
			`WHERE ?1 = '' OR domain = ?1 ORDER BY address`, domain)
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}
