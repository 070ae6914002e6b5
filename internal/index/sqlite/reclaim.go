package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Books is reclaim.Books over a DB.
type Books struct{ d *DB }

// Books gives what the database knows about frames.
func (d *DB) Books() *Books { return &Books{d} }

var _ reclaim.Books = (*Books)(nil)

// Locate is blob.Locator's.
func (b *Books) Locate(ctx context.Context, ids []blob.ID) ([]blob.ID, error) {
	places := map[blob.ID]blob.ID{}
	err := b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(binaryIDs(ids), func(marks string, args []any) error {
			rows, err := tx.Query("SELECT blob_id, place FROM location WHERE blob_id IN "+marks, args...)
			return eachPair(rows, err, func(first, place blob.ID) { places[first] = place })
		})
	})
	if err != nil {
		return nil, fmt.Errorf("locate %d frames: %w", len(ids), err)
	}
	out := make([]blob.ID, len(ids))
	for i, id := range ids {
		out[i] = places[id]
	}
	return out, nil
}

// Move is reclaim.Books'.
func (b *Books) Move(ctx context.Context, moves []reclaim.Move) ([]bool, error) {
	moved := make([]bool, len(moves))
	err := b.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		for i, m := range moves {
			n, err := moveOne(tx, m)
			if err != nil {
				return err
			}
			moved[i] = n == 1
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("move %d frames: %w", len(moves), err)
	}
	return moved, nil
}

func moveOne(tx *sqlitedb.Tx, m reclaim.Move) (int64, error) {
	if m.From == m.First {
		return tx.Exec(`INSERT INTO location (blob_id, place) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM condemned WHERE blob_id = ?2)
			ON CONFLICT DO NOTHING`, m.First.Bytes(), m.To.Bytes())
	}
	return tx.Exec(`UPDATE location SET place = ?2 WHERE blob_id = ?1 AND place = ?3
		AND NOT EXISTS (SELECT 1 FROM condemned WHERE blob_id = ?2)`, m.First.Bytes(), m.To.Bytes(), m.From.Bytes())
}

// What refers to frames between two ids. A message on its way goes from the ledger to an email, and is looked for in that order.
const (
	usedByLedger   = "SELECT blob_id FROM message m WHERE blob_id BETWEEN ? AND ? AND EXISTS (SELECT 1 FROM recipient r WHERE r.queue_id = m.queue_id AND r.due_ns IS NOT NULL)"
	usedByRecovery = "SELECT blob_id FROM withheld WHERE blob_id BETWEEN ? AND ? AND decision IN (1, 2)"
	usedByEmail    = "SELECT DISTINCT blob_id FROM email WHERE blob_id BETWEEN ? AND ?"
)

// The same for given frames; IN follows.
const (
	inUseByLedger   = "SELECT blob_id FROM message m WHERE EXISTS (SELECT 1 FROM recipient r WHERE r.queue_id = m.queue_id AND r.due_ns IS NOT NULL) AND blob_id IN "
	inUseByRecovery = "SELECT blob_id FROM withheld WHERE decision IN (1, 2) AND blob_id IN "
	inUseByEmail    = "SELECT DISTINCT blob_id FROM email WHERE blob_id IN "
)

// Segment is reclaim.Books'.
func (b *Books) Segment(ctx context.Context, incarnation uint64, segment uint32) (*reclaim.Referrers, error) {
	r := &reclaim.Referrers{}
	first, last := reclaim.Range(incarnation, segment)
	err := b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		for _, query := range []string{usedByLedger, usedByRecovery, usedByEmail} {
			if err := readIDs(tx, &r.Used, query, first, last); err != nil {
				return err
			}
		}
		if err := readIDs(tx, &r.Away, "SELECT blob_id FROM location WHERE blob_id BETWEEN ? AND ?", first, last); err != nil {
			return err
		}
		rows, err := tx.Query("SELECT blob_id, place FROM location WHERE place BETWEEN ? AND ?", first, last)
		if err := eachPair(rows, err, func(first, place blob.ID) {
			r.Here = append(r.Here, reclaim.Located{First: first, Place: place})
		}); err != nil {
			return err
		}
		if err := readNotes(tx, r, "BETWEEN ? AND ?", first, last); err != nil {
			return err
		}
		if err := readAparts(tx, r, first, last); err != nil {
			return err
		}
		here := make([]blob.ID, len(r.Here))
		for i, l := range r.Here {
			here[i] = l.First
		}
		return eachList(binaryIDs(here), func(marks string, args []any) error { return readNotes(tx, r, "IN "+marks, args...) })
	})
	if err != nil {
		return nil, fmt.Errorf("referrers of segment %d of incarnation %d: %w", segment, incarnation, err)
	}
	return r, nil
}

