package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// writer is the goroutine that owns the write connection.
type writer struct {
	opts Options
	conn *sql.Conn
	tx   *Tx
	told []any // of a batch, for Options.Ended
	jobs chan *job
	done chan struct{}

	mu     sync.RWMutex // guards closed against a send on jobs
	closed bool
}

type job struct {
	fn    func(*Tx) error
	told  any // by Tx.Tell
	err   error
	reply chan error
}

func startWriter(db *sql.DB, opts Options) (*writer, error) {
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{
		opts: opts,
		conn: conn,
		tx:   &Tx{ctx: ctx, conn: conn, stmts: map[string]*sql.Stmt{}},
		jobs: make(chan *job, opts.BatchMax),
		done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	j := &job{fn: fn, reply: make(chan error, 1)}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return ErrClosed
	}
	select {
	case w.jobs <- j:
		w.mu.RUnlock()
	case <-ctx.Done():
		w.mu.RUnlock()
		return ctx.Err()
	}
	select {
	case err := <-j.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) stop() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.jobs)
	}
	w.mu.Unlock()
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	batch := make([]*job, 0, w.opts.BatchMax)
	for j := range w.jobs {
		var sure bool
		batch, sure = w.commit(batch[:0], j)
		w.end(batch, sure)
		for _, j := range batch {
			j.reply <- j.err
		}
		clear(batch)
	}
	for _, s := range w.tx.stmts {
		s.Close()
	}
	w.conn.Close()
}

// end tells of a transaction.
func (w *writer) end(batch []*job, sure bool) {
	if w.opts.Ended == nil {
		return
	}
	for _, j := range batch {
		if j.err == nil {
			w.told = append(w.told, j.told)
		}
	}
	if !sure {
		w.told = append(w.told, nil)
	}
	w.opts.Ended(w.told)
	clear(w.told)
	w.told = w.told[:0]
}

// commit runs first and whatever waits behind it in one transaction. It is sure what came of it unless the transaction failed.
func (w *writer) commit(batch []*job, first *job) (_ []*job, sure bool) {
	start := time.Now()
	if _, err := w.tx.Exec("BEGIN IMMEDIATE"); err != nil {
		first.err = fmt.Errorf("begin: %w", err)
		return append(batch, first), true
	}
	for j := first; j != nil; j = w.next(len(batch), start) {
		batch = append(batch, j)
		if len(batch) == 1 {
			// Behind nothing: undoing it undoes the transaction, and no savepoint is needed.
			if j.err = w.tx.run(j); j.err != nil {
				return w.undo(batch, j.err), true
			}
			continue
		}
		if err := w.runOne(j); err != nil {
			return w.undo(batch, err), false
		}
	}
	if _, err := w.tx.Exec("COMMIT"); err != nil {
		return w.undo(batch, fmt.Errorf("commit: %w", err)), false
	}
	return batch, true
}

// undo undoes the whole transaction; what failed already keeps its own reason.
func (w *writer) undo(batch []*job, because error) []*job {
	for _, j := range batch {
		if j.err == nil {
			j.err = because
		}
	}
	w.tx.Exec("ROLLBACK") // an error here means that SQLite rolled back by itself
	return batch
}

// next is a job that waits already, if the batch has room for it.
func (w *writer) next(size int, start time.Time) *job {
	if size >= w.opts.BatchMax || time.Since(start) > w.opts.BatchTime {
		return nil
	}
	select {
	case j := <-w.jobs:
		return j // nil once jobs is closed and empty
	default:
		return nil
	}
}

// runOne runs a job in a savepoint, so that its failure undoes it alone. An error is of the transaction, of which nothing can be
// kept then: SQLite undoes all of it by itself after some errors, a full disk among them.
func (w *writer) runOne(j *job) error {
	if _, err := w.tx.Exec("SAVEPOINT job"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	j.err = w.tx.run(j)
	if j.err != nil {
		if _, err := w.tx.Exec("ROLLBACK TO job"); err != nil {
			return fmt.Errorf("undo another write of the transaction: %w", errors.Join(err, j.err))
		}
	}
	if _, err := w.tx.Exec("RELEASE job"); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// run runs a job. A panic becomes its error: it must not take the writer with it.
func (tx *Tx) run(j *job) (err error) {
	tx.told = nil
	defer func() {
		j.told = tx.told
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v\n%s", p, debug.Stack())
		}
	}()
	return j.fn(tx)
}
