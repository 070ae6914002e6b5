package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// SetAlias implements account.Store.
func (s *Store) SetAlias(ctx context.Context, a account.Alias) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		domain := a.Domain()
		if domain != "" {
			ours, err := exists(tx, `SELECT 1 FROM domain WHERE name = ?`, domain)
			if err != nil {
				return err
			}
			if !ours {
				return account.ErrNoDomain
			}
		}
		taken, err := exists(tx, `SELECT 1 FROM account WHERE address = ?`, a.Address)
		if err != nil {
			return err
		}
		if taken {
			return account.ErrIsAccount
		}
		_, err = tx.Exec(`INSERT INTO alias (address, domain, targets) VALUES (?, ?, ?)
			ON CONFLICT (address) DO UPDATE SET targets = excluded.targets`, a.Address, domain, strings.Join(a.Targets, "\n"))
		return err
	})
	return wrap(err, "set alias", a.Address)
}

// RemoveAlias implements account.Store.
func (s *Store) RemoveAlias(ctx context.Context, address string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		n, err := tx.Exec(`DELETE FROM alias WHERE address = ?`, address)
		if err == nil && n == 0 {
			return account.ErrNotFound
		}
		return err
	})
	return wrap(err, "remove alias", address)
}

// ListAliases implements account.Store.
func (s *Store) ListAliases(ctx context.Context, domain string) ([]account.Alias, error) {
	var aliases []account.Alias
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return readAliases(tx, func(a *account.Alias) { aliases = append(aliases, *a) },
			`WHERE ?1 = '' OR domain = ?1 ORDER BY address`, domain)
	})
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	return aliases, nil
}
