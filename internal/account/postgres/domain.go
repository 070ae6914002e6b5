package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const listDomains = domainColumns + `ORDER BY position`

// AddDomain implements account.Store.
func (s *Store) AddDomain(ctx context.Context, d account.Domain) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		n, err := tx.Exec(`INSERT INTO directory_domain (name, position, catch_all, created)
			SELECT $1, coalesce(max(position), 0) + 1, $2, $3 FROM directory_domain ON CONFLICT (name) DO NOTHING`,
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
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		n, err := tx.Exec(`UPDATE directory_domain SET catch_all = $1 WHERE name = $2`, address, domain)
		if err == nil && n == 0 {
			return account.ErrNotFound
		}
		return err
	})
	return wrap(err, "set catch-all of domain", domain)
}

// RemoveDomain implements account.Store.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		used, err := exists(tx, `SELECT 1 FROM directory_account WHERE domain = $1 LIMIT 1`, name)
		if err != nil {
			return err
		}
		if used {
			return account.ErrInUse
		}
		n, err := tx.Exec(`DELETE FROM directory_domain WHERE name = $1`, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return account.ErrNotFound
		}
		_, err = tx.Exec(`DELETE FROM directory_alias WHERE domain = $1`, name)
		return err
	})
	return wrap(err, "remove domain", name)
}

// Domains implements account.Store.
func (s *Store) Domains(ctx context.Context) ([]account.Domain, error) {
	var domains []account.Domain
	b := &pgx.Batch{}
	queueDomains(b, func(d *account.Domain) { domains = append(domains, *d) }, listDomains)
	if err := s.read(ctx, b); err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return domains, nil
}
