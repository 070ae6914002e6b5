// Package imports is index.Importer over whatever database the rows are in: what importers brought, by their keys. Its queries
// are of the subset of SQL that the databases share.
package imports

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	importedUID = `SELECT key, uid FROM imported WHERE account = $1 AND mailbox = $2 AND key = $3`
	putImported = `INSERT INTO imported (account, mailbox, key, uid, uidl) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account, mailbox, key) DO UPDATE SET uid = excluded.uid, uidl = excluded.uidl`
	dropImported = `DELETE FROM imported WHERE account = $1 AND mailbox = $2`
	uidls        = `SELECT uid, uidl FROM imported WHERE account = $1 AND mailbox = $2 AND uid > $3 AND uidl <> '' ORDER BY uid LIMIT $4`

	// The chunks that UIDs from $5 to $6 may be in.
	uidsBetween = `SELECT uids FROM chunk WHERE account = $1 AND mailbox = $2
		AND first_uid >= COALESCE((SELECT MAX(first_uid) FROM chunk WHERE account = $3 AND mailbox = $4 AND first_uid <= $5), 0) AND first_uid <= $6`

	// ON CONFLICT DO NOTHING: a mailbox may get a number back that it has had.
	spend      = `INSERT INTO spent_validity (account, uid_validity) VALUES ($1, $2) ON CONFLICT (account, uid_validity) DO NOTHING`
	spentCount = `SELECT (SELECT COUNT(*) FROM mailbox WHERE account = $1 AND uid_validity = $2 AND mailbox <> $3)
		+ (SELECT COUNT(*) FROM spent_validity WHERE account = $4 AND uid_validity = $5)
		+ (SELECT COUNT(*) FROM removed_mailbox WHERE account = $6 AND uid_validity = $7)`

	boxNamed = `SELECT ` + unit.BoxColumns + ` FROM mailbox WHERE account = $1 AND name = $2`
)

// Store is index.Importer.
type Store struct{ db kept.DB }

var _ index.Importer = (*Store)(nil)

// New is what importers brought into a database.
func New(db kept.DB) *Store { return &Store{db} }

// DropBox are the statements for a mailbox that goes: what was imported into it, and the UIDVALIDITY that is not to come again.
func DropBox(b *unit.Box) []kept.Statement {
	return []kept.Statement{
		{Query: dropImported, Args: []any{int64(b.Account.ID), int64(b.ID)}},
		{Query: spend, Args: []any{int64(b.Account.ID), int64(b.UIDValidity)}},
	}
}

// Import is index.Importer's.
func (s *Store) Import(ctx context.Context, q index.Import) (r index.ImportResult, err error) {
	err = s.db.WriteAccount(ctx, q.Account, func(u *unit.Unit, tx kept.SQL) (err error) {
		r, err = u.Import(rows{tx}, &q)
		return err
	})
	if err != nil {
		return index.ImportResult{}, fmt.Errorf("import: %w", err)
	}
	return r, nil
}

// Imported is index.Importer's.
func (s *Store) Imported(ctx context.Context, account mailbox.AccountID, name string, keys []index.ImportKey) (m index.Mailbox, list []index.Imported, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		m, list = index.Mailbox{}, make([]index.Imported, len(keys))
		if err := tx.Each(boxNamed, func(row unit.Scanner) error { return unit.ScanBox(row, &m) }, int64(account), name); err != nil || m.ID == 0 {
			return err
		}
		known, err := uidsOf(tx, account, m.ID, keys)
		if err != nil {
			return err
		}
		uids := make([]mailbox.UID, 0, len(known))
		for _, uid := range known {
			uids = append(uids, uid)
		}
		there, err := present(tx, account, m.ID, uids)
		if err != nil {
			return err
		}
		for i, k := range keys {
			uid, ok := known[k]
			switch {
			case ok && there[uid]:
				list[i] = index.Imported{Status: index.ImportPresent, UID: uid}
			case ok:
				list[i] = index.Imported{Status: index.ImportGone, UID: uid}
			}
		}
		return nil
	})
	if err != nil {
		return m, nil, fmt.Errorf("look for what was imported: %w", err)
	}
	return m, list, nil
}

