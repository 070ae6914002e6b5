package sqlite

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/annotation"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/imports"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
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

// plainSQL is kept.SQL.
type plainSQL struct {
	querier
	tx *sqlitedb.Tx // nil in a snapshot
}

func (s plainSQL) Each(query string, scan func(unit.Scanner) error, args ...any) error {
	rows, err := s.Query(kept.Numbered(query), args...)
	return eachRow(rows, err, func() error { return scan(rows) })
}

func (s plainSQL) EachMany(query string, scan func(unit.Scanner) error, args [][]any) error {
	for _, a := range args {
		if err := s.Each(query, scan, a...); err != nil {
			return err
		}
	}
	return nil
}

func (s plainSQL) Exec(query string, args ...any) (int64, error) {
	return s.tx.Exec(kept.Numbered(query), args...)
}

func (s plainSQL) ExecMany(query string, args [][]any) (all int64, err error) {
	for _, a := range args {
		n, err := s.Exec(query, a...)
		if all += n; err != nil {
			return all, err
		}
	}
	return all, nil
}

// ReadSQL is kept.DB's.
func (d *DB) ReadSQL(ctx context.Context, fn func(kept.SQL) error) error {
	return d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error { return fn(plainSQL{querier: tx}) })
}

// WriteSQL is kept.DB's.
func (d *DB) WriteSQL(ctx context.Context, fn func(kept.SQL) error) error {
	_, err := write(ctx, d, func(_ *unit.Unit, r *rows) (struct{}, error) {
		r.changes.ofAny()
		return struct{}{}, fn(plainSQL{r.tx, r.tx})
	})
	return err
}

// WriteAccount is kept.DB's.
func (d *DB) WriteAccount(ctx context.Context, account mailbox.AccountID, fn func(*unit.Unit, kept.SQL) error) error {
	_, err := write(ctx, d, func(u *unit.Unit, r *rows) (struct{}, error) {
		r.changes.ofAny()
		if _, err := u.Account(account); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, fn(u, plainSQL{r.tx, r.tx})
	})
	return err
}

// Clock is kept.DB's.
func (d *DB) Clock() time.Time { return d.opts.Now() }

func (r *rows) PutRemoved(b *unit.Box, removed *unit.Removed) error {
	for _, s := range kept.PutRemoved(b, removed, r.now) {
		if err := r.exec(kept.Numbered(s.Query), s.Args...); err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) PutRemovedBox(b *unit.Box) error {
	s := kept.PutRemovedBox(b, r.now)
	return r.exec(kept.Numbered(s.Query), s.Args...)
}

func (r *rows) BoxEmails(b *unit.Box, each func([]mailbox.EmailID)) error {
	return kept.BoxEmails(plainSQL{r.tx, r.tx}, b, each)
}

func (r *rows) AccountEmails(a *unit.Account, each func([]mailbox.EmailID)) error {
	return kept.AccountEmails(plainSQL{r.tx, r.tx}, a.ID, each)
}

func (r *rows) HaveEmails(a *unit.Account, emails []mailbox.EmailID) (map[mailbox.EmailID]bool, error) {
	return kept.HaveEmails(plainSQL{r.tx, r.tx}, a.ID, emails)
}
