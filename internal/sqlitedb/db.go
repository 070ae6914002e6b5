// Package sqlitedb is the way mailfarm uses SQLite: one writer goroutine with group commit, a pool of readers with
// snapshots, WAL with synchronous=FULL, migrations at start, and a lock that keeps other processes out.
package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mailfarm/mailfarm/internal/filelock"
)

// Errors that callers branch on.
var (
	// ErrLocked is a database file that another process has open.
	ErrLocked = errors.New("database is in use by another process")
	// ErrFull is a disk without room. Nothing was written; it works again once there is room.
	ErrFull = errors.New("database has no room left on its disk")
	// ErrClosed is a database that is closing.
	ErrClosed = errors.New("database is closed")
)

// Options of a database; the zero value is good.
type Options struct {
	// Readers is how many read transactions may run at once. Default 4.
	Readers int
	// BatchMax is how many writes share one transaction at most. Default 512.
	BatchMax int
	// BatchTime is how long one transaction may gather before it commits. Default 20 ms; it never waits for more work.
	BatchTime time.Duration
	// Ended, where it is set, is called in the writer's goroutine when a transaction has ended, before any of its writes
	// returns: with what each told by Tell that succeeded, in their order, nil for one that told nothing. Where a transaction
	// failed it is called with one nil: it is not known for certain that nothing of it is there.
	Ended func(told []any)
}

// DB is one database file.
type DB struct {
	path    string
	lock    *filelock.Lock
	writer  *writer
	writeDB *sql.DB
	readDB  *sql.DB
	readers *readers
}

// Open opens or makes the file at path, brings its schema up to date with the goose migrations in the root of
// migrations, and starts the writer. The file's folder is flushed, so that the file survives a power cut.
func Open(ctx context.Context, path string, migrations fs.FS, opts Options) (*DB, error) {
	if opts.Readers <= 0 {
		opts.Readers = 4
	}
	if opts.BatchMax <= 0 {
		opts.BatchMax = 512
	}
	if opts.BatchTime <= 0 {
		opts.BatchTime = 20 * time.Millisecond
	}
	lock, err := filelock.Take(path + ".lock")
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("open %s: %w: end it first, or use a farm with PostgreSQL to share mailboxes between processes", path, ErrLocked)
	} else if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{path: path, lock: lock}
	if err := db.open(ctx, migrations, opts); err != nil {
		db.closeFiles()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, migrations fs.FS, opts Options) (err error) {
	pragmas := []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(0)",
		"cache_size(-16384)", "temp_store(MEMORY)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"}
	if db.writeDB, err = sql.Open("sqlite", dsn(db.path, pragmas)); err != nil {
		return err
	}
	db.writeDB.SetMaxOpenConns(1)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.writeDB, migrations)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := refuseNewer(ctx, provider); err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// mmap spares the readers a copy of each page, of the 2 GiB that SQLite maps at most: the newest rows, which are asked for
	// most, are the last of the file. The writer must see its own errors, so it goes without.
	if db.readDB, err = sql.Open("sqlite", dsn(db.path, append(pragmas, "query_only(1)", "mmap_size(2147483648)"))); err != nil {
		return err
	}
	db.readDB.SetMaxOpenConns(opts.Readers)
	db.readDB.SetMaxIdleConns(opts.Readers)
	db.readers = newReaders(db.readDB, opts.Readers)
	if err := syncDir(filepath.Dir(db.path)); err != nil {
		return err
	}
	db.writer, err = startWriter(db.writeDB, opts)
	return err
}

// refuseNewer keeps an older program away from a schema that it does not know.
func refuseNewer(ctx context.Context, p *goose.Provider) error {
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	var known int64
	for _, s := range p.ListSources() {
		known = max(known, s.Version)
	}
	if have > known {
		return fmt.Errorf("schema version %d is newer than this program's %d: start a newer mailfarm", have, known)
	}
	return nil
}

func dsn(path string, pragmas []string) string {
	v := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		v.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode()
}

// syncDir flushes a folder, so that files made in it are there after a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Path is the file's.
func (db *DB) Path() string { return db.path }

// Write runs fn in a write transaction and returns once it is durable.
//
// Writes that wait at the same time share a transaction and its flush. Each sees what those before it wrote; one that
// returns an error is undone alone. fn runs once, in the writer's goroutine: it must not wait for anything but the
// database. After a failed commit nothing of the batch is visible. Errors: fn's own; ErrFull; ErrClosed; anything else
// leaves it undone. When ctx ends first the outcome is unknown.
func (db *DB) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return db.writer.do(ctx, fn)
}

// Read runs fn in one snapshot. Statements stay prepared for later reads.
func (db *DB) Read(ctx context.Context, fn func(tx *ReadTx) error) error {
	return db.readers.read(ctx, fn)
}

// Close ends the writer after what it has in hand, and closes the file.
func (db *DB) Close() error {
	if db.writer != nil {
		db.writer.stop()
	}
	return db.closeFiles()
}

func (db *DB) closeFiles() error {
	var errs []error
	if db.readers != nil {
		db.readers.close()
	}
	for _, d := range []*sql.DB{db.readDB, db.writeDB} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	errs = append(errs, db.lock.Release())
	return errors.Join(errs...)
}

// classify names the errors that callers branch on.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_IOERR && strings.Contains(err.Error(), "no space") {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
