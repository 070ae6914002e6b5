package pgdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ReadTx is one snapshot. It is valid only inside Read's function, and used by one goroutine at a time.
type ReadTx struct {
	ctx context.Context
	tx  pgx.Tx
}

// Tx is a write. It is valid only inside Write's function, and used by one goroutine at a time.
type Tx struct{ ReadTx }

// Context is the one of the call.
func (tx *ReadTx) Context() context.Context { return tx.ctx }

// Query runs a query; its statement stays prepared on the connection.
func (tx *ReadTx) Query(query string, args ...any) (pgx.Rows, error) {
	return tx.tx.Query(tx.ctx, query, args...)
}

// QueryRow runs a query for one row; ErrNoRows where there is none.
func (tx *ReadTx) QueryRow(query string, args ...any) pgx.Row {
	return tx.tx.QueryRow(tx.ctx, query, args...)
}

// Send runs what is queued in b in one round trip. In a Write each statement sees what was committed before it began.
func (tx *ReadTx) Send(b *pgx.Batch) pgx.BatchResults { return tx.tx.SendBatch(tx.ctx, b) }

// Run sends a batch whose queries have their functions (pgx.QueuedQuery), and stops at the first error.
func (tx *ReadTx) Run(b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return tx.Send(b).Close()
}

// Exec runs a statement and tells how many rows it touched.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	tag, err := tx.tx.Exec(tx.ctx, query, args...)
	return tag.RowsAffected(), err
}

// CopyFrom adds rows to a table by COPY.
func (tx *Tx) CopyFrom(table string, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return tx.tx.CopyFrom(tx.ctx, pgx.Identifier{table}, columns, rows)
}

// Read runs fn in one snapshot. fn runs once. ErrAway, ErrBusy.
func (db *DB) Read(ctx context.Context, fn func(*ReadTx) error) error {
	// As for Write; a reader may take its time over what it is given.
	ctx, cancel := context.WithTimeout(ctx, db.cfg.AcquireTimeout+db.cfg.StatementTimeout+db.cfg.IdleTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		began := false
		err := db.once(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(_ *pgx.Conn, tx pgx.Tx) error {
			began = true
			return fn(&ReadTx{ctx, tx})
		})
		if began || !errors.Is(err, ErrAway) || errors.Is(err, errWaited) || attempt >= db.cfg.MaxRetries || !db.pause(ctx, attempt) {
			return db.tell(err)
		}
		db.metrics.retries.WithLabelValues("away").Inc()
	}
}

// Write runs fn in a transaction (READ COMMITTED: a statement sees what was committed when it began) and returns once it is
// durable. fn runs again where the server undid the transaction for another's sake or the connection was lost before the
// commit: it must begin from nothing each time.
//
// Errors: fn's own; ErrFull, ErrBusy, ErrAway: nothing is written. ErrUnknown, or ctx's own: the outcome is unknown.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	// The server's own limits say nothing where the network is cut: nobody would ever answer.
	ctx, cancel := context.WithTimeout(ctx, db.cfg.AcquireTimeout+db.cfg.StatementTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := db.once(ctx, pgx.TxOptions{}, func(conn *pgx.Conn, tx pgx.Tx) error {
			if err := fn(&Tx{ReadTx{ctx, tx}}); err != nil {
				return err
			}
			return db.commit(ctx, conn, tx)
		})
		reason := ""
		switch {
		case err == nil, errors.Is(err, ErrUnknown), errors.Is(err, errWaited), ctx.Err() != nil:
		case undone(err):
			reason = "undone"
		case errors.Is(err, ErrAway):
			reason = "away"
		}
		if reason == "" || attempt >= db.cfg.MaxRetries || !db.pause(ctx, attempt) {
			return db.tell(err)
		}
		db.metrics.retries.WithLabelValues(reason).Inc()
	}
}

// once runs fn in one transaction and undoes it where it is still open afterwards.
func (db *DB) once(ctx context.Context, opts pgx.TxOptions, fn func(*pgx.Conn, pgx.Tx) error) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", classify(ctx, err, true))
	}
	defer rollback(ctx, conn, tx)
	err = fn(conn.Conn(), tx)
	return classify(ctx, err, conn.Conn().IsClosed() || fatal(err))
}

// rollback ends what commit did not; the connection goes where that fails.
func rollback(ctx context.Context, conn *pgxpool.Conn, tx pgx.Tx) {
	if ctx.Err() != nil && !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
		// Not to wait for an answer without a deadline.
		conn.Conn().PgConn().Conn().Close()
	}
	tx.Rollback(ctx)
}

// warning is the key under which a connection keeps the last warning that the server sent.
const warning = "mailfarm.warning"

// commit makes a transaction durable. ErrUnknown wherever the server did not say clearly that it is, or that it is not.
func (db *DB) commit(ctx context.Context, conn *pgx.Conn, tx pgx.Tx) error {
	// The server itself would wait for a synchronous standby for ever.
	ctx, cancel := context.WithTimeout(ctx, db.cfg.StatementTimeout)
	defer cancel()
	if conn.IsClosed() {
		return fmt.Errorf("commit: %w: the connection was lost before it", ErrAway)
	}
	data := conn.PgConn().CustomData()
	delete(data, warning)
	err := tx.Commit(ctx)
	if err == nil {
		if text, warned := data[warning]; warned {
			// As for a commit that stopped waiting for its synchronous standby.
			return fmt.Errorf("commit: %w: %v", ErrUnknown, text)
		}
		return nil
	}
	// QUIRK: pgx calls the error of a connection that was lost behind COMMIT one that happened before it (pgconn.SafeToRetry).
	if Code(err) != "" && !fatal(err) && Code(err) != "40003" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return fmt.Errorf("commit: %w", err)
	}
	return fmt.Errorf("commit: %w: %w", ErrUnknown, err)
}
