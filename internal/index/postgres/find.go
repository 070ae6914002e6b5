package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// "0" is the octet behind "/": what lies below a name lies between the two.
const (
	findColumns = `SELECT k.at, ` + boxColumns + `,
		EXISTS (SELECT 1 FROM subscription s WHERE s.account = m.account AND s.name = m.name),
		EXISTS (SELECT 1 FROM mailbox c WHERE c.account = m.account AND c.name > m.name || '/' AND c.name < m.name || '0')`
	findNames = findColumns + ` FROM unnest($2::text[]) WITH ORDINALITY AS k (name, at) JOIN mailbox m ON m.account = $1 AND m.name = k.name`
	findIDs   = findColumns + ` FROM unnest($2::bigint[]) WITH ORDINALITY AS k (id, at) JOIN mailbox m ON m.account = $1 AND m.mailbox = k.id`
)

// Find is index.Mailboxes'.
func (m *Mailboxes) Find(ctx context.Context, id mailbox.AccountID, names []string, ids []mailbox.ID) ([]index.Found, error) {
	found, err := m.find(ctx, id, names, ids)
	if errors.Is(err, index.ErrNoAccount) && id != 0 && id < 1<<63 {
		if err = m.d.makeAccounts(ctx, one(id)); err == nil {
			found, err = m.find(ctx, id, names, ids)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find mailboxes of account %d: %w", id, full(err))
	}
	return found, nil
}

func (m *Mailboxes) find(ctx context.Context, id mailbox.AccountID, names []string, ids []mailbox.ID) (found []index.Found, err error) {
	err = m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		found = make([]index.Found, len(names)+len(ids))
		scan := func(first int) func(pgx.Rows) error {
			return func(rows pgx.Rows) error {
				return eachRow(rows, nil, func() error {
					var at int
					var f index.Found
					err := unit.ScanBox(before{rows, []any{&at}}, &f.Mailbox, &f.Subscribed, &f.Children)
					if err == nil {
						found[first+at-1] = f
					}
					return err
				})
			}
		}
		b := &pgx.Batch{}
		b.Queue("SELECT EXISTS (SELECT 1 FROM account WHERE account = $1)", int64(id)).QueryRow(func(row pgx.Row) error {
			var there bool
			err := row.Scan(&there)
			if err == nil && !there {
				return index.ErrNoAccount
			}
			return err
		})
		if len(names) > 0 {
			b.Queue(findNames, int64(id), names).Query(scan(0))
		}
		if len(ids) > 0 {
			b.Queue(findIDs, int64(id), int64s(ids)).Query(scan(len(names)))
		}
		return tx.Run(b)
	})
	return found, err
}
