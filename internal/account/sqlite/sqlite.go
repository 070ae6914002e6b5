// Package sqlite keeps the directory in a SQLite file of its own, for a farm of one process.
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// secretLen is the length of the farm's secret, octets.
const secretLen = 32

// Store implements account.Store.
type Store struct {
	db     *sqlitedb.DB
	secret []byte
}

var _ account.Store = (*Store)(nil)

// Open opens or makes the file at path. Errors are sqlitedb.Open's: ErrLocked where another process has it.
func Open(ctx context.Context, path string) (*Store, error) {
	schema, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sqlitedb.Open(ctx, path, schema, sqlitedb.Options{})
	if err != nil {
		return nil, err
	}
	s := &Store{db: db}
	if s.secret, err = s.loadSecret(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: read the secret: %w", path, err), db.Close())
	}
	return s, nil
}

// Read runs fn in one snapshot of all tables, for whoever copies them (internal/join).
func (s *Store) Read(ctx context.Context, fn func(*sqlitedb.ReadTx) error) error {
	return s.db.Read(ctx, fn)
}

// Close ends the store; calls in hand are finished first.
func (s *Store) Close() error { return s.db.Close() }

// loadSecret reads the farm's secret, or makes it.
func (s *Store) loadSecret(ctx context.Context) ([]byte, error) {
	fresh := make([]byte, secretLen)
	rand.Read(fresh)
	var secret []byte
	err := s.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(`INSERT INTO state (name, value) VALUES ('secret', ?) ON CONFLICT (name) DO NOTHING`, fresh); err != nil {
			return err
		}
		return tx.QueryRow(`SELECT value FROM state WHERE name = 'secret'`).Scan(&secret)
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// Secret implements account.Store.
func (s *Store) Secret(context.Context) ([]byte, error) { return s.secret, nil }

// Version implements account.Store.
func (s *Store) Version(ctx context.Context) (uint64, error) {
	var version int64
	err := s.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow(`SELECT value FROM state WHERE name = 'version'`).Scan(&version)
	})
	if err != nil {
		return 0, fmt.Errorf("read the directory's version: %w", err)
	}
	return uint64(version), nil
}

// write runs fn in a transaction that raises the version, and gives it the new one.
func (s *Store) write(ctx context.Context, fn func(tx *sqlitedb.Tx, version int64) error) error {
	return s.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(`UPDATE state SET value = value + 1 WHERE name = 'version'`); err != nil {
			return err
		}
		var version int64
		if err := tx.QueryRow(`SELECT value FROM state WHERE name = 'version'`).Scan(&version); err != nil {
			return err
		}
		return fn(tx, version)
	})
}

// exists tells whether a query finds a row.
func exists(tx *sqlitedb.Tx, query string, args ...any) (bool, error) {
	var one int
	err := tx.QueryRow(query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
