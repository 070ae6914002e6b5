package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	allAliases      = aliasColumns + `ORDER BY address`
	aliasesOfDomain = aliasColumns + `WHERE domain = $1 ORDER BY address`
)

// SetAlias implements account.Store.
func (s *Store) SetAlias(ctx context.Context, a account.Alias) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		domain := a.Domain()
		if domain != "" {
			ours, err := exists(tx, `SELECT 1 FROM directory_domain WHERE name = $1`, domain)
			if err != nil {
				return err
			}
			if !ours {
				return account.ErrNoDomain
			}
		}
		taken, err := exists(tx, `SELECT 1 FROM directory_account WHERE address = $1`, a.Address)
		if err != nil {
			return err
		}
		if taken {
			return account.ErrIsAccount
		}
		_, err = tx.Exec(`INSERT INTO directory_alias (address, domain, targets) VALUES ($1, $2, $3)
			ON CONFLICT (address) DO UPDATE SET targets = excluded.targets`, a.Address, domain, strings.Join(a.Targets, "\n"))
		return err
	})
	return wrap(err, "set alias", a.Address)
}

// RemoveAlias implements account.Store.
func (s *Store) RemoveAlias(ctx context.Context, address string) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		n, err := tx.Exec(`DELETE FROM directory_alias WHERE address = $1`, address)
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
	b := &pgx.Batch{}
	each := func(a *account.Alias) { aliases = append(aliases, *a) }
	if domain == "" {
		queueAliases(b, each, allAliases)
	} else {
		queueAliases(b, each, aliasesOfDomain, domain)
	}
	if err := s.read(ctx, b); err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	return aliases, nil
}
