package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

const readDone = `SELECT ` + unit.DoneColumns + unit.DoneFrom + ` WHERE o.account = ? AND o.operation = ?`

func scanDone(row unit.Scanner) (index.OnceResult, bool, error) {
	r, err := unit.ScanDone(row)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

func (r *rows) Done(a *unit.Account, op index.Operation) (index.OnceResult, bool, error) {
	return scanDone(r.tx.QueryRow(readDone, int64(a.ID), op[:]))
}

func (r *rows) PutDone(a *unit.Account, op index.Operation, out *index.OnceResult) error {
	if op.Forgets() {
		if err := r.exec("DELETE FROM operation WHERE account = ? AND done_ns < ?", int64(a.ID), r.now-int64(index.OperationAge)); err != nil {
			return err
		}
	}
	source, target := unit.DoneUIDs(out)
	return r.exec("INSERT INTO operation (account, operation, uid_validity, source_uids, target_uids, done_ns) VALUES (?, ?, ?, ?, ?, ?)",
		int64(a.ID), op[:], int64(out.UIDValidity), source, target, r.now)
}

// AppendOnce is index.Appender's.
func (m *Mailboxes) AppendOnce(ctx context.Context, id mailbox.AccountID, name string, messages []index.Message, once index.Once) (index.OnceResult, error) {
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.OnceResult, error) { return u.AppendOnce(id, name, messages, once) })
	if err != nil {
		return index.OnceResult{}, fmt.Errorf("append: %w", err)
	}
	return r, nil
}

// Done is index.Appender's.
func (m *Mailboxes) Done(ctx context.Context, id mailbox.AccountID, op index.Operation) (r index.OnceResult, done bool, err error) {
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		r, done, err = scanDone(tx.QueryRow(readDone, int64(id), op[:]))
		return err
	})
	return r, done, named(err, "look for operation")
}
