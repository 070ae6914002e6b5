package join

import (
	"context"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// clash asks about rows of the site that the farm must not have otherwise. Both queries give names for people.
type clash struct {
	// rows of the site: as many columns as the check has arrays.
	rows string
	// check takes arrays of the columns and finds what stands in the way.
	check string
}

var directoryClashes = []clash{
	{"SELECT name, catch_all FROM domain",
		`SELECT 'domain ' || d.name FROM unnest($1::text[], $2::text[]) AS s (name, catch_all) JOIN directory_domain d USING (name)
			WHERE d.catch_all <> s.catch_all`},
	{"SELECT CAST(id AS TEXT), address, credential FROM account",
		`SELECT 'account ' || a.address || ' (id ' || a.id || ')' FROM unnest($1::text[], $2::text[], $3::text[]) AS s (id, address, credential)
			JOIN directory_account a ON a.address = s.address OR a.id = s.id::bigint
			WHERE (a.id, a.address, a.credential) <> (s.id::bigint, s.address, s.credential)`},
	{"SELECT address, targets FROM alias",
		`SELECT 'alias ' || a.address FROM unnest($1::text[], $2::text[]) AS s (address, targets) JOIN directory_alias a USING (address)
			WHERE a.targets <> s.targets`},
	{"SELECT address FROM account",
		`SELECT 'alias ' || address FROM directory_alias WHERE address = ANY ($1::text[])`},
	{"SELECT address FROM alias",
		`SELECT 'account ' || address FROM directory_account WHERE address = ANY ($1::text[])`},
}

var indexClashes = []clash{
	{"SELECT CAST(account AS TEXT) FROM account",
		`SELECT 'mailboxes of the account with id ' || account FROM account WHERE account = ANY ($1::text[]::bigint[])`},
	{"SELECT hex(queue_id) FROM message",
		`SELECT 'message ' || encode(queue_id, 'hex') FROM message WHERE queue_id IN (SELECT decode(q, 'hex') FROM unnest($1::text[]) AS q)`},
}

const (
	clashBatch = 5000
	clashMax   = 10
)

// conflicts refuses a farm that has something else under an id or address of the site, before anything is written.
func (j *joiner) conflicts(ctx context.Context) error {
	var found []string
	for _, side := range []struct {
		read    func(context.Context, func(*sqlitedb.ReadTx) error) error
		clashes []clash
	}{{j.src.accounts.Read, directoryClashes}, {j.src.index.Read, indexClashes}} {
		for _, c := range side.clashes {
			err := side.read(ctx, func(tx *sqlitedb.ReadTx) error {
				names, err := j.dst.clashing(ctx, tx, c)
				found = append(found, names...)
				return err
			})
			if err != nil {
				return fmt.Errorf("look for conflicts: %w", err)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	more := ""
	if len(found) > clashMax {
		more = fmt.Sprintf(" and %d more", len(found)-clashMax)
		found = found[:clashMax]
	}
	return fmt.Errorf("%w: %s%s: remove it there, or take an empty farm (`mailfarm setup` without --account)", ErrConflict, strings.Join(found, ", "), more)
}

func (t *target) clashing(ctx context.Context, tx *sqlitedb.ReadTx, c clash) (found []string, err error) {
	rows, err := tx.Query(c.rows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	columns := make([][]string, len(names))
	ask := func() error {
		args := make([]any, len(columns))
		for i := range columns {
			args[i] = columns[i]
		}
		return t.db.Read(ctx, func(tx *pgdb.ReadTx) error {
			rows, err := tx.Query(c.check, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				found = append(found, name)
			}
			return rows.Err()
		})
	}
	values, to := make([]string, len(names)), make([]any, len(names))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		for i, v := range values {
			columns[i] = append(columns[i], plain(v))
		}
		if len(columns[0]) < clashBatch {
			continue
		}
		if err := ask(); err != nil {
			return nil, err
		}
		for i := range columns {
			columns[i] = columns[i][:0]
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return found, ask()
}
