package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	domainColumns  = `SELECT name, catch_all, created FROM directory_domain `
	accountColumns = `SELECT id, address, credential, version, created, disabled FROM directory_account `
	aliasColumns   = `SELECT address, targets FROM directory_alias `

	primaryDomain     = domainColumns + `ORDER BY position LIMIT 1`
	domainsByName     = domainColumns + `WHERE name = ANY($1)`
	accountsByAddress = accountColumns + `WHERE address = ANY($1)`
	accountsByID      = accountColumns + `WHERE id = ANY($1)`
	aliasesByAddress  = aliasColumns + `WHERE address = ANY($1)`
)

// Lookup implements account.Store.
func (s *Store) Lookup(ctx context.Context, keys []account.Key) ([]account.Record, error) {
	found := make(map[account.Key]account.Record, len(keys))
	b := &pgx.Batch{}
	var names, domains []string
	for _, k := range keys {
		switch {
		case !storable(string(k)):
		case k == account.PrimaryDomain:
			queueDomains(b, func(d *account.Domain) { found[account.PrimaryDomain] = account.Record{Domain: d} }, primaryDomain)
		case k.IsDomain():
			domains = append(domains, string(k[1:]))
		default:
			names = append(names, string(k))
		}
	}
	if len(domains) > 0 {
		queueDomains(b, func(d *account.Domain) { found[account.DomainKey(d.Name)] = account.Record{Domain: d} }, domainsByName, domains)
	}
	if len(names) > 0 {
		queueAccounts(b, func(a *account.Account) { found[account.Key(a.Address)] = account.Record{Account: a} }, accountsByAddress, names)
		queueAliases(b, func(a *account.Alias) { found[account.Key(a.Address)] = account.Record{Alias: a} }, aliasesByAddress, names)
	}
	if err := s.read(ctx, b); err != nil {
		return nil, fmt.Errorf("look up %d keys: %w", len(keys), err)
	}
	records := make([]account.Record, len(keys))
	for i, k := range keys {
		records[i] = found[k]
	}
	return records, nil
}

// storable tells whether a text could stand in the database at all: what has a NUL is no address.
func storable(s string) bool { return strings.IndexByte(s, 0) < 0 }

// Accounts implements account.Store.
func (s *Store) Accounts(ctx context.Context, ids []mailbox.AccountID) ([]*account.Account, error) {
	found := make(map[mailbox.AccountID]*account.Account, len(ids))
	numbers := make([]int64, len(ids))
	for i, id := range ids {
		numbers[i] = int64(id)
	}
	b := &pgx.Batch{}
	queueAccounts(b, func(a *account.Account) { found[a.ID] = a }, accountsByID, numbers)
	if err := s.read(ctx, b); err != nil {
		return nil, fmt.Errorf("look up %d accounts: %w", len(ids), err)
	}
	accounts := make([]*account.Account, len(ids))
	for i, id := range ids {
		accounts[i] = found[id]
	}
	return accounts, nil
}

// read runs a batch in one snapshot.
func (s *Store) read(ctx context.Context, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return s.db.Read(ctx, func(tx *pgdb.ReadTx) error { return tx.Run(b) })
}

func queueDomains(b *pgx.Batch, each func(*account.Domain), query string, args ...any) {
	queueRows(b, each, func(rows pgx.Rows, d *account.Domain) error {
		var created int64
		err := rows.Scan(&d.Name, &d.CatchAll, &created)
		d.Created = time.Unix(0, created)
		return err
	}, query, args)
}

func queueAccounts(b *pgx.Batch, each func(*account.Account), query string, args ...any) {
	queueRows(b, each, func(rows pgx.Rows, a *account.Account) error {
		var id, version, created int64
		err := rows.Scan(&id, &a.Address, &a.Credential, &version, &created, &a.Disabled)
		a.ID, a.Version, a.Created = mailbox.AccountID(id), uint64(version), time.Unix(0, created)
		return err
	}, query, args)
}

func queueAliases(b *pgx.Batch, each func(*account.Alias), query string, args ...any) {
	queueRows(b, each, func(rows pgx.Rows, a *account.Alias) error {
		var targets string
		err := rows.Scan(&a.Address, &targets)
		a.Targets = strings.Split(targets, "\n")
		return err
	}, query, args)
}

// queueRows makes a batch hand over what a query finds.
func queueRows[T any](b *pgx.Batch, each func(*T), scan func(pgx.Rows, *T) error, query string, args []any) {
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			v := new(T)
			if err := scan(rows, v); err != nil {
				return err
			}
			each(v)
		}
		return rows.Err()
	})
}
