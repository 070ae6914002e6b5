package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mailfarm/mailfarm/internal/index/annotation"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/imports"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Retention gives what is kept for undelete.
func (d *DB) Retention() *kept.Store { return kept.New(d) }

// Annotations gives what people note about mailboxes.
func (d *DB) Annotations() *annotation.Store { return annotation.New(d) }

// Imports gives what comes from elsewhere.
func (d *DB) Imports() *imports.Store { return imports.New(d) }

// Domains gives the limits of domains.
func (d *DB) Domains() *domainquota.Store { return domainquota.New(d, &d.shared.Domains) }

// Whole reads and writes whole accounts.
func (d *DB) Whole() *whole.Store { return whole.New(d) }

var _ kept.DB = (*DB)(nil)

// plainSQL is kept.SQL. flush writes what a unit has pending, so that it is seen.
type plainSQL struct {
	*pgdb.ReadTx
	tx    *pgdb.Tx // nil in a snapshot
	flush func() error
}

func (s plainSQL) Each(query string, scan func(unit.Scanner) error, args ...any) error {
	if err := s.flush(); err != nil {
		return err
	}
	rows, err := s.Query(query, args...)
	return eachRow(rows, err, func() error { return scan(rows) })
}

func (s plainSQL) EachMany(query string, scan func(unit.Scanner) error, args [][]any) error {
	if err := s.flush(); err != nil {
		return err
	}
	b := &pgx.Batch{}
	for _, a := range args {
		b.Queue(query, a...).Query(func(rows pgx.Rows) error {
			return eachRow(rows, nil, func() error { return scan(rows) })
		})
	}
	if b.Len() == 0 {
		return nil
	}
	return s.Run(b)
}

func (s plainSQL) Exec(query string, args ...any) (int64, error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	return s.tx.Exec(query, args...)
}

func (s plainSQL) ExecMany(query string, args [][]any) (all int64, err error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	b := &pgx.Batch{}
	for _, a := range args {
		b.Queue(query, a...).Exec(func(tag pgconn.CommandTag) error {
			all += tag.RowsAffected()
			return nil
		})
	}
	if b.Len() == 0 {
		return 0, nil
	}
	return all, s.Run(b)
}

func nothing() error { return nil }

// ReadSQL is kept.DB's.
func (d *DB) ReadSQL(ctx context.Context, fn func(kept.SQL) error) error {
	return d.db.Read(ctx, func(tx *pgdb.ReadTx) error { return fn(plainSQL{ReadTx: tx, flush: nothing}) })
}

// WriteSQL is kept.DB's.
func (d *DB) WriteSQL(ctx context.Context, fn func(kept.SQL) error) error {
	return full(d.db.Write(ctx, func(tx *pgdb.Tx) error { return fn(plainSQL{&tx.ReadTx, tx, nothing}) }))
}

// WriteAccount is kept.DB's.
func (d *DB) WriteAccount(ctx context.Context, account mailbox.AccountID, fn func(*unit.Unit, kept.SQL) error) error {
	_, err := write(ctx, d, load{accounts: one(account)}, func(u *unit.Unit, r *rows) (struct{}, error) {
		if _, err := u.Account(account); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, fn(u, plainSQL{&r.tx.ReadTx, r.tx, r.flush})
	})
	return err
}

// Clock is kept.DB's.
func (d *DB) Clock() time.Time { return d.now() }

// PutRemoved has the time of this process, as the row is one of many of a unit: ages of days are told from it.
func (r *rows) PutRemoved(b *unit.Box, removed *unit.Removed) error {
	r.pending.more = append(r.pending.more, kept.PutRemoved(b, removed, r.d.now().UnixNano())...)
	return nil
}

func (r *rows) PutRemovedBox(b *unit.Box) error {
	r.pending.more = append(r.pending.more, kept.PutRemovedBox(b, r.d.now().UnixNano()))
	return nil
}

func (r *rows) BoxEmails(b *unit.Box, each func([]mailbox.EmailID)) error {
	return kept.BoxEmails(plainSQL{&r.tx.ReadTx, r.tx, r.flush}, b, each)
}

func (r *rows) AccountEmails(a *unit.Account, each func([]mailbox.EmailID)) error {
	return kept.AccountEmails(plainSQL{&r.tx.ReadTx, r.tx, r.flush}, a.ID, each)
}

func (r *rows) HaveEmails(a *unit.Account, emails []mailbox.EmailID) (map[mailbox.EmailID]bool, error) {
	return kept.HaveEmails(plainSQL{&r.tx.ReadTx, r.tx, r.flush}, a.ID, emails)
}
