package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// lookupMax is how many keys one statement asks for; more are asked in turn, in the same snapshot.
const lookupMax = 1000

const accountColumns = `id, address, credential, version, created, disabled`

// Lookup implements account.Store.
func (s *Store) Lookup(ctx context.Context, keys []account.Key) ([]account.Record, error) {
	found := make(map[account.Key]account.Record, len(keys))
	var names, domains []string
	primary := false
	for _, k := range keys {
		switch {
		case k == account.PrimaryDomain:
			primary = true
		case k.IsDomain():
			domains = append(domains, string(k[1:]))
		default:
			names = append(names, string(k))
		}
	}
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		if primary {
			if err := readDomains(tx, found, `ORDER BY position LIMIT 1`); err != nil {
				return err
			}
			for _, r := range found {
				found[account.PrimaryDomain] = r
				break
			}
		}
		for len(domains) > 0 {
			part := domains[:min(len(domains), lookupMax)]
			domains = domains[len(part):]
			if err := readDomains(tx, found, `WHERE name IN (SELECT value FROM json_each(?))`, array(part)); err != nil {
				return err
			}
		}
		for len(names) > 0 {
			part := array(names[:min(len(names), lookupMax)])
			names = names[min(len(names), lookupMax):]
			if err := readAccounts(tx, func(a *account.Account) { found[account.Key(a.Address)] = account.Record{Account: a} },
				`WHERE address IN (SELECT value FROM json_each(?))`, part); err != nil {
				return err
			}
			if err := readAliases(tx, func(a *account.Alias) { found[account.Key(a.Address)] = account.Record{Alias: a} },
				`WHERE address IN (SELECT value FROM json_each(?))`, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d keys: %w", len(keys), err)
	}
	records := make([]account.Record, len(keys))
	for i, k := range keys {
		records[i] = found[k]
	}
	return records, nil
}

// array writes values as JSON, so that the statement's text does not depend on their number.
func array[T string | mailbox.AccountID](values []T) string {
	b, err := json.Marshal(values)
	if err != nil {
		panic("sqlite: marshal keys: " + err.Error()) // neither strings nor numbers can fail
	}
	return string(b)
}

// Accounts implements account.Store.
func (s *Store) Accounts(ctx context.Context, ids []mailbox.AccountID) ([]*account.Account, error) {
	found := make(map[mailbox.AccountID]*account.Account, len(ids))
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		for rest := ids; len(rest) > 0; rest = rest[min(len(rest), lookupMax):] {
			err := readAccounts(tx, func(a *account.Account) { found[a.ID] = a },
				`WHERE id IN (SELECT value FROM json_each(?))`, array(rest[:min(len(rest), lookupMax)]))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d accounts: %w", len(ids), err)
	}
	accounts := make([]*account.Account, len(ids))
	for i, id := range ids {
		accounts[i] = found[id]
	}
	return accounts, nil
}

func readDomains(tx *sqlitedb.ReadTx, into map[account.Key]account.Record, where string, args ...any) error {
	return readRows(tx, `SELECT name, catch_all, created FROM domain `+where, args, func(rows *sql.Rows) error {
		d, err := scanDomain(rows)
		into[account.DomainKey(d.Name)] = account.Record{Domain: &d}
		return err
	})
}

func scanDomain(rows *sql.Rows) (d account.Domain, err error) {
	var created int64
	err = rows.Scan(&d.Name, &d.CatchAll, &created)
	d.Created = time.Unix(0, created)
	return d, err
}

func readAccounts(tx *sqlitedb.ReadTx, each func(*account.Account), where string, args ...any) error {
	return readRows(tx, `SELECT `+accountColumns+` FROM account `+where, args, func(rows *sql.Rows) error {
		a := new(account.Account)
		err := scanAccount(rows, a)
		each(a)
		return err
	})
}

func scanAccount(row interface{ Scan(...any) error }, a *account.Account) error {
	var id, version, created int64
	err := row.Scan(&id, &a.Address, &a.Credential, &version, &created, &a.Disabled)
	a.ID, a.Version, a.Created = mailbox.AccountID(id), uint64(version), time.Unix(0, created)
	return err
}

func readAliases(tx *sqlitedb.ReadTx, each func(*account.Alias), where string, args ...any) error {
	return readRows(tx, `SELECT address, targets FROM alias `+where, args, func(rows *sql.Rows) error {
		a := new(account.Alias)
		var targets string
		err := rows.Scan(&a.Address, &targets)
		a.Targets = strings.Split(targets, "\n")
		each(a)
		return err
	})
}

func readRows(tx *sqlitedb.ReadTx, query string, args []any, each func(*sql.Rows) error) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
