package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	readDone = `SELECT ` + unit.DoneColumns + unit.DoneFrom + ` WHERE o.account = $1 AND o.operation = $2`
	dropDone = `DELETE FROM operation WHERE account = $2 AND done_ns < ` + clockNs + ` - $3::bigint`
	putDone  = `INSERT INTO operation (account, operation, uid_validity, source_uids, target_uids, done_ns)
		VALUES ($2, $3, $4, $5, $6, ` + clockNs + `)`
)

// operationKey is that of a row of operation.
type operationKey struct {
	account mailbox.AccountID
	op      index.Operation
}

// queueDone looks for an operation.
func (r *rows) queueDone(b *pgx.Batch, k operationKey) {
	r.done = map[operationKey]*index.OnceResult{k: nil}
	b.Queue(readDone, int64(k.account), k.op[:]).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			out, err := unit.ScanDone(rows)
			r.done[k] = &out
			return err
		})
	})
}

func (r *rows) Done(a *unit.Account, op index.Operation) (index.OnceResult, bool, error) {
	k := operationKey{a.ID, op}
	if _, ok := r.done[k]; !ok {
		b := &pgx.Batch{}
		r.queueDone(b, k)
		if err := r.run(b); err != nil {
			return index.OnceResult{}, false, err
		}
	}
	if out := r.done[k]; out != nil {
		return *out, true, nil
	}
	return index.OnceResult{}, false, nil
}

func (r *rows) PutDone(a *unit.Account, op index.Operation, out *index.OnceResult) error {
	source, target := unit.DoneUIDs(out)
	if op.Forgets() {
		r.pending.more = append(r.pending.more, kept.Statement{Query: dropDone, Args: []any{r.d.clock(), int64(a.ID), int64(index.OperationAge)}})
	}
	r.pending.more = append(r.pending.more,
		kept.Statement{Query: putDone, Args: []any{r.d.clock(), int64(a.ID), op[:], int64(out.UIDValidity), source, target}})
	return nil
}

// AppendOnce is index.Appender's.
func (m *Mailboxes) AppendOnce(ctx context.Context, id mailbox.AccountID, name string, messages []index.Message, once index.Once) (index.OnceResult, error) {
	want := load{accounts: one(id), names: []nameKey{{id, name}}, bodies: bodies(messages), threads: threadKeys(id, messages)}
	if once.Operation != (index.Operation{}) {
		want.operation = &operationKey{id, once.Operation}
	}
	if once.Replace != 0 {
		want.boxes = []boxKey{{id, once.Replace}}
	}
	r, err := write(ctx, m.d, want, func(u *unit.Unit, _ *rows) (index.OnceResult, error) { return u.AppendOnce(id, name, messages, once) })
	if err != nil {
		return index.OnceResult{}, fmt.Errorf("append: %w", err)
	}
	return r, nil
}

// Done is index.Appender's.
func (m *Mailboxes) Done(ctx context.Context, id mailbox.AccountID, op index.Operation) (r index.OnceResult, done bool, err error) {
	err = m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		r, err = unit.ScanDone(tx.QueryRow(readDone, int64(id), op[:]))
		if done = err == nil; errors.Is(err, pgdb.ErrNoRows) {
			return nil
		}
		return err
	})
	return r, done, named(err, "look for operation")
}
