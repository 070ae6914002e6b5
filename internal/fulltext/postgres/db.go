// Package postgres keeps the full-text index in PostgreSQL, in tables of its own. It needs no extension.
package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schema names the tables' version.
func schema() (pgdb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return pgdb.Schema{}, fmt.Errorf("read migrations: %w", err)
	}
	return pgdb.Schema{Name: "fulltext", FS: files}, nil
}

// Migrate brings the tables up to what this program knows.
func Migrate(ctx context.Context, cfg pgdb.Config) error {
	s, err := schema()
	if err != nil {
		return err
	}
	return pgdb.Migrate(ctx, cfg, s)
}

// DB is the database. It is a fulltext.DB.
type DB struct{ db *pgdb.DB }

var _ fulltext.DB = (*DB)(nil)

// Options of a database; the zero value is good.
type Options struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Open connects to a database that Migrate has prepared.
func Open(ctx context.Context, cfg pgdb.Config, opts Options) (*DB, error) {
	s, err := schema()
	if err != nil {
		return nil, err
	}
	db, err := pgdb.Open(ctx, cfg, s, pgdb.Deps{Log: opts.Log, Metrics: opts.Metrics})
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// Close waits for the calls in hand and closes all connections.
func (d *DB) Close() error {
	d.db.Close()
	return nil
}

// transaction is fulltext.SQL; tx is nil in a snapshot.
type transaction struct {
	*pgdb.ReadTx
	tx *pgdb.Tx
}

func (t transaction) Each(query string, scan func(fulltext.Scanner) error, args ...any) error {
	rows, err := t.Query(query, args...)
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

func (t transaction) Exec(query string, args ...any) (int64, error) { return t.tx.Exec(query, args...) }

func (t transaction) ExecMany(query string, args [][]any) (all int64, err error) {
	b := &pgx.Batch{}
	for _, a := range args {
		b.Queue(query, a...).Exec(func(tag pgconn.CommandTag) error {
			all += tag.RowsAffected()
			return nil
		})
	}
	err = t.Run(b)
	return all, err
}

// ReadSQL is fulltext.DB's.
func (d *DB) ReadSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	return d.db.Read(ctx, func(tx *pgdb.ReadTx) error { return fn(transaction{ReadTx: tx}) })
}

// WriteSQL is fulltext.DB's.
func (d *DB) WriteSQL(ctx context.Context, fn func(fulltext.SQL) error) error {
	return d.db.Write(ctx, func(tx *pgdb.Tx) error { return fn(transaction{&tx.ReadTx, tx}) })
}
