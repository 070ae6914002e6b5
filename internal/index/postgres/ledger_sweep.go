package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Two statements, of which the second goes by keys: as one, a server that plans for any limit would rather read the table.
const (
	// dueRows and those of one destination lock due rows, but for those that another transaction has in hand.
	dueFrom = `SELECT queue_id, number, destination, account, grp, generation + (claim_owner <> '')::integer, forward_path, detail, notify, orcpt
		FROM recipient WHERE due_ns <= ` + clockNs
	dueLimit  = ` ORDER BY due_ns LIMIT $2 FOR UPDATE SKIP LOCKED`
	dueRows   = dueFrom + dueLimit
	dueLocal  = dueFrom + ` AND destination = 1` + dueLimit
	dueRemote = dueFrom + ` AND destination = 2` + dueLimit
	// putOff takes them. One whose claim ran out gets a new generation, so that its late owner can no longer report.
	putOff = `UPDATE recipient r SET due_ns = ` + clockNs + ` + $2::bigint, generation = r.generation + (r.claim_owner <> '')::integer,
			claim_owner = '', claim_ns = 0
		FROM unnest($3::bytea[], $4::bigint[]) AS k (queue_id, number) WHERE r.queue_id = k.queue_id AND r.number = k.number`
)

var sweeps = map[ledger.SweepOf]string{ledger.SweepAll: dueRows, ledger.SweepLocal: dueLocal, ledger.SweepRemote: dueRemote}

// Sweep takes due rows; see ledger.Queue.
func (l *Ledger) Sweep(ctx context.Context, of ledger.SweepOf, limit int, again time.Duration) (ledger.Due, error) {
	var due ledger.Due
	err := l.write(ctx, func(tx *pgdb.Tx) (err error) {
		rows, err := tx.Query(sweeps[of], l.clock(), limit)
		var keys []recipientKey
		if due, keys, err = hints(rows, err); err != nil || len(keys) == 0 {
			return err
		}
		ids, numbers := columns(keys)
		_, err = tx.Exec(putOff, l.clock(), int64(again), ids, numbers)
		return err
	})
	return due, wrap("sweep", err)
}

// hints makes work of due rows: one hint for each local recipient, one for all that a claim takes together.
func hints(rows pgx.Rows, err error) (due ledger.Due, keys []recipientKey, _ error) {
	remote := map[work]bool{}
	err = eachRow(rows, err, func() error {
		var to storev1.Destination
		var account int64
		var group string
		w := &mailv1.LocalWork{}
		err := rows.Scan(&w.QueueId, &w.Number, &to, &account, &group, &w.Generation, &w.ForwardPath, &w.Detail, &w.Notify, &w.Orcpt)
		if err != nil {
			return err
		}
		due.Rows++
		keys = append(keys, recipientKey{[16]byte(w.QueueId), w.Number})
		if to == storev1.Destination_DESTINATION_LOCAL {
			w.Account = uint64(account)
			due.Local = append(due.Local, w)
			return nil
		}
		if k := (work{[16]byte(w.QueueId), group, w.Generation}); !remote[k] {
			remote[k] = true
			due.Remote = append(due.Remote, &mailv1.RemoteWork{QueueId: w.QueueId, Group: group, Generation: w.Generation})
		}
		return nil
	})
	return due, keys, err
}
