package join

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// need tells why a frame must be there; the numbers are those of the table frame.
type need int64

const (
	spare     need = 0 // for messages that are done with
	wanted    need = 1 // a row refers to it
	unrouted  need = 2 // recovery must publish it
	forgotten need = 3 // it is beyond the horizon
)

// state is how far a frame is.
type state int64

const (
	open    state = 0
	copied  state = 1
	gone    state = 2
	damaged state = 3
)

// holds tells what an incarnation of the bucket has.
type holds int64

const (
	before    holds = 0
	accounted holds = 1
	pending   holds = 2
)

// entry is a row of the table frame.
type entry struct {
	old, owner, place blob.ID
	queueID           []byte
	need              need
	state             state
	size              int64
	digest, meta      []byte
}

// notebook is join.db.
type notebook struct {
	*sqlitedb.DB // nil before the join is begun
	path         string
	site         []byte
	// bucket and source are what the join was begun with; empty for one that was not.
	bucket, source string
	planned        bool
	finished       bool
}

// openNotebook reads what an earlier run left. A join that was not begun has no file yet.
func openNotebook(ctx context.Context, folder string, verifyOnly bool) (*notebook, error) {
	b := &notebook{path: filepath.Join(folder, noteFile), site: make([]byte, 16)}
	if Begun(folder) {
		return b, b.open(ctx)
	}
	if verifyOnly {
		return nil, fmt.Errorf("%s was not joined to a farm: there is no %s", folder, noteFile)
	}
	rand.Read(b.site)
	return b, nil
}

// open opens the file, or makes it.
func (b *notebook) open(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if b.DB, err = sqlitedb.Open(ctx, b.path, files, sqlitedb.Options{}); err != nil {
		return err
	}
	err = b.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		var finished int64
		err := tx.QueryRow("SELECT site, bucket, source, planned, finished_ns FROM site").Scan(&b.site, &b.bucket, &b.source, &b.planned, &finished)
		b.finished = finished > 0
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		rand.Read(b.site) // it died before it was named
		return nil
	}
	return err
}

// Close closes the file.
func (b *notebook) Close() error {
	if b.DB == nil {
		return nil
	}
	return b.DB.Close()
}

// begin names the join, once.
func (b *notebook) begin(ctx context.Context, bucket, source string, incarnations []blob.Incarnation) error {
	if b.DB == nil {
		if err := b.open(ctx); err != nil {
			return err
		}
	}
	err := b.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, inc := range incarnations {
			if _, err := tx.Exec("INSERT INTO incarnation (incarnation, holds) VALUES (?, ?) ON CONFLICT DO NOTHING", int64(inc.ID), before); err != nil {
				return err
			}
		}
		_, err := tx.Exec("INSERT INTO site (id, site, bucket, source) VALUES (1, ?, ?, ?)", b.site, bucket, source)
		return err
	})
	if err == nil {
		b.bucket, b.source = bucket, source
	}
	return err
}

func (b *notebook) finish(ctx context.Context, now int64) error {
	return b.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE site SET finished_ns = ?", now)
		return err
	})
}

// want notes that frames must be copied; a frame that is known already keeps the greater need of rows.
func want(tx *sqlitedb.Tx, e entry) error {
	_, err := tx.Exec(`INSERT INTO frame (old, queue_id, need, state) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET need = max(need, excluded.need) WHERE excluded.need <= 1`, e.old.Bytes(), e.queueID, e.need, e.state)
	return err
}

// has tells which frames are to be copied.
func (b *notebook) has(ctx context.Context, ids []blob.ID) (map[blob.ID]entry, error) {
	found := make(map[blob.ID]entry, len(ids))
	err := b.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		for _, id := range ids {
			e, err := scanEntry(tx.QueryRow("SELECT "+entryColumns+" FROM frame WHERE old = ?", id.Bytes()))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			found[id] = e
		}
		return nil
	})
	return found, err
}

const entryColumns = "old, queue_id, owner, need, state, place, size, digest, meta"

func scanEntry(row interface{ Scan(...any) error }) (e entry, err error) {
	var old, owner, place []byte
	if err := row.Scan(&old, &e.queueID, &owner, &e.need, &e.state, &place, &e.size, &e.digest, &e.meta); err != nil {
		return e, err
	}
	for _, id := range []struct {
		b  []byte
		to *blob.ID
	}{{old, &e.old}, {owner, &e.owner}, {place, &e.place}} {
		if len(id.b) == 0 {
			continue
		}
		if *id.to, err = blob.IDFrom(id.b); err != nil {
			return e, err
		}
	}
	return e, nil
}

// page lists frames behind one, in the order of the site; where is a condition.
func (b *notebook) page(ctx context.Context, after blob.ID, where string, limit int) (entries []entry, err error) {
	err = b.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT "+entryColumns+" FROM frame WHERE old > ? AND "+where+" ORDER BY old LIMIT ?", after.Bytes(), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scanEntry(rows)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return rows.Err()
	})
	return entries, err
}

// each calls fn with all frames for which where holds.
func (b *notebook) each(ctx context.Context, where string, fn func(entry) error) error {
	const pageLen = 1000
	var after blob.ID
	for {
		page, err := b.page(ctx, after, where, pageLen)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
			after = e.old
		}
		if len(page) < pageLen {
			return nil
		}
	}
}

// settle notes what became of a frame, and that found, where it is set, is no longer nobody's.
func (b *notebook) settle(ctx context.Context, e entry) error {
	return b.Write(ctx, func(tx *sqlitedb.Tx) error {
		var place any
		if !e.place.IsZero() {
			place = e.place.Bytes()
			if _, err := tx.Exec("DELETE FROM found WHERE place = ?", place); err != nil {
				return err
			}
		}
		_, err := tx.Exec("UPDATE frame SET state = ?, place = ?, size = ?, digest = ?, meta = ?, queue_id = ? WHERE old = ?",
			e.state, place, e.size, e.digest, e.meta, e.queueID, e.old.Bytes())
		return err
	})
}

// one reads a number.
func (b *notebook) one(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = b.Read(ctx, func(tx *sqlitedb.ReadTx) error { return tx.QueryRow(query, args...).Scan(&n) })
	return n, err
}

// incarnations reads what is known of the bucket's.
func (b *notebook) incarnations(ctx context.Context) (map[uint64]holds, error) {
	all := map[uint64]holds{}
	err := b.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT incarnation, holds FROM incarnation")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			var h holds
			if err := rows.Scan(&id, &h); err != nil {
				return err
			}
			all[uint64(id)] = h
		}
		return rows.Err()
	})
	return all, err
}

func (b *notebook) noteIncarnation(ctx context.Context, id uint64, h holds) error {
	return b.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO incarnation (incarnation, holds) VALUES (?, ?) ON CONFLICT DO NOTHING", int64(id), h)
		return err
	})
}
