package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/annotation"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Sharing is index.Sharing over a DB.
type Sharing struct{ d *DB }

// Sharing gives the access control lists of the database.
func (d *DB) Sharing() *Sharing { return &Sharing{d} }

var _ index.Sharing = (*Sharing)(nil)

// live is true of lists of mailboxes that are there, and of the account's.
const live = `(mailbox = 0 OR EXISTS (SELECT 1 FROM mailbox m WHERE m.account = acl.account AND m.mailbox = acl.mailbox))`

// array writes values as JSON, so that the texts of queries do not depend on how many there are.
func array(values []string) string {
	b, err := json.Marshal(values)
	if err != nil {
		panic("sqlite: marshal texts: " + err.Error()) // strings cannot fail
	}
	return string(b)
}

// ACL is index.Sharing's.
func (s *Sharing) ACL(ctx context.Context, account mailbox.AccountID, box mailbox.ID) (list []index.Grant, err error) {
	err = s.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		list, err = readGrants(tx, "WHERE account = ? AND mailbox = ? ORDER BY identifier", int64(account), int64(box))
		return err
	})
	return list, named(err, "read access control list")
}

// Grantees is index.Sharing's.
func (s *Sharing) Grantees(ctx context.Context, account mailbox.AccountID) (list []index.Grant, err error) {
	err = s.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		list, err = readGrants(tx, "WHERE account = ? AND "+live+" ORDER BY mailbox, identifier", int64(account))
		return err
	})
	return list, named(err, "read access control lists")
}

// SetACL is index.Sharing's.
func (s *Sharing) SetACL(ctx context.Context, c index.ACLChange) (mailbox.ModSeq, error) {
	seq, err := write(ctx, s.d, func(u *unit.Unit, r *rows) (mailbox.ModSeq, error) { return u.SetACL(r, c) })
	return seq, named(err, "set access control list")
}

// Access is index.Sharing's.
func (s *Sharing) Access(ctx context.Context, q index.AccessQuery) (a index.Access, err error) {
	account, identifiers := int64(q.Account), array(q.Identifiers)
	const mine = " AND identifier IN (SELECT value FROM json_each(?))"
	err = s.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		switch {
		case q.Box != 0:
			a.Grants, err = readGrants(tx, "WHERE account = ? AND mailbox IN (0, ?)"+mine, account, int64(q.Box), identifiers)
			return err
		case q.Names == nil:
			a.Grants, err = readGrants(tx, "WHERE account = ? AND "+live+mine, account, identifiers)
			return err
		}
		a.Named = make(map[string]mailbox.ID, len(q.Names))
		names := array(q.Names)
		rows, err := tx.Query("SELECT name, mailbox FROM mailbox WHERE account = ? AND name IN (SELECT value FROM json_each(?))", account, names)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var id int64
			if err := rows.Scan(&name, &id); err != nil {
				return err
			}
			a.Named[name] = mailbox.ID(id)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		a.Grants, err = readGrants(tx, `WHERE account = ?1 AND mailbox IN (SELECT 0 UNION ALL SELECT mailbox FROM mailbox
			WHERE account = ?1 AND name IN (SELECT value FROM json_each(?2))) AND identifier IN (SELECT value FROM json_each(?3))`,
			account, names, identifiers)
		return err
	})
	return a, named(err, "look up access")
}

func readGrants(tx *sqlitedb.ReadTx, where string, args ...any) (list []index.Grant, err error) {
	rows, err := tx.Query("SELECT mailbox, identifier, rights FROM acl "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var g index.Grant
		var rights string
		if err := rows.Scan(&g.Mailbox, &g.Identifier, &rights); err != nil {
			return nil, err
		}
		if g.Rights, err = acl.Parse(rights); err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, rows.Err()
}

// Owners is index.Sharing's.
func (s *Sharing) Owners(ctx context.Context, identifiers []string, after mailbox.AccountID, limit int) (list []mailbox.AccountID, err error) {
	err = s.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(`SELECT DISTINCT account FROM share WHERE identifier IN (SELECT value FROM json_each(?)) AND account > ?
			ORDER BY account LIMIT ?`, array(identifiers), int64(after), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id mailbox.AccountID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			list = append(list, id)
		}
		return rows.Err()
	})
	return list, named(err, "look up hints of sharing")
}

