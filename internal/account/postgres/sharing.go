package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// AddToGroup implements account.Sharing.
func (s *Store) AddToGroup(ctx context.Context, name string, addresses []string) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		ids, err := idsOf(tx, addresses)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO directory_group (name) VALUES ($1) ON CONFLICT DO NOTHING`, name); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO directory_member (grp, account) SELECT $1, a FROM unnest($2::bigint[]) AS a ON CONFLICT DO NOTHING`, name, ids)
		return err
	})
	return wrap(err, "add to group", name)
}

// RemoveFromGroup implements account.Sharing.
func (s *Store) RemoveFromGroup(ctx context.Context, name string, addresses []string) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		there, err := exists(tx, `SELECT 1 FROM directory_group WHERE name = $1`, name)
		if err == nil && !there {
			return account.ErrNotFound
		}
		if err != nil {
			return err
		}
		if len(addresses) > 0 {
			ids, err := idsOf(tx, addresses)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`DELETE FROM directory_member WHERE grp = $1 AND account = ANY($2::bigint[])`, name, ids)
			return err
		}
		if _, err := tx.Exec(`DELETE FROM directory_member WHERE grp = $1`, name); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM directory_group WHERE name = $1`, name)
		return err
	})
	return wrap(err, "remove from group", name)
}

// idsOf finds the accounts of addresses.
func idsOf(tx *pgdb.Tx, addresses []string) ([]int64, error) {
	found := make(map[string]int64, len(addresses))
	b := &pgx.Batch{}
	queueAccounts(b, func(a *account.Account) { found[a.Address] = int64(a.ID) }, accountsByAddress, addresses)
	if err := tx.Run(b); err != nil {
		return nil, err
	}
	ids := make([]int64, len(addresses))
	for i, address := range addresses {
		id, ok := found[address]
		if !ok {
			return nil, fmt.Errorf("account %s: %w", address, account.ErrNotFound)
		}
		ids[i] = id
	}
	return ids, nil
}

const listGroups = `SELECT g.name, coalesce(a.address, '') FROM directory_group g LEFT JOIN directory_member m ON m.grp = g.name
	LEFT JOIN directory_account a ON a.id = m.account ORDER BY g.name, a.address`

// ListGroups implements account.Sharing.
func (s *Store) ListGroups(ctx context.Context) (groups []account.Group, err error) {
	b := &pgx.Batch{}
	each := func(r *[2]string) {
		if n := len(groups); n == 0 || groups[n-1].Name != r[0] {
			groups = append(groups, account.Group{Name: r[0]})
		}
		if g := &groups[len(groups)-1]; r[1] != "" {
			g.Members = append(g.Members, r[1])
		}
	}
	queueRows(b, each, func(rows pgx.Rows, r *[2]string) error { return rows.Scan(&r[0], &r[1]) }, listGroups, nil)
	return groups, wrap(s.read(ctx, b), "list", "groups")
}

// HasGroup implements account.Sharing.
func (s *Store) HasGroup(ctx context.Context, name string) (has bool, err error) {
	err = s.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM directory_group WHERE name = $1)`, name).Scan(&has)
	})
	return has, wrap(err, "look for group", name)
}

// SetShared implements account.Sharing.
func (s *Store) SetShared(ctx context.Context, address string, shared bool) error {
	err := s.write(ctx, func(tx *pgdb.Tx, _ int64) error {
		ids, err := idsOf(tx, []string{address})
		if err != nil {
			return err
		}
		query := `DELETE FROM directory_shared WHERE account = $1`
		if shared {
			query = `INSERT INTO directory_shared (account) VALUES ($1) ON CONFLICT DO NOTHING`
		}
		_, err = tx.Exec(query, ids[0])
		return err
	})
	return wrap(err, "mark as shared", address)
}

const (
	identities = `SELECT id, address, EXISTS (SELECT 1 FROM directory_shared s WHERE s.account = id) FROM directory_account WHERE id = ANY($1)`
	groupsOf   = `SELECT account, grp FROM directory_member WHERE account = ANY($1) ORDER BY grp`
)

// Identities implements account.Sharing.
func (s *Store) Identities(ctx context.Context, ids []mailbox.AccountID) ([]account.Identity, error) {
	found := make(map[mailbox.AccountID]*account.Identity, len(ids))
	numbers := make([]int64, len(ids))
	for i, id := range ids {
		numbers[i] = int64(id)
	}
	type membership struct {
		account int64
		group   string
	}
	b := &pgx.Batch{}
	queueRows(b, func(v *account.Identity) { found[v.Account] = v }, func(rows pgx.Rows, v *account.Identity) error {
		var id int64
		err := rows.Scan(&id, &v.Address, &v.Shared)
		v.Account = mailbox.AccountID(id)
		return err
	}, identities, []any{numbers})
	queueRows(b, func(m *membership) {
		if v := found[mailbox.AccountID(m.account)]; v != nil {
			v.Groups = append(v.Groups, m.group)
		}
	}, func(rows pgx.Rows, m *membership) error { return rows.Scan(&m.account, &m.group) }, groupsOf, []any{numbers})
	err := s.read(ctx, b)
	return account.InOrder(ids, found), wrap(err, "look up", "identities")
}