// UIDLs is index.Importer's.
func (s *Store) UIDLs(ctx context.Context, account mailbox.AccountID, box mailbox.ID, after mailbox.UID, limit int) (list []index.UIDL, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		list = nil
		return tx.Each(uidls, func(row unit.Scanner) error {
			var uid int64
			var l index.UIDL
			err := row.Scan(&uid, &l.UIDL)
			l.UID = mailbox.UID(uid)
			list = append(list, l)
			return err
		}, int64(account), int64(box), int64(after), int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read UIDLs of mailbox %d: %w", box, err)
	}
	return list, nil
}

func uidsOf(tx kept.SQL, account mailbox.AccountID, box mailbox.ID, keys []index.ImportKey) (map[index.ImportKey]mailbox.UID, error) {
	args := make([][]any, len(keys))
	for i := range keys {
		args[i] = []any{int64(account), int64(box), keys[i][:]}
	}
	known := map[index.ImportKey]mailbox.UID{}
	err := tx.EachMany(importedUID, func(row unit.Scanner) error {
		var k index.ImportKey
		var b []byte
		var uid int64
		if err := row.Scan(&b, &uid); err != nil {
			return err
		}
		copy(k[:], b)
		known[k] = mailbox.UID(uid)
		return nil
	}, args)
	return known, err
}

func present(tx kept.SQL, account mailbox.AccountID, box mailbox.ID, uids []mailbox.UID) (map[mailbox.UID]bool, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	least, most := uids[0], uids[0]
	wanted := make(map[mailbox.UID]bool, len(uids))
	for _, uid := range uids {
		least, most, wanted[uid] = min(least, uid), max(most, uid), true
	}
	there := map[mailbox.UID]bool{}
	var list []mailbox.UID
	err := tx.Each(uidsBetween, func(row unit.Scanner) error {
		var b []byte
		err := row.Scan(&b)
		if err != nil {
			return err
		}
		if list, err = mailbox.DecodeUIDs(list[:0], b, mailbox.ChunkSize); err != nil {
			return err
		}
		for _, uid := range list {
			if wanted[uid] {
				there[uid] = true
			}
		}
		return nil
	}, int64(account), int64(box), int64(account), int64(box), int64(least), int64(most))
	return there, err
}

// rows is unit.ImportRows.
type rows struct{ tx kept.SQL }

func (r rows) ImportedUIDs(b *unit.Box, keys []index.ImportKey) (map[index.ImportKey]mailbox.UID, error) {
	return uidsOf(r.tx, b.Account.ID, b.ID, keys)
}

func (r rows) Present(b *unit.Box, uids []mailbox.UID) (map[mailbox.UID]bool, error) {
	return present(r.tx, b.Account.ID, b.ID, uids)
}

func (r rows) PutImported(b *unit.Box, list []unit.ImportedRow) error {
	args := make([][]any, len(list))
	for i := range list {
		args[i] = []any{int64(b.Account.ID), int64(b.ID), list[i].Key[:], int64(list[i].UID), list[i].UIDL}
	}
	_, err := r.tx.ExecMany(putImported, args)
	return err
}

func (r rows) ValiditySpent(b *unit.Box, v mailbox.UIDValidity) (bool, error) {
	var n int64
	account := int64(b.Account.ID)
	err := r.tx.Each(spentCount, func(row unit.Scanner) error { return row.Scan(&n) }, account, int64(v), int64(b.ID), account, int64(v), account, int64(v))
	return n > 0, err
}

func (r rows) SpendValidity(a *unit.Account, v mailbox.UIDValidity) error {
	_, err := r.tx.Exec(spend, int64(a.ID), int64(v))
	return err
}
