// Package sqlite keeps the full-text index in a SQLite file of its own: what is written to it never waits in the group commit
// of mail, nor mail for it.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the file. It is a fulltext.DB.
type DB struct{ db *sqlitedb.DB }

var _ fulltext.DB = (*DB)(nil)

// Open opens or makes the file at path. sqlitedb.ErrLocked where another process has it.
func Open(ctx context.Context, path string) (*DB, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	db, err := sqlitedb.Open(ctx, path, files, sqlitedb.Options{})
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// Close ends what is in hand and closes the file.
func (d *DB) Close() error { return d.db.Close() }

// querier is a transaction of either kind.
type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

// transaction is fulltext.SQL; tx is nil in a snapshot.
type transaction struct {
	querier
	tx *sqlitedb.Tx
}

// numbered is a query with SQLite's parameters.
func numbered(query string) string { return strings.ReplaceAll(query, "$", "?") }

func (t transaction) Each(query string, scan func(fulltext.Scanner) error, args ...any) error {
	rows, err := t.Query(numbered(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t transaction) Exec(query string, args ...any) (int64, error) {
	return t.tx.Exec(numbered(query), args...)
}

func (t transaction) ExecMany(query string, args [][]any) (all int64, err error) {
	query = numbered(query)
	for _, a := range args {
		n, err := t.tx.Exec(query, a...)
		if err != nil {
			return all, err
		}
		all += n
	}
	return all, nil
}

// ReadSQL is fulltext.DB's.
func (d *DB) ReadSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	return d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error { return fn(transaction{querier: tx}) })
}

// WriteSQL is fulltext.DB's.
func (d *DB) WriteSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	return d.db.Write(ctx, func(tx *sqlitedb.Tx) error { return fn(transaction{tx, tx}) })
}
