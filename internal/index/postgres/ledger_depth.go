package postgres

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// What Depth counts goes along the index of due times.
const (
	countQueued = `SELECT count(*) FROM (SELECT FROM recipient WHERE due_ns < 9223372036854775807 LIMIT $1) q`
	countParked = `SELECT count(*) FROM (SELECT FROM recipient WHERE due_ns = 9223372036854775807 LIMIT $1) q`
	countOutbox = `SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) q`
	// lateness is below 0 where nothing is due yet.
	lateness = `SELECT ` + clockNs + ` - due_ns FROM recipient WHERE due_ns IS NOT NULL ORDER BY due_ns LIMIT 1`
)

// Depth counts what waits; see ledger.Queue.
func (l *Ledger) Depth(ctx context.Context) (ledger.Depth, error) {
	var d ledger.Depth
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		d = ledger.Depth{}
		for _, c := range []struct {
			query string
			n     *int64
		}{{countQueued, &d.Queued}, {countParked, &d.Parked}, {countOutbox, &d.Outbox}} {
			if err := tx.QueryRow(c.query, ledger.DepthMax).Scan(c.n); err != nil {
				return err
			}
		}
		var late int64
		rows, err := tx.Query(lateness, l.clock())
		err = eachRow(rows, err, func() error { return rows.Scan(&late) })
		d.Late = time.Duration(max(late, 0))
		return err
	})
	return d, wrap("measure the queue", err)
}
