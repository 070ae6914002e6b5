package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// sweepRows takes due rows. One whose claim ran out gets a new generation, so that its late owner can no longer report.
const sweepRows = `UPDATE recipient SET due_ns = ?, generation = generation + (claim_owner <> ''), claim_owner = '', claim_ns = 0
	WHERE (queue_id, number) IN (SELECT queue_id, number FROM recipient WHERE %s ORDER BY due_ns LIMIT ?)
	RETURNING queue_id, number, destination, account, grp, generation, forward_path, detail, notify, orcpt`

// dueOf are the rows that a sweep takes.
var dueOf = map[ledger.SweepOf]string{
	ledger.SweepAll: `due_ns <= ?`, ledger.SweepLocal: `due_ns <= ? AND destination = 1`, ledger.SweepRemote: `due_ns <= ? AND destination = 2`,
}

// Sweep takes due rows; see ledger.Queue.
func (l *Ledger) Sweep(ctx context.Context, of ledger.SweepOf, limit int, again time.Duration) (ledger.Due, error) {
	var due ledger.Due
	var some bool
	// Most sweeps find nothing: they need no place in the writer's line.
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow("SELECT EXISTS (SELECT 1 FROM recipient WHERE "+dueOf[of]+")", l.clock()).Scan(&some)
	})
	if err != nil || !some {
		return due, wrap("look for due recipients", err)
	}
	err = l.write(ctx, func(tx *sqlitedb.Tx) (err error) {
		due, err = sweep(tx, of, limit, l.clock(), again)
		return err
	})
	return due, wrap("sweep", err)
}

func sweep(tx *sqlitedb.Tx, of ledger.SweepOf, limit int, now int64, again time.Duration) (due ledger.Due, err error) {
	type work struct {
		id         [16]byte
		group      string
		generation uint32
	}
	remote := map[work]bool{}
	rows, err := tx.Query(fmt.Sprintf(sweepRows, dueOf[of]), now+int64(again), now, limit)
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
	return due, err
}

// wrap says what an error came from; nil stays nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
