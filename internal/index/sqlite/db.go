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
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
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
	// Now is the database's clock. Default time.Now.
	Now func() time.Time
	// Fault, where it is set, is asked between the steps of a write; an error makes the write fail there. For tests.
	Fault func(step string) error
}

// DB is one file with the mailboxes and the ledger.
type DB struct {
	db   *sqlitedb.DB
	opts Options
	ids  idSource
	// timeline is the number of the current one.
	timeline atomic.Int64
	// chunks keeps the memory of unpacked chunks.
	chunks sync.Pool
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
	db, err := sqlitedb.Open(ctx, path, files, opts.SQLite)
	if err != nil {
		return nil, err
	}
	d := &DB{db: db, opts: opts}
	if err := d.readTimeline(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// chunk gives an empty chunk.
func (d *DB) chunk() *mailbox.Chunk {
	if c, ok := d.chunks.Get().(*mailbox.Chunk); ok {
		c.Reset()
		return c
	}
	return &mailbox.Chunk{}
}

// Close ends what is in hand and closes the file.
func (d *DB) Close() error { return d.db.Close() }
