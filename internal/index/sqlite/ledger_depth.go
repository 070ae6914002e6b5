package sqlite

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// depthOf counts along the index of due times.
const depthOf = `SELECT
	(SELECT count(*) FROM (SELECT 1 FROM recipient WHERE due_ns < ?1 LIMIT ?2)),
	(SELECT count(*) FROM (SELECT 1 FROM recipient WHERE due_ns = ?1 LIMIT ?2)),
	(SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?2)),
	coalesce((SELECT min(due_ns) FROM recipient WHERE due_ns IS NOT NULL), ?1)`

// Depth counts what waits; see ledger.Queue.
func (l *Ledger) Depth(ctx context.Context) (ledger.Depth, error) {
	var d ledger.Depth
	var first int64
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow(depthOf, int64(neverDue), ledger.DepthMax).Scan(&d.Queued, &d.Parked, &d.Outbox, &first)
	})
	d.Late = time.Duration(max(l.clock()-first, 0))
	return d, wrap("measure the queue", err)
}
