package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// errNewTimeline is a server on another WAL timeline than the newest row of the table timeline: a standby took over.
var errNewTimeline = errors.New("database is on a new timeline")

const (
	// Where the server writes now; a promoted standby has another one from its first commit on.
	walTimeline = `substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`
	clusterID   = `SELECT system_identifier::text FROM pg_control_system()`

	firstTimeline = `INSERT INTO timeline (timeline, started_ns, reason, wal, cluster)
		SELECT 1, ` + clockNs + `, 'first', $2, $3 WHERE NOT EXISTS (SELECT 1 FROM timeline) ON CONFLICT DO NOTHING`
	// Of two processes that find a new server, one finds the other's row, in one statement or by its key. A name that is not
	// known differs from none.
	failOver = `INSERT INTO timeline (timeline, started_ns, reason, wal, cluster)
		SELECT t.timeline + 1, ` + clockNs + `, 'fail-over', $2, $3 FROM (SELECT * FROM timeline ORDER BY timeline DESC LIMIT 1) t
		WHERE $2 <> '' AND t.wal <> '' AND t.wal <> $2 OR $3 <> '' AND t.cluster <> '' AND t.cluster <> $3 ON CONFLICT DO NOTHING`
	beginTimeline = `INSERT INTO timeline (timeline, started_ns, reason, wal, cluster)
		SELECT MAX(timeline) + 1, ` + clockNs + `, $2, $3, $4 FROM timeline`
)

// beginTimeline begins a timeline where the server is not the one of the newest; what clients saw of a history that was
// lost is never given again. Every account jumps when it is next written to.
func (d *DB) beginTimeline(ctx context.Context) error {
	wal, cluster, err := d.server(ctx)
	if err != nil {
		return fmt.Errorf("look for the timeline: %w", err)
	}
	err = d.db.Write(ctx, func(tx *pgdb.Tx) error {
		for _, query := range []string{firstTimeline, failOver} {
			if n, err := tx.Exec(query, d.clock(), wal, cluster); err != nil || n > 0 {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("begin timeline: %w", full(err))
	}
	return nil
}

// BeginTimeline is called after the database was restored in a way that the server cannot tell: from a dump, or from a copy
// of its files.
func (d *DB) BeginTimeline(ctx context.Context, reason string) error {
	wal, cluster, err := d.server(ctx)
	if err == nil {
		err = d.db.Write(ctx, func(tx *pgdb.Tx) error {
			_, err := tx.Exec(beginTimeline, d.clock(), reason, wal, cluster)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("begin timeline: %w", full(err))
	}
	return nil
}

// server tells which WAL timeline and cluster this is; empty where an engine compatible with PostgreSQL has no such thing.
func (d *DB) server(ctx context.Context) (wal, cluster string, err error) {
	ask := func(query string, to *string) error {
		err := d.db.Read(ctx, func(tx *pgdb.ReadTx) error { return tx.QueryRow(query).Scan(to) })
		switch pgdb.Code(err) {
		case "42883", "42P01", "0A000", "42501": // no such function, or not for this role
			*to = ""
			return nil
		}
		return err
	}
	if err := ask("SELECT "+walTimeline, &wal); err != nil {
		return "", "", err
	}
	if wal == "" {
		d.noWAL.Store(true)
	}
	return wal, cluster, ask(clusterID, &cluster)
}

// walQuery tells the WAL timeline within a transaction.
func (d *DB) walQuery() string {
	if d.noWAL.Load() {
		return readTimelineOnly
	}
	return readTimeline
}

// Both read the newest timeline, the WAL timeline that it began on, and the server's.
const (
	readTimeline     = `SELECT timeline, wal, ` + walTimeline + ` FROM timeline ORDER BY timeline DESC LIMIT 1`
	readTimelineOnly = `SELECT timeline, wal, wal FROM timeline ORDER BY timeline DESC LIMIT 1`
)
