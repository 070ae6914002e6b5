package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/annotation"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Sharing is index.Sharing over a DB.
type Sharing struct{ d *DB }

// Sharing gives the access control lists of the database.
func (d *DB) Sharing() *Sharing { return &Sharing{d} }

var _ index.Sharing = (*Sharing)(nil)

const (
	// live is true of lists of mailboxes that are there, and of the account's.
	live = `(mailbox = 0 OR EXISTS (SELECT 1 FROM mailbox m WHERE m.account = acl.account AND m.mailbox = acl.mailbox))`

	readACL      = `SELECT mailbox, identifier, rights FROM acl WHERE account = $1 AND mailbox = $2 ORDER BY identifier`
	readGrantees = `SELECT mailbox, identifier, rights FROM acl WHERE account = $1 AND ` + live + ` ORDER BY mailbox, identifier`
	accessBox    = `SELECT mailbox, identifier, rights FROM acl WHERE account = $1 AND mailbox IN (0, $2) AND identifier = ANY($3::text[])`
	accessAll    = `SELECT mailbox, identifier, rights FROM acl WHERE account = $1 AND ` + live + ` AND identifier = ANY($2::text[])`
	accessNamed  = `SELECT mailbox, identifier, rights FROM acl WHERE account = $1 AND identifier = ANY($3::text[])
		AND mailbox IN (SELECT 0 UNION ALL SELECT mailbox FROM mailbox WHERE account = $1 AND name = ANY($2::text[]))`
	boxIDs = `SELECT name, mailbox FROM mailbox WHERE account = $1 AND name = ANY($2::text[])`
	owners = `SELECT DISTINCT account FROM share WHERE identifier = ANY($1::text[]) AND account > $2 ORDER BY account LIMIT $3`

	putACL = `INSERT INTO acl (account, mailbox, identifier, rights) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, mailbox, identifier) DO UPDATE SET rights = excluded.rights`
	putShare  = `INSERT INTO share (identifier, account) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	dropACL   = `DELETE FROM acl WHERE account = $1 AND mailbox = $2 AND identifier = $3`
	dropShare = `DELETE FROM share WHERE identifier = $2 AND account = $1
		AND NOT EXISTS (SELECT 1 FROM acl WHERE account = $1 AND identifier = $2 AND ` + live + `)`

	copyACL = `INSERT INTO acl (account, mailbox, identifier, rights) SELECT account, $3, identifier, rights FROM acl
		WHERE account = $1 AND mailbox = $2`
	copyShares    = `INSERT INTO share (identifier, account) SELECT identifier, account FROM acl WHERE account = $1 AND mailbox = $2 ON CONFLICT DO NOTHING`
	dropBoxShares = `DELETE FROM share s WHERE s.account = $1 AND s.identifier IN (SELECT identifier FROM acl WHERE account = $1 AND mailbox = $2)
		AND NOT EXISTS (SELECT 1 FROM acl WHERE account = $1 AND identifier = s.identifier AND mailbox <> $2 AND ` + live + `)`
	// A deleted mailbox's list is kept with it, within bounds.
	dropBoxACL = `DELETE FROM acl WHERE account = $1 AND mailbox = $2
		AND (SELECT COUNT(*) FROM (SELECT 1 FROM acl WHERE account = $1 LIMIT $3) n) >= $3`
)

// ACL is index.Sharing's.
func (s *Sharing) ACL(ctx context.Context, account mailbox.AccountID, box mailbox.ID) ([]index.Grant, error) {
	list, err := s.grants(ctx, readACL, int64(account), int64(box))
	return list, named(err, "read access control list")
}

// Grantees is index.Sharing's.
func (s *Sharing) Grantees(ctx context.Context, account mailbox.AccountID) ([]index.Grant, error) {
	list, err := s.grants(ctx, readGrantees, int64(account))
	return list, named(err, "read access control lists")
}

func (s *Sharing) grants(ctx context.Context, query string, args ...any) (list []index.Grant, err error) {
	err = s.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(query, args...)
		list, err = scanGrants(rows, err)
		return err
	})
	return list, err
}

func scanGrants(rows pgx.Rows, err error) (list []index.Grant, _ error) {
	err = eachRow(rows, err, func() error {
		var g index.Grant
		var rights string
		err := rows.Scan(&g.Mailbox, &g.Identifier, &rights)
		if err == nil {
			g.Rights, err = acl.Parse(rights)
		}
		list = append(list, g)
		return err
	})
	return list, err
}

// SetACL is index.Sharing's.
func (s *Sharing) SetACL(ctx context.Context, c index.ACLChange) (mailbox.ModSeq, error) {
	seq, err := write(ctx, s.d, load{accounts: one(c.Account)}, func(u *unit.Unit, r *rows) (mailbox.ModSeq, error) { return u.SetACL(r, c) })
	return seq, named(err, "set access control list")
}

// Access is index.Sharing's.
func (s *Sharing) Access(ctx context.Context, q index.AccessQuery) (a index.Access, err error) {
	account := int64(q.Account)
	switch {
	case q.Box != 0:
		a.Grants, err = s.grants(ctx, accessBox, account, int64(q.Box), q.Identifiers)
		return a, named(err, "look up access")
	case q.Names == nil:
		a.Grants, err = s.grants(ctx, accessAll, account, q.Identifiers)
		return a, named(err, "look up access")
	}
	a.Named = make(map[string]mailbox.ID, len(q.Names))
	b := &pgx.Batch{}
	b.Queue(boxIDs, account, q.Names).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var name string
			var id mailbox.ID
			err := rows.Scan(&name, &id)
			a.Named[name] = id
			return err
		})
	})
	b.Queue(accessNamed, account, q.Names, q.Identifiers).Query(func(rows pgx.Rows) (err error) {
		a.Grants, err = scanGrants(rows, nil)
		return err
	})
	err = s.d.db.Read(ctx, func(tx *pgdb.ReadTx) error { return tx.Run(b) })
	return a, named(err, "look up access")
}

// Owners is index.Sharing's.
func (s *Sharing) Owners(ctx context.Context, identifiers []string, after mailbox.AccountID, limit int) (list []mailbox.AccountID, err error) {
	err = s.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(owners, identifiers, int64(after), limit)
		return eachRow(rows, err, func() error {
			var id mailbox.AccountID
			err := rows.Scan(&id)
			list = append(list, id)
			return err
		})
	})
	return list, named(err, "look up hints of sharing")
}

// named tells what was being done.
func named(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, full(err))
}

func (r *rows) ReadACL(a *unit.Account, box mailbox.ID, identifier string) (rights string, entries int, err error) {
	if err := r.flush(); err != nil {
		return "", 0, err
	}
	err = r.tx.QueryRow("SELECT rights FROM acl WHERE account = $1 AND mailbox = $2 AND identifier = $3", int64(a.ID), int64(box), identifier).Scan(&rights)
	if err != nil && !errors.Is(err, pgdb.ErrNoRows) {
		return "", 0, err
	}
	err = r.tx.QueryRow("SELECT COUNT(*) FROM acl WHERE account = $1 AND mailbox = $2", int64(a.ID), int64(box)).Scan(&entries)
	return rights, entries, err
}

func (r *rows) PutACL(a *unit.Account, box mailbox.ID, identifier, rights string) error {
	b := &pgx.Batch{}
	b.Queue(putACL, int64(a.ID), int64(box), identifier, rights)
	b.Queue(putShare, identifier, int64(a.ID))
	return r.run(b)
}

func (r *rows) DropACL(a *unit.Account, box mailbox.ID, identifier string) error {
	b := &pgx.Batch{}
	b.Queue(dropACL, int64(a.ID), int64(box), identifier)
	b.Queue(dropShare, int64(a.ID), identifier)
	return r.run(b)
}

// copyList is a mailbox that begins with another's list.
type copyList struct {
	box  *unit.Box
	from mailbox.ID
}

func (r *rows) CopyACL(b *unit.Box, from mailbox.ID) error {
	r.pending.lists = append(r.pending.lists, copyList{b, from})
	return nil
}

func (r *rows) MoveAnnotations(b *unit.Box, from mailbox.ID) error {
	r.pending.more = append(r.pending.more, kept.Statement{Query: annotation.Move, Args: []any{int64(b.Account.ID), int64(from), int64(b.ID)}})
	return nil
}

func (r *rows) CopyAnnotations(b *unit.Box, from mailbox.ID) error {
	r.pending.more = append(r.pending.more, kept.Statement{Query: annotation.Copy, Args: annotation.CopyArgs(b.Account.ID, from, b.ID)})
	return nil
}

// queueDropShared ends what others have of a mailbox that goes.
func queueDropShared(b *pgx.Batch, box *unit.Box) {
	b.Queue(dropBoxShares, int64(box.Account.ID), int64(box.ID))
	b.Queue(dropBoxACL, int64(box.Account.ID), int64(box.ID), int64(index.MaxKeptACL))
	b.Queue(dropBoxOwn, int64(box.Account.ID), int64(box.ID))
}
