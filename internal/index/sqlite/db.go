// Package sqlite keeps index and ledger in one SQLite file, so that one group commit flushes both.
//
// The steps of a write and their order are those of a database with many writers, although here there is one.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options of a database; the zero value is good.
type Options struct {
	// SQLite are those of the file.
	SQLite sqlitedb.Options
	// QuotaSize and QuotaMessages are the defaults for accounts without a quota of their own; 0 is none.
	QuotaSize, QuotaMessages int64
	// QuotaLevels are the shares of an account's limits, percent, of which its owner is told when he passes them.
	QuotaLevels []int
	// Now is the database's clock. Default time.Now.
	Now func() time.Time
	// Fault, where it is set, is asked between the steps of a write; an error makes the write fail there. For tests.
	Fault func(step string) error
}

// DB is one file with the mailboxes and the ledger.
type DB struct {
	db   *sqlitedb.DB
	opts Options
	// timeline is the number of the current one.
	timeline atomic.Int64
	// shared is what the writes share.
	shared unit.Shared
	boxes  knownBoxes
}

// Open opens or makes the file at path. sqlitedb.ErrLocked where another process has it.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	d := &DB{opts: opts, shared: unit.Shared{QuotaSize: opts.QuotaSize, QuotaMessages: opts.QuotaMessages, QuotaLevels: opts.QuotaLevels,
		Fault: opts.Fault}}
	opts.SQLite.Ended = d.boxes.ended
	db, err := sqlitedb.Open(ctx, path, files, opts.SQLite)
	if err != nil {
		return nil, err
	}
	d.db = db
	if err := d.readTimeline(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// Read runs fn in one snapshot of all tables, for whoever copies them (internal/join).
func (d *DB) Read(ctx context.Context, fn func(*sqlitedb.ReadTx) error) error {
	return d.db.Read(ctx, fn)
}

// Close ends what is in hand and closes the file.
func (d *DB) Close() error { return d.db.Close() }
