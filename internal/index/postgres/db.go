// Package postgres keeps index and ledger in PostgreSQL, for many processes at once.
//
// Writes to an account go one behind another: its row stays locked until commit, and batches lock in the order of the
// account ids. Recipients' rows of the ledger are locked in the order of their keys, and never before accounts. Only Deliver
// writes what is keyed by account and what is keyed by queue id in one transaction.
package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is that of index and ledger.
func Schema() pgdb.Schema {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return pgdb.Schema{Name: "index", FS: files}
}

// Options of a database; the zero value is good.
type Options struct {
	// QuotaSize and QuotaMessages are the defaults for accounts without a quota of their own; 0 is none.
	QuotaSize, QuotaMessages int64
	// QuotaLevels are the shares of an account's limits, percent, of which its owner is told when he passes them.
	QuotaLevels []int
	Log         *slog.Logger
	Metrics     prometheus.Registerer
	// Now, where it is set, is the clock instead of the database's own. For tests.
	Now func() time.Time
	// Fault, where it is set, is asked between the steps of a write; an error makes the write fail there. For tests.
	Fault func(step string) error
}

// DB is a database with the mailboxes and the ledger.
type DB struct {
	db   *pgdb.DB
	opts Options
	// shared is what the writes share.
	shared unit.Shared
	// noWAL tells of a server without WAL timelines.
	noWAL atomic.Bool
}

// Open connects to a database whose schema pgdb.Migrate has made. pgdb.ErrAway, pgdb.ErrSchema.
func Open(ctx context.Context, cfg pgdb.Config, opts Options) (*DB, error) {
	db, err := pgdb.Open(ctx, cfg, Schema(), pgdb.Deps{Log: opts.Log, Metrics: opts.Metrics})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	d := &DB{db: db, opts: opts, shared: unit.Shared{QuotaSize: opts.QuotaSize, QuotaMessages: opts.QuotaMessages, QuotaLevels: opts.QuotaLevels,
		Fault: opts.Fault}}
	if err := d.beginTimeline(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("index: %w", err)
	}
	return d, nil
}

// now is this process's clock, which ids are made by; what must agree between processes goes by the database's.
func (d *DB) now() time.Time {
	if d.opts.Now != nil {
		return d.opts.Now()
	}
	return time.Now()
}

// Migrate makes or renews the schema.
func Migrate(ctx context.Context, cfg pgdb.Config) error { return pgdb.Migrate(ctx, cfg, Schema()) }

// Ping tells whether the database takes writes now.
func (d *DB) Ping(ctx context.Context) error { return d.db.Ping(ctx) }

// Close ends what is in hand.
func (d *DB) Close() error {
	d.db.Close()
	return nil
}
