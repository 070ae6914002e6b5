package sqlitedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
)

// readerTexts is up to how many prepared statements a reader keeps from one read to the next. The source's own texts are
// fewer; some are made of what an operator looks for.
const readerTexts = 200

// reader is a connection that reads, with the statements that it has prepared: to parse one costs more than to run it.
type reader struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// readers are those of a database. Each serves one read at a time.
type readers struct {
	db *sql.DB
	// free has one element for each read that may run: a reader, or nil for one that is not open.
	free chan *reader

	mu     sync.Mutex
	closed bool // guarded by mu
}

func newReaders(db *sql.DB, n int) *readers {
	r := &readers{db: db, free: make(chan *reader, n)}
	for range n {
		r.free <- nil
	}
	return r
}

// take waits for a reader that nobody uses.
func (p *readers) take(ctx context.Context) (*reader, error) {
	var r *reader
	select {
	case r = <-p.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r != nil {
		return r, nil
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		p.give(nil)
		return nil, err
	}
	return &reader{conn: conn, stmts: map[string]*sql.Stmt{}}, nil
}

// give gives it back, or its place if it is nil.
func (p *readers) give(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed && r != nil {
		r.close()
		r = nil
	}
	p.free <- r
}

// close closes those that nobody uses; the others are closed when they are given back.
func (p *readers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for range len(p.free) {
		r := <-p.free
		if r != nil {
			r.close()
		}
		p.free <- nil
	}
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
	s, err := r.prepared(context.Background(), text)
	if err == nil {
		_, err = s.Exec()
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
	if len(r.stmts) <= readerTexts {
		return
	}
	for _, s := range r.stmts {
		s.Close()
	}
	clear(r.stmts)
}

// close ends the connection itself: one that is given back to its pool might still be in its transaction.
func (r *reader) close() {
	for _, s := range r.stmts {
		s.Close()
	}
	r.conn.Raw(func(any) error { return driver.ErrBadConn })
	r.conn.Close()
}