// readNotes adds what was noted of the frames that which names.
func readNotes(tx *sqlitedb.ReadTx, r *reclaim.Referrers, which string, args ...any) error {
	rows, err := tx.Query("SELECT owner, child FROM shared WHERE owner "+which, args...)
	if err := eachPair(rows, err, func(owner, child blob.ID) {
		r.Shares = append(r.Shares, reclaim.Share{Owner: owner, Child: child})
	}); err != nil {
		return err
	}
	return readIDs(tx, &r.Condemned, "SELECT blob_id FROM condemned WHERE blob_id "+which, args...)
}

func readAparts(tx *sqlitedb.ReadTx, r *reclaim.Referrers, first, last []byte) error {
	rows, err := tx.Query("SELECT place, bytes FROM apart WHERE place BETWEEN ? AND ?", first, last)
	var place sql.RawBytes
	return eachRow(rows, err, func() error {
		var a reclaim.Apart
		if err := rows.Scan(&place, &a.Bytes); err != nil {
			return err
		}
		var err error
		a.Place, err = blob.IDFrom(place)
		r.Aparts = append(r.Aparts, a)
		return err
	})
}

// InUse is reclaim.Books'.
func (b *Books) InUse(ctx context.Context, ids []blob.ID) ([]bool, error) {
	var used []blob.ID
	err := b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(binaryIDs(ids), func(marks string, args []any) error {
			for _, query := range []string{inUseByLedger, inUseByRecovery, inUseByEmail} {
				if err := readIDs(tx, &used, query+marks, args...); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("referrers of %d frames: %w", len(ids), err)
	}
	found := make(map[blob.ID]bool, len(used))
	for _, id := range used {
		found[id] = true
	}
	out := make([]bool, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
}

// Note is reclaim.Books'.
func (b *Books) Note(ctx context.Context, shares []reclaim.Share, aparts []reclaim.Apart) error {
	return wrap("note frames", b.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, s := range shares {
			if _, err := tx.Exec("INSERT INTO shared (owner, child) VALUES (?, ?) ON CONFLICT DO NOTHING", s.Owner.Bytes(), s.Child.Bytes()); err != nil {
				return err
			}
		}
		for _, a := range aparts {
			if _, err := tx.Exec("INSERT INTO apart (place, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING", a.Place.Bytes(), a.Bytes); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Gaps is reclaim.Books'.
func (b *Books) Gaps(ctx context.Context) (gaps []uint64, err error) {
	err = b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT incarnation FROM unnoted ORDER BY incarnation")
		return eachRow(rows, err, func() error {
			var n int64
			err := rows.Scan(&n)
			gaps = append(gaps, uint64(n))
			return err
		})
	})
	return gaps, wrap("read gaps", err)
}

// CloseGap is reclaim.Books'.
func (b *Books) CloseGap(ctx context.Context, incarnation uint64) error {
	return b.exec(ctx, "close gap", "DELETE FROM unnoted WHERE incarnation = ?", int64(incarnation))
}

// Condemn is reclaim.Books'.
func (b *Books) Condemn(ctx context.Context, ids []blob.ID) error {
	return b.each(ctx, "condemn", ids, func(tx *sqlitedb.Tx, id []byte) (int64, error) {
		return tx.Exec("INSERT INTO condemned (blob_id, condemned_ns) VALUES (?, ?) ON CONFLICT DO NOTHING", id, b.d.opts.Now().UnixNano())
	})
}

// Pardon is reclaim.Books'.
func (b *Books) Pardon(ctx context.Context, ids []blob.ID) error {
	return b.each(ctx, "pardon", ids, func(tx *sqlitedb.Tx, id []byte) (int64, error) {
		return tx.Exec("DELETE FROM condemned WHERE blob_id = ?", id)
	})
}

// Freed is reclaim.Books'.
func (b *Books) Freed(ctx context.Context, places []blob.ID) error {
	return b.each(ctx, "note freed bodies of", places, func(tx *sqlitedb.Tx, id []byte) (int64, error) {
		return tx.Exec("DELETE FROM apart WHERE place = ?", id)
	})
}

// writeBatch is how many rows one write of a worker changes, so that mail gets in between.
const writeBatch = 512

func (b *Books) each(ctx context.Context, what string, ids []blob.ID, do func(tx *sqlitedb.Tx, id []byte) (int64, error)) error {
	for n := len(ids); len(ids) > 0; {
		some := ids[:min(len(ids), writeBatch)]
		ids = ids[len(some):]
		err := b.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
			for _, id := range some {
				if _, err := do(tx, id.Bytes()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s %d frames: %w", what, n, err)
		}
	}
	return nil
}

func (b *Books) exec(ctx context.Context, what, query string, args ...any) error {
	return wrap(what, b.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}))
}

// Work is reclaim.Books'.
func (b *Books) Work(ctx context.Context) (work []reclaim.Work, err error) {
	now := b.d.opts.Now()
	err = b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT incarnation, segment, step, since_ns FROM reclaiming ORDER BY since_ns, incarnation, segment")
		return eachRow(rows, err, func() error {
			var w reclaim.Work
			var incarnation, since int64
			err := rows.Scan(&incarnation, &w.Segment, &w.Step, &since)
			w.Incarnation, w.Age = uint64(incarnation), now.Sub(time.Unix(0, since))
			work = append(work, w)
			return err
		})
	})
	return work, wrap("read segments in hand", err)
}

// Begin is reclaim.Books'.
func (b *Books) Begin(ctx context.Context, incarnation uint64, segment uint32, step reclaim.Step) error {
	return b.exec(ctx, "take segment in hand", `INSERT INTO reclaiming (incarnation, segment, step, since_ns) VALUES (?, ?, ?, ?)
		ON CONFLICT (incarnation, segment) DO UPDATE SET step = excluded.step, since_ns = excluded.since_ns`,
		int64(incarnation), int64(segment), int64(step), b.d.opts.Now().UnixNano())
}

// Drop is reclaim.Books'.
func (b *Books) Drop(ctx context.Context, incarnation uint64, segment uint32) error {
	return b.exec(ctx, "drop segment", dropWork, int64(incarnation), int64(segment))
}

const dropWork = "DELETE FROM reclaiming WHERE incarnation = ? AND segment = ?"

// What is forgotten with a segment: of the frames first written there that were not moved away, and of those moved there
// that were not moved on. The segment's row goes last.
var forgetSegment = []string{
	"DELETE FROM condemned WHERE blob_id BETWEEN ?1 AND ?2 AND blob_id NOT IN (SELECT blob_id FROM location WHERE blob_id BETWEEN ?1 AND ?2)",
	"DELETE FROM condemned WHERE blob_id IN (SELECT blob_id FROM location WHERE place BETWEEN ?1 AND ?2)",
	"DELETE FROM apart WHERE place BETWEEN ?1 AND ?2",
	"DELETE FROM shared WHERE child BETWEEN ?1 AND ?2 AND child NOT IN (SELECT blob_id FROM location WHERE blob_id BETWEEN ?1 AND ?2)",
	"DELETE FROM shared WHERE child IN (SELECT blob_id FROM location WHERE place BETWEEN ?1 AND ?2)",
	"DELETE FROM location WHERE place BETWEEN ?1 AND ?2",
}

// Finish is reclaim.Books'.
func (b *Books) Finish(ctx context.Context, incarnation uint64, segment uint32) error {
	first, last := reclaim.Range(incarnation, segment)
	return wrap("forget segment", b.d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, query := range forgetSegment {
			if _, err := tx.Exec(query, first, last); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(forgetStretches, int64(incarnation), segment, segment); err != nil {
			return err
		}
		_, err := tx.Exec(dropWork, int64(incarnation), int64(segment))
		return err
	}))
}

