package sqlitedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
)

// Tx is a write within a group commit. It is valid only inside Write's function.
type Tx struct {
	ctx   context.Context
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	told  any // by the write that runs
}

// Tell leaves what Options.Ended is called with for this write.
func (tx *Tx) Tell(what any) { tx.told = what }

// prepared keeps each statement for the life of the writer: the number of texts is that of the source's.
func (tx *Tx) prepared(query string) (*sql.Stmt, error) {
	if s := tx.stmts[query]; s != nil {
		return s, nil
	}
	s, err := tx.conn.PrepareContext(tx.ctx, query)
	if err != nil {
		return nil, err
	}
	tx.stmts[query] = s
	return s, nil
}

// Exec runs a statement and tells how many rows it changed. query must be a constant text with placeholders.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	s, err := tx.prepared(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(tx.ctx, args...)
	if err != nil {
		return 0, classify(err)
	}
	return r.RowsAffected()
}

// Query runs a query; the caller closes the rows before the next call.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	s, err := tx.prepared(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(tx.ctx, args...)
}

// QueryRow runs a query of one row; Scan gives sql.ErrNoRows where there is none.
func (tx *Tx) QueryRow(query string, args ...any) Row {
	s, err := tx.prepared(query)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(tx.ctx, args...)
}

// Row is what QueryRow gives.
type Row interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// ReadTx is one snapshot. It is valid only inside Read's function.
type ReadTx struct {
	ctx    context.Context
	reader *reader
}

// Query runs a query; the caller closes the rows before the next call with the same text.
func (tx *ReadTx) Query(query string, args ...any) (*sql.Rows, error) {
	s, err := tx.reader.prepared(tx.ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(tx.ctx, args...)
}

// QueryRow runs a query of one row; Scan gives sql.ErrNoRows where there is none.
func (tx *ReadTx) QueryRow(query string, args ...any) Row {
	s, err := tx.reader.prepared(tx.ctx, query)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(tx.ctx, args...)
}

// Lookup calls each with the rows of a query that finds a few by their keys. It costs a fraction of what Query does, and once
// begun it goes on to its end whatever becomes of the context: it must be short.
//
// args are int64, float64, string, []byte or nil. So are a row's values; each may keep them, but not the slice, and runs no
// statement. Its error ends the query and is given back.
func (tx *ReadTx) Lookup(query string, args []any, each func(row []driver.Value) error) error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	r := tx.reader
	return r.briefly(query, func(s driver.Stmt) (err error) {
		rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), named)
		if err != nil {
			return err
		}
		defer func() {
			if closed := rows.Close(); err == nil {
				err = closed
			}
		}()
		if n := len(rows.Columns()); cap(r.row) < n {
			r.row = make([]driver.Value, n)
		} else {
			r.row = r.row[:n]
		}
		for {
			switch err := rows.Next(r.row); {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			}
			if err := each(r.row); err != nil {
				return err
			}
		}
	})
}
