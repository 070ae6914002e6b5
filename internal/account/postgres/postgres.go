// Package postgres keeps the directory in PostgreSQL, for a farm of many processes.
package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// secretLen is the length of the farm's secret, octets.
const secretLen = 32

// Schema is that of the directory.
func Schema() pgdb.Schema {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return pgdb.Schema{Name: "directory", FS: files}
}

// Migrate makes or renews the schema.
func Migrate(ctx context.Context, cfg pgdb.Config) error { return pgdb.Migrate(ctx, cfg, Schema()) }

// Options of a store; the zero value is good.
type Options struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Store implements account.Store. Changes go one behind another, whichever process makes them; look-ups wait for none.
type Store struct {
	db     *pgdb.DB
	secret []byte
}

var _ account.Store = (*Store)(nil)

// Open connects to a database whose schema Migrate has made. pgdb.ErrAway, pgdb.ErrSchema.
func Open(ctx context.Context, cfg pgdb.Config, opts Options) (*Store, error) {
	db, err := pgdb.Open(ctx, cfg, Schema(), pgdb.Deps{Log: opts.Log, Metrics: opts.Metrics})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s := &Store{db: db}
	if s.secret, err = s.loadSecret(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("directory: read the secret: %w", err)
	}
	return s, nil
}

// Ping tells whether the database takes writes now.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Close ends the store; calls in hand are finished first.
func (s *Store) Close() error {
	s.db.Close()
	return nil
}

// loadSecret reads the farm's secret, or makes it: of processes that do so at once the first one's stands.
func (s *Store) loadSecret(ctx context.Context) (secret []byte, err error) {
	err = s.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow(`SELECT secret FROM directory_state WHERE id = 1`).Scan(&secret)
	})
	if err != nil || len(secret) > 0 {
		return secret, err
	}
	fresh := make([]byte, secretLen)
	rand.Read(fresh)
	err = s.db.Write(ctx, func(tx *pgdb.Tx) error {
		return tx.QueryRow(`UPDATE directory_state SET secret = coalesce(secret, $1) WHERE id = 1 RETURNING secret`, fresh).Scan(&secret)
	})
	return secret, err
}

// Secret implements account.Store.
func (s *Store) Secret(context.Context) ([]byte, error) { return s.secret, nil }

// Version implements account.Store.
func (s *Store) Version(ctx context.Context) (uint64, error) {
	var version int64
	err := s.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow(`SELECT version FROM directory_state WHERE id = 1`).Scan(&version)
	})
	if err != nil {
		return 0, fmt.Errorf("read the directory's version: %w", err)
	}
	return uint64(version), nil
}

// write runs fn in a transaction that raises the version, and gives it the new one. Nobody else changes the directory
// meanwhile.
func (s *Store) write(ctx context.Context, fn func(tx *pgdb.Tx, version int64) error) error {
	return s.db.Write(ctx, func(tx *pgdb.Tx) error {
		var version int64
		err := tx.QueryRow(`UPDATE directory_state SET version = version + 1 WHERE id = 1 RETURNING version`).Scan(&version)
		if err != nil {
			return fmt.Errorf("raise the directory's version: %w", err)
		}
		return fn(tx, version)
	})
}

// exists tells whether a query finds a row.
func exists(tx *pgdb.Tx, query string, args ...any) (bool, error) {
	var one int
	err := tx.QueryRow(query, args...).Scan(&one)
	if errors.Is(err, pgdb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// wrap names the operation and its object.
func wrap(err error, operation, object string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", operation, object, err)
}
