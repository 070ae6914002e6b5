package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// BeginTimeline is called after the file was restored from an older copy: what clients saw of the history that was lost
// is never given again. Every account jumps when it is next written to.
func (d *DB) BeginTimeline(ctx context.Context, reason string) error {
	err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO timeline (timeline, started_ns, reason) SELECT MAX(timeline) + 1, ?, ? FROM timeline",
			d.opts.Now().UnixNano(), reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin timeline: %w", err)
	}
	return d.readTimeline(ctx)
}

func (d *DB) readTimeline(ctx context.Context) error {
	err := d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		var n int64
		if err := tx.QueryRow("SELECT MAX(timeline) FROM timeline").Scan(&n); err != nil {
			return err
		}
		d.timeline.Store(n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read timeline: %w", err)
	}
	return nil
}
