// Package pgdb is the way mailfarm uses PostgreSQL: a pool with limits, transactions that are begun anew where the server
// undid them, snapshots for readers, and migrations that one process runs while the others check the schema.
package pgdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Deps of a database; the zero value is good.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// DB is a pool of connections to one database.
type DB struct {
	pool    *pgxpool.Pool
	cfg     Config
	log     *slog.Logger
	away    atomic.Bool
	metrics *metrics
}

// Open connects to the database and checks its schema, which Migrate has made. ErrAway, ErrSchema.
func Open(ctx context.Context, cfg Config, schema Schema, deps Deps) (*DB, error) {
	cfg = cfg.withDefaults()
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	c, err := poolConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{pool: pool, cfg: cfg, log: deps.Log}
	if db.metrics, err = newMetrics(db, schema.Name, deps.Metrics); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := db.check(ctx, schema); err != nil {
		db.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

func poolConfig(cfg Config) (*pgxpool.Config, error) {
	if cfg.URL == "" {
		return nil, errors.New("url is empty")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("url: not a PostgreSQL URL, or a file that it names cannot be read")
	}
	if cfg.PasswordFile != "" {
		if _, err := password(cfg.PasswordFile); err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
	}
	c.MaxConns = int32(cfg.MaxConns)
	c.MinIdleConns = 1
	c.PingTimeout = cfg.ConnectTimeout
	c.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	if c.ConnConfig.ValidateConnect == nil {
		// Of several hosts the one that takes writes; a standby alone is refused.
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	// A call that ends early ends its statement on the server too, so that it holds no row any longer.
	c.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	c.ConnConfig.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			conn.CustomData()[warning] = n.Message
		}
	}
	if cfg.PasswordFile != "" {
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			p, err := password(cfg.PasswordFile)
			c.Password = p
			return err
		}
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return prepareSession(ctx, conn, cfg) }
	return c, nil
}

// prepareSession sets the limits of a session; its commits are durable whatever the server's default is.
//
// Statements go by keys and their plans are kept: one that was made while a table was small, as on the first day, would read
// all of it until the server looks at its plans again. It is to choose among indexes, then, as long as there is one.
func prepareSession(ctx context.Context, conn *pgx.Conn, cfg Config) error {
	_, err := conn.Exec(ctx, `SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $3, false),
		CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', false) END,
		set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)`,
		pgx.QueryExecModeSimpleProtocol, millis(cfg.StatementTimeout), millis(cfg.LockTimeout), millis(cfg.IdleTimeout))
	if err != nil {
		return fmt.Errorf("prepare session: %w", err)
	}
	return nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Close waits for the calls in hand and closes all connections.
func (db *DB) Close() {
	db.metrics.unregister()
	db.pool.Close()
}

// Ping tells whether the database takes writes now.
func (db *DB) Ping(ctx context.Context) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&standby); err != nil {
		return db.tell(classify(ctx, err, conn.Conn().IsClosed()))
	}
	if standby {
		return db.tell(fmt.Errorf("%w: it takes no writes", ErrAway))
	}
	return db.tell(nil)
}

// awayWait is how long a call waits for a database of which it is known that it is away.
const awayWait = 500 * time.Millisecond

// errWaited is a database that did not come while a call waited for it: the call does not wait again.
var errWaited = errors.New("it did not return in time")

// acquire takes a connection, waiting for AcquireTimeout at most; while the database is away it tries again until then.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	patience := db.cfg.AcquireTimeout
	if db.away.Load() {
		// Others have waited in vain: this call only looks whether the database is back.
		patience = min(patience, awayWait)
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		conn, err := db.pool.Acquire(wait)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("acquire connection: %w", errors.Join(ctx.Err(), err))
		case wait.Err() != nil && attempt == 0:
			if s := db.pool.Stat(); s.AcquiredConns() == s.MaxConns() {
				return nil, fmt.Errorf("acquire connection: %w: %w", ErrBusy, err)
			}
		}
		if wait.Err() != nil || !db.pause(wait, attempt) {
			return nil, db.tell(fmt.Errorf("acquire connection: %w: %w: %w", ErrAway, errWaited, err))
		}
	}
}

// pause waits a little, longer from attempt to attempt; false where ctx ended.
func (db *DB) pause(ctx context.Context, attempt int) bool {
	d := min(time.Millisecond<<min(attempt, 10), 250*time.Millisecond)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tell logs that the database went or returned, once each, and passes the error through.
func (db *DB) tell(err error) error {
	switch {
	case errors.Is(err, ErrAway):
		if !db.away.Swap(true) {
			db.log.Warn("database away", obs.Error(err))
		}
	case err == nil:
		if db.away.Load() && db.away.Swap(false) {
			db.log.Info("database returned")
		}
	}
	return err
}
