package sqlitedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime/debug"
	"sync"
)

// readerTexts is up to how many prepared statements a reader keeps from one read to the next. The source's own texts are
// fewer; some are made of what an operator looks for.
const readerTexts = 200

// reader is a connection that reads, with the statements that it has prepared: to parse one costs more than to run it.
type reader struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	// brief are those that the driver runs without package database/sql; see ReadTx.Lookup.
	brief map[string]driver.Stmt
	row   []driver.Value // for Lookup
}

// readers are those of a database. Each serves one read at a time.
type readers struct {
	db *sql.DB
	// turns has one element for each read that may begin.
	turns chan struct{}

	mu sync.Mutex
	// idle are open and nobody uses them. The one that was used last comes first: it has the pages in memory that others have
	// not. Guarded by mu.
	idle   []*reader
	closed bool // guarded by mu
}

func newReaders(db *sql.DB, n int) *readers {
	r := &readers{db: db, turns: make(chan struct{}, n)}
	for range n {
		r.turns <- struct{}{}
	}
	return r
}

// take waits for a reader that nobody uses.
func (p *readers) take(ctx context.Context) (*reader, error) {
	select {
	case <-p.turns:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r := p.pop(); r != nil {
		return r, nil
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		p.give(nil)
		return nil, err
	}
	return &reader{conn: conn, stmts: map[string]*sql.Stmt{}, brief: map[string]driver.Stmt{}}, nil
}

// pop gives the reader that was used last, or nil where none is open.
func (p *readers) pop() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	r := p.idle[last]
	p.idle = p.idle[:last]
	return r
}

// give gives it back, or only its turn if it is nil.
func (p *readers) give(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r == nil:
	case p.closed:
		r.close()
	default:
		p.idle = append(p.idle, r)
	}
	p.turns <- struct{}{}
}

// close closes those that nobody uses; the others are closed when they are given back.
func (p *readers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, r := range p.idle {
		r.close()
	}
	p.idle = nil
}

// read runs fn in one snapshot.
func (p *readers) read(ctx context.Context, fn func(tx *ReadTx) error) error {
	r, err := p.take(ctx)
	if err != nil {
		return fmt.Errorf("begin read: %w", classify(err))
	}
	sound := false // also where fn panics
	defer func() {
		if !sound {
			r.close()
			r = nil
		}
		p.give(r)
	}()
	if err := r.exec("BEGIN"); err != nil {
		return fmt.Errorf("begin read: %w", classify(err))
	}
	err = fn(&ReadTx{ctx: ctx, reader: r})
	if r.exec("ROLLBACK") == nil {
		// A statement that was interrupted may be so once more when the next one runs already.
		sound = ctx.Err() == nil
		r.forget()
	}
	return err
}

// exec runs what has neither arguments nor result.
func (r *reader) exec(text string) error {
	return r.briefly(text, func(s driver.Stmt) error {
		_, err := s.(driver.StmtExecContext).ExecContext(context.Background(), nil)
		return err
	})
}

// briefly runs a statement by the driver itself: what package database/sql does around one, and the goroutines that wait for
// the end of its context, cost more than to find a row by its key. Nothing can interrupt it.
func (r *reader) briefly(text string, run func(driver.Stmt) error) error {
	var panicked any
	err := r.conn.Raw(func(conn any) error {
		// Raw must not see a panic: it would close the connection under the statements that are prepared on it.
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
		}()
		s := r.brief[text]
		if s == nil {
			var err error
			if s, err = conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), text); err != nil {
				return err
			}
			r.brief[text] = s
		}
		return run(s)
	})
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// prepared gives a statement that is kept from one read to the next.
func (r *reader) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if s := r.stmts[text]; s != nil {
		return s, nil
	}
	s, err := r.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	r.stmts[text] = s
	return s, nil
}

// forget lets go of all statements once they are too many, between two reads, when none is in use.
func (r *reader) forget() {
	if len(r.stmts)+len(r.brief) <= readerTexts {
		return
	}
	r.finalize()
}

// finalize ends all statements.
func (r *reader) finalize() {
	for _, s := range r.stmts {
		s.Close()
	}
	clear(r.stmts)
	r.conn.Raw(func(any) error {
		for _, s := range r.brief {
			s.Close()
		}
		return nil
	})
	clear(r.brief)
}

// close ends the connection itself: one that is given back to its pool might still be in its transaction.
func (r *reader) close() {
	r.finalize()
	r.conn.Raw(func(any) error { return driver.ErrBadConn })
	r.conn.Close()
}
