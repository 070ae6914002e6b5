package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// AddToGroup implements account.Sharing.
func (s *Store) AddToGroup(ctx context.Context, name string, addresses []string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		if _, err := tx.Exec(`INSERT INTO grp (name) VALUES (?) ON CONFLICT DO NOTHING`, name); err != nil {
			return err
		}
		return eachMember(tx, addresses, func(id int64) error {
			_, err := tx.Exec(`INSERT INTO member (grp, account) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, id)
			return err
		})
	})
	return wrap(err, "add to group", name)
}

// RemoveFromGroup implements account.Sharing.
func (s *Store) RemoveFromGroup(ctx context.Context, name string, addresses []string) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		there, err := exists(tx, `SELECT 1 FROM grp WHERE name = ?`, name)
		if err == nil && !there {
			return account.ErrNotFound
		}
		if err != nil {
			return err
		}
		if len(addresses) > 0 {
			return eachMember(tx, addresses, func(id int64) error {
				_, err := tx.Exec(`DELETE FROM member WHERE grp = ? AND account = ?`, name, id)
				return err
			})
		}
		if _, err := tx.Exec(`DELETE FROM member WHERE grp = ?`, name); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM grp WHERE name = ?`, name)
		return err
	})
	return wrap(err, "remove from group", name)
}

// eachMember finds the accounts of addresses.
func eachMember(tx *sqlitedb.Tx, addresses []string, each func(id int64) error) error {
	for _, address := range addresses {
		var id int64
		err := tx.QueryRow(`SELECT id FROM account WHERE address = ?`, address).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("account %s: %w", address, account.ErrNotFound)
		}
		if err == nil {
			err = each(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ListGroups implements account.Sharing.
func (s *Store) ListGroups(ctx context.Context) (groups []account.Group, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return readRows(tx, `SELECT g.name, a.address FROM grp g LEFT JOIN member m ON m.grp = g.name LEFT JOIN account a ON a.id = m.account
			ORDER BY g.name, a.address`, nil, func(rows *sql.Rows) error {
			var name string
			var address sql.NullString
			if err := rows.Scan(&name, &address); err != nil {
				return err
			}
			if n := len(groups); n == 0 || groups[n-1].Name != name {
				groups = append(groups, account.Group{Name: name})
			}
			if g := &groups[len(groups)-1]; address.Valid {
				g.Members = append(g.Members, address.String)
			}
			return nil
		})
	})
	return groups, wrap(err, "list", "groups")
}

// HasGroup implements account.Sharing.
func (s *Store) HasGroup(ctx context.Context, name string) (has bool, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM grp WHERE name = ?)`, name).Scan(&has)
	})
	return has, wrap(err, "look for group", name)
}

// SetShared implements account.Sharing.
func (s *Store) SetShared(ctx context.Context, address string, shared bool) error {
	err := s.write(ctx, func(tx *sqlitedb.Tx, _ int64) error {
		return eachMember(tx, []string{address}, func(id int64) error {
			query := `DELETE FROM shared WHERE account = ?`
			if shared {
				query = `INSERT INTO shared (account) VALUES (?) ON CONFLICT DO NOTHING`
			}
			_, err := tx.Exec(query, id)
			return err
		})
	})
	return wrap(err, "mark as shared", address)
}

// Identities implements account.Sharing.
func (s *Store) Identities(ctx context.Context, ids []mailbox.AccountID) ([]account.Identity, error) {
	found := make(map[mailbox.AccountID]*account.Identity, len(ids))
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		for rest := ids; len(rest) > 0; rest = rest[min(len(rest), lookupMax):] {
			part := array(rest[:min(len(rest), lookupMax)])
			err := readRows(tx, `SELECT id, address, EXISTS (SELECT 1 FROM shared s WHERE s.account = id) FROM account
				WHERE id IN (SELECT value FROM json_each(?))`, []any{part}, func(rows *sql.Rows) error {
				var id int64
				v := &account.Identity{}
				err := rows.Scan(&id, &v.Address, &v.Shared)
				v.Account = mailbox.AccountID(id)
				found[v.Account] = v
				return err
			})
			if err != nil {
				return err
			}
			err = readRows(tx, `SELECT account, grp FROM member WHERE account IN (SELECT value FROM json_each(?)) ORDER BY grp`, []any{part},
				func(rows *sql.Rows) error {
					var id int64
					var name string
					err := rows.Scan(&id, &name)
					if v := found[mailbox.AccountID(id)]; v != nil {
						v.Groups = append(v.Groups, name)
					}
					return err
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return account.InOrder(ids, found), wrap(err, "look up", "identities")
}