// State is reclaim.Books'.
func (b *Books) State(ctx context.Context) (state []byte, asked time.Time, err error) {
	var ns int64
	err = b.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		err := tx.QueryRow("SELECT state, asked_ns FROM reclaim_state WHERE id = 1").Scan(&state, &ns)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if ns != 0 {
		asked = time.Unix(0, ns)
	}
	return bytes.Clone(state), asked, wrap("read the state of reclaiming", err)
}

// SaveState is reclaim.Books'.
func (b *Books) SaveState(ctx context.Context, state []byte) error {
	return b.exec(ctx, "save the state of reclaiming", "UPDATE reclaim_state SET state = ? WHERE id = 1", unit.NotNil(state))
}

// Ask is reclaim.Books'.
func (b *Books) Ask(ctx context.Context) error {
	return b.exec(ctx, "ask for a round of reclaiming", "UPDATE reclaim_state SET asked_ns = ? WHERE id = 1", b.d.opts.Now().UnixNano())
}

func binaryIDs(ids []blob.ID) [][]byte {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = id.Bytes()
	}
	return out
}

func readIDs(tx *sqlitedb.ReadTx, into *[]blob.ID, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	var b sql.RawBytes
	return eachRow(rows, err, func() error {
		if err := rows.Scan(&b); err != nil {
			return err
		}
		id, err := blob.IDFrom(b)
		*into = append(*into, id)
		return err
	})
}

func eachPair(rows *sql.Rows, err error, each func(a, b blob.ID)) error {
	var x, y sql.RawBytes
	return eachRow(rows, err, func() error {
		if err := rows.Scan(&x, &y); err != nil {
			return err
		}
		a, err := blob.IDFrom(x)
		if err != nil {
			return err
		}
		b, err := blob.IDFrom(y)
		each(a, b)
		return err
	})
}
