package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// "0" is the octet behind "/": what lies below a name lies between the two.
const findColumns = "SELECT " + unit.BoxColumns + `, purged_mod_seq,
	EXISTS (SELECT 1 FROM subscription s WHERE s.account = m.account AND s.name = m.name),
	EXISTS (SELECT 1 FROM mailbox c WHERE c.account = m.account AND c.name > m.name || '/' AND c.name < m.name || '0')
	FROM mailbox m WHERE account = ? AND `

// scanFound reads findColumns.
func scanFound(row sqlitedb.Row) (b knownBox, err error) {
	err = unit.ScanBox(row, &b.Mailbox, &b.purged, &b.Subscribed, &b.Children)
	return b, err
}

// Find is index.Mailboxes'.
func (m *Mailboxes) Find(ctx context.Context, id mailbox.AccountID, names []string, ids []mailbox.ID) ([]index.Found, error) {
	found, err := m.find(ctx, id, names, ids)
	if errors.Is(err, index.ErrNoAccount) {
		_, err = write(ctx, m.d, func(u *unit.Unit, _ *rows) (struct{}, error) {
			_, err := u.Account(id)
			return struct{}{}, err
		})
		if err == nil {
			found, err = m.find(ctx, id, names, ids)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find mailboxes of account %d: %w", id, err)
	}
	return found, nil
}

func (m *Mailboxes) find(ctx context.Context, id mailbox.AccountID, names []string, ids []mailbox.ID) (found []index.Found, err error) {
	if found, ok := m.d.boxes.found(id, names, ids); ok {
		return found, nil
	}
	turn := m.d.boxes.now()
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		found = make([]index.Found, len(names)+len(ids))
		any := false
		for i := range found {
			var row sqlitedb.Row
			if i < len(names) {
				row = tx.QueryRow(findColumns+"name = ?", int64(id), names[i])
			} else {
				row = tx.QueryRow(findColumns+"mailbox = ?", int64(id), int64(ids[i-len(names)]))
			}
			b, err := scanFound(row)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			} else if err != nil {
				return err
			}
			m.d.boxes.keep(turn, id, b)
			found[i], any = b.Found, true
		}
		if any {
			return nil
		}
		var one int
		err := tx.QueryRow("SELECT 1 FROM account WHERE account = ?", int64(id)).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return index.ErrNoAccount
		}
		return err
	})
	return found, err
}