// named tells what was being done.
func named(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (r *rows) ReadACL(a *unit.Account, box mailbox.ID, identifier string) (rights string, entries int, err error) {
	err = r.tx.QueryRow("SELECT rights FROM acl WHERE account = ? AND mailbox = ? AND identifier = ?", int64(a.ID), int64(box), identifier).Scan(&rights)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", 0, err
	}
	err = r.tx.QueryRow("SELECT COUNT(*) FROM acl WHERE account = ? AND mailbox = ?", int64(a.ID), int64(box)).Scan(&entries)
	return rights, entries, err
}

func (r *rows) PutACL(a *unit.Account, box mailbox.ID, identifier, rights string) error {
	err := r.exec(`INSERT INTO acl (account, mailbox, identifier, rights) VALUES (?, ?, ?, ?)
		ON CONFLICT (account, mailbox, identifier) DO UPDATE SET rights = excluded.rights`, int64(a.ID), int64(box), identifier, rights)
	if err != nil {
		return err
	}
	return r.exec("INSERT INTO share (identifier, account) VALUES (?, ?) ON CONFLICT DO NOTHING", identifier, int64(a.ID))
}

func (r *rows) DropACL(a *unit.Account, box mailbox.ID, identifier string) error {
	if err := r.exec("DELETE FROM acl WHERE account = ? AND mailbox = ? AND identifier = ?", int64(a.ID), int64(box), identifier); err != nil {
		return err
	}
	return r.exec(`DELETE FROM share WHERE identifier = ?2 AND account = ?1
		AND NOT EXISTS (SELECT 1 FROM acl WHERE account = ?1 AND identifier = ?2 AND `+live+`)`, int64(a.ID), identifier)
}

func (r *rows) CopyACL(b *unit.Box, from mailbox.ID) error {
	err := r.exec(`INSERT INTO acl (account, mailbox, identifier, rights) SELECT account, ?, identifier, rights FROM acl
		WHERE account = ? AND mailbox = ?`, int64(b.ID), int64(b.Account.ID), int64(from))
	if err != nil {
		return err
	}
	return r.exec(`INSERT INTO share (identifier, account) SELECT identifier, account FROM acl WHERE account = ? AND mailbox = ?
		ON CONFLICT DO NOTHING`, int64(b.Account.ID), int64(b.ID))
}

func (r *rows) MoveAnnotations(b *unit.Box, from mailbox.ID) error {
	return r.exec(kept.Numbered(annotation.Move), int64(b.Account.ID), int64(from), int64(b.ID))
}

func (r *rows) CopyAnnotations(b *unit.Box, from mailbox.ID) error {
	return r.exec(kept.Numbered(annotation.Copy), annotation.CopyArgs(b.Account.ID, from, b.ID)...)
}

// dropShared ends what others have of a mailbox that goes. Its list is kept with it, within bounds.
func (r *rows) dropShared(b *unit.Box) error {
	account, id := int64(b.Account.ID), int64(b.ID)
	err := r.exec(`DELETE FROM share WHERE account = ?1 AND identifier IN (SELECT identifier FROM acl WHERE account = ?1 AND mailbox = ?2)
		AND NOT EXISTS (SELECT 1 FROM acl WHERE account = ?1 AND identifier = share.identifier AND mailbox <> ?2 AND `+live+`)`, account, id)
	if err != nil {
		return err
	}
	if err := r.exec("DELETE FROM seen WHERE account = ? AND mailbox = ?", account, id); err != nil {
		return err
	}
	return r.exec(`DELETE FROM acl WHERE account = ?1 AND mailbox = ?2
		AND (SELECT COUNT(*) FROM (SELECT 1 FROM acl WHERE account = ?1 LIMIT ?3)) >= ?3`, account, id, index.MaxKeptACL)
}
