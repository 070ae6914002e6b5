package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// AddDomain implements account.Store.
func (s *Store) AddDomain(ctx context.Context, d account.Domain) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		n, err := tx.Exec(`INSERT INTO domain (name, catch_all, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			d.Name, d.CatchAll, d.Created.UnixNano())
		if err == nil && n == 0 {
			return account.ErrExists
		}
		return err
	})
	return wrap(err, "add domain", d.Name)
}

// SetCatchAll implements account.Store.
func (s *Store) SetCatchAll(ctx context.Context, domain, address string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		n, err := tx.Exec(`UPDATE domain SET catch_all = ? WHERE name = ?`, address, domain)
		if err == nil && n == 0 {
			return account.ErrNotFound
		}
		return err
	})
	return wrap(err, "set catch-all of domain", domain)
}

// RemoveDomain implements account.Store.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		used, err := exists(tx, `SELECT 1 FROM account WHERE domain = ? LIMIT 1`, name)
		if err != nil {
			return err
		}
		if used {
			return account.ErrInUse
		}
		n, err := tx.Exec(`DELETE FROM domain WHERE name = ?`, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return account.ErrNotFound
		}
		_, err = tx.Exec(`DELETE FROM alias WHERE domain = ?`, name)
		return err
	})
	return wrap(err, "remove domain", name)
}

// Domains implements account.Store.
func (s *Store) Domains(ctx context.Context) ([]account.Domain, error) {
	var domains []account.Domain
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return readRows(tx, `SELECT name, catch_all, created FROM domain ORDER BY position`, nil, func(rows *sql.Rows) error {
			d, err := scanDomain(rows)
			domains = append(domains, d)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return domains, nil
}

// wrap names the operation and its object.
func wrap(err error, operation, object string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", operation, object, err)
}
