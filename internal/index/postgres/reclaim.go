package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

// Books is reclaim.Books over a DB.
type Books struct{ d *DB }

// Books gives what the database knows about frames.
func (d *DB) Books() *Books { return &Books{d} }

var _ reclaim.Books = (*Books)(nil)

// Moves go in the order of the frames, as locks are taken. Each is won where the frame still is where it was copied from,
// and the copy was not condemned meanwhile.
const (
	locateFrames = `SELECT blob_id, place FROM location WHERE blob_id = ANY($1)`
	moveFirst    = `INSERT INTO location (blob_id, place) SELECT $1::bytea, $2::bytea WHERE NOT EXISTS (SELECT 1 FROM condemned WHERE blob_id = $2)
		ON CONFLICT DO NOTHING`
	moveOn = `UPDATE location SET place = $2 WHERE blob_id = $1 AND place = $3
		AND NOT EXISTS (SELECT 1 FROM condemned WHERE blob_id = $2)`
)

// What refers to frames between two ids, and to given ones.
const (
	waits     = `EXISTS (SELECT 1 FROM recipient r WHERE r.queue_id = m.queue_id AND r.due_ns IS NOT NULL)`
	undecided = `decision IN (1, 2)`

	usedByLedger   = `SELECT blob_id FROM message m WHERE blob_id BETWEEN $1 AND $2 AND ` + waits
	usedByRecovery = `SELECT blob_id FROM withheld WHERE blob_id BETWEEN $1 AND $2 AND ` + undecided
	usedByEmail    = `SELECT DISTINCT blob_id FROM email WHERE blob_id BETWEEN $1 AND $2`

	inUse = `SELECT blob_id FROM message m WHERE blob_id = ANY($1) AND ` + waits + `
		UNION SELECT blob_id FROM withheld WHERE blob_id = ANY($1) AND ` + undecided + `
		UNION SELECT blob_id FROM email WHERE blob_id = ANY($1)`
)

// What is known of a segment's frames: by the first and the last id, and by given ones.
const (
	awayFrames   = `SELECT blob_id FROM location WHERE blob_id BETWEEN $1 AND $2`
	hereFrames   = `SELECT blob_id, place FROM location WHERE place BETWEEN $1 AND $2`
	apartsHere   = `SELECT place, bytes FROM apart WHERE place BETWEEN $1 AND $2`
	sharedHere   = `SELECT owner, child FROM shared WHERE owner BETWEEN $1 AND $2`
	sharedOf     = `SELECT owner, child FROM shared WHERE owner = ANY($1)`
	condemnedIn  = `SELECT blob_id FROM condemned WHERE blob_id BETWEEN $1 AND $2`
	condemnedAny = `SELECT blob_id FROM condemned WHERE blob_id = ANY($1)`
)

// Locate is blob.Locator's.
func (b *Books) Locate(ctx context.Context, ids []blob.ID) ([]blob.ID, error) {
	places := map[blob.ID]blob.ID{}
	err := b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return readPairs(tx, func(first, place blob.ID) { places[first] = place }, locateFrames, binaryIDs(ids))
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
	order := make([]int, len(moves))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return slices.Compare(moves[i].First.Bytes(), moves[j].First.Bytes()) })
	var moved []bool
	err := b.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		moved = make([]bool, len(moves))
		batch := &pgx.Batch{}
		for _, i := range order {
			m := moves[i]
			query, args := moveOn, []any{m.First.Bytes(), m.To.Bytes(), m.From.Bytes()}
			if m.From == m.First {
				query, args = moveFirst, args[:2]
			}
			batch.Queue(query, args...).Exec(func(tag pgconn.CommandTag) error {
				moved[i] = tag.RowsAffected() == 1
				return nil
			})
		}
		return tx.Run(batch)
	})
	if err != nil {
		return nil, fmt.Errorf("move %d frames: %w", len(moves), err)
	}
	return moved, nil
}

// Segment is reclaim.Books'.
func (b *Books) Segment(ctx context.Context, incarnation uint64, segment uint32) (*reclaim.Referrers, error) {
	var r *reclaim.Referrers
	first, last := reclaim.Range(incarnation, segment)
	err := b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		r = &reclaim.Referrers{}
		for _, query := range []string{usedByLedger, usedByRecovery, usedByEmail} {
			if err := readIDs(tx, &r.Used, query, first, last); err != nil {
				return err
			}
		}
		if err := readIDs(tx, &r.Away, awayFrames, first, last); err != nil {
			return err
		}
		var here [][]byte
		if err := readPairs(tx, func(first, place blob.ID) {
			r.Here = append(r.Here, reclaim.Located{First: first, Place: place})
			here = append(here, first.Bytes())
		}, hereFrames, first, last); err != nil {
			return err
		}
		share := func(owner, child blob.ID) { r.Shares = append(r.Shares, reclaim.Share{Owner: owner, Child: child}) }
		if err := readPairs(tx, share, sharedHere, first, last); err != nil {
			return err
		}
		if err := readIDs(tx, &r.Condemned, condemnedIn, first, last); err != nil {
			return err
		}
		if len(here) > 0 {
			if err := readPairs(tx, share, sharedOf, here); err != nil {
				return err
			}
			if err := readIDs(tx, &r.Condemned, condemnedAny, here); err != nil {
				return err
			}
		}
		return readAparts(tx, r, first, last)
	})
	if err != nil {
		return nil, fmt.Errorf("referrers of segment %d of incarnation %d: %w", segment, incarnation, err)
	}
	return r, nil
}

func readAparts(tx *pgdb.ReadTx, r *reclaim.Referrers, first, last []byte) error {
	rows, err := tx.Query(apartsHere, first, last)
	return eachRow(rows, err, func() error {
		var place []byte
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
	out := make([]bool, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	var used []blob.ID
	err := b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		used = nil
		return readIDs(tx, &used, inUse, binaryIDs(ids))
	})
	if err != nil {
		return nil, fmt.Errorf("referrers of %d frames: %w", len(ids), err)
	}
	found := make(map[blob.ID]bool, len(used))
	for _, id := range used {
		found[id] = true
	}
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
}

// Rows of many are written in the order of their keys, so that two writers wait for each other and no more.
const (
	noteShares = `INSERT INTO shared (owner, child) SELECT o, c FROM unnest($1::bytea[], $2::bytea[]) AS k (o, c) ORDER BY o, c ON CONFLICT DO NOTHING`
	noteAparts = `INSERT INTO apart (place, bytes) SELECT p, n FROM unnest($1::bytea[], $2::bigint[]) AS k (p, n) ORDER BY p ON CONFLICT DO NOTHING`
	condemn    = `INSERT INTO condemned (blob_id, condemned_ns) SELECT b, ` + clockNs + ` FROM unnest($2::bytea[]) AS k (b) ORDER BY b ON CONFLICT DO NOTHING`
	pardon     = `DELETE FROM condemned WHERE blob_id = ANY($1)`
	freed      = `DELETE FROM apart WHERE place = ANY($1)`
)

// Note is reclaim.Books'.
func (b *Books) Note(ctx context.Context, shares []reclaim.Share, aparts []reclaim.Apart) error {
	var owners, children, places [][]byte
	var bytes []int64
	for _, s := range shares {
		owners, children = append(owners, s.Owner.Bytes()), append(children, s.Child.Bytes())
	}
	for _, a := range aparts {
		places, bytes = append(places, a.Place.Bytes()), append(bytes, a.Bytes)
	}
	return wrap("note frames", b.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		if _, err := tx.Exec(noteShares, owners, children); err != nil {
			return err
		}
		_, err := tx.Exec(noteAparts, places, bytes)
		return err
	}))
}

// Gaps is reclaim.Books'.
func (b *Books) Gaps(ctx context.Context) (gaps []uint64, err error) {
	err = b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		gaps = nil
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
	return b.exec(ctx, "close gap", "DELETE FROM unnoted WHERE incarnation = $1", int64(incarnation))
}

// Condemn is reclaim.Books'.
func (b *Books) Condemn(ctx context.Context, ids []blob.ID) error {
	for some := range slices.Chunk(binaryIDs(ids), writeBatch) {
		if err := b.exec(ctx, "condemn frames", condemn, b.d.clock(), some); err != nil {
			return err
		}
	}
	return nil
}

// Pardon is reclaim.Books'.
func (b *Books) Pardon(ctx context.Context, ids []blob.ID) error {
	return b.exec(ctx, "pardon frames", pardon, binaryIDs(ids))
}

// Freed is reclaim.Books'.
func (b *Books) Freed(ctx context.Context, places []blob.ID) error {
	return b.exec(ctx, "note freed bodies", freed, binaryIDs(places))
}

// writeBatch is how many rows one write of a worker changes.
const writeBatch = 4096

func (b *Books) exec(ctx context.Context, what, query string, args ...any) error {
	return wrap(what, b.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}))
}

const (
	readWork = `SELECT incarnation, segment, step, ` + clockNs + ` - since_ns FROM reclaiming ORDER BY since_ns, incarnation, segment`
	putWork  = `INSERT INTO reclaiming (incarnation, segment, step, since_ns) VALUES ($2, $3, $4, ` + clockNs + `)
		ON CONFLICT (incarnation, segment) DO UPDATE SET step = excluded.step, since_ns = excluded.since_ns`
	dropWork = `DELETE FROM reclaiming WHERE incarnation = $1 AND segment = $2`
)

// Work is reclaim.Books'.
func (b *Books) Work(ctx context.Context) (work []reclaim.Work, err error) {
	err = b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		work = nil
		rows, err := tx.Query(readWork, b.d.clock())
		return eachRow(rows, err, func() error {
			var w reclaim.Work
			var incarnation, segment, age int64
			var step int32
			err := rows.Scan(&incarnation, &segment, &step, &age)
			w.Incarnation, w.Segment, w.Step, w.Age = uint64(incarnation), uint32(segment), reclaim.Step(step), time.Duration(age)
			work = append(work, w)
			return err
		})
	})
	return work, wrap("read segments in hand", err)
}

// Begin is reclaim.Books'.
func (b *Books) Begin(ctx context.Context, incarnation uint64, segment uint32, step reclaim.Step) error {
	return b.exec(ctx, "take segment in hand", putWork, b.d.clock(), int64(incarnation), int64(segment), int32(step))
}

// Drop is reclaim.Books'.
func (b *Books) Drop(ctx context.Context, incarnation uint64, segment uint32) error {
	return b.exec(ctx, "drop segment", dropWork, int64(incarnation), int64(segment))
}

// What is forgotten with a segment: of the frames first written there that were not moved away, and of those moved there
// that were not moved on. The segment's row goes last. Arrays are looked up by keys; joined, a server that plans for any segment
// went through all of a table.
var forgetSegment = []string{
	`DELETE FROM condemned c WHERE blob_id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT 1 FROM location l WHERE l.blob_id = c.blob_id)`,
	`DELETE FROM condemned WHERE blob_id = ANY (ARRAY(SELECT blob_id FROM location WHERE place BETWEEN $1 AND $2))`,
	`DELETE FROM apart WHERE place BETWEEN $1 AND $2`,
	`DELETE FROM shared s WHERE child BETWEEN $1 AND $2 AND NOT EXISTS (SELECT 1 FROM location l WHERE l.blob_id = s.child)`,
	`DELETE FROM shared WHERE child = ANY (ARRAY(SELECT blob_id FROM location WHERE place BETWEEN $1 AND $2))`,
	`DELETE FROM location WHERE place BETWEEN $1 AND $2`,
}

// Finish is reclaim.Books'.
func (b *Books) Finish(ctx context.Context, incarnation uint64, segment uint32) error {
	first, last := reclaim.Range(incarnation, segment)
	return wrap("forget segment", b.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		for _, query := range forgetSegment {
			if _, err := tx.Exec(query, first, last); err != nil {
				return err
			}
		}
		_, err := tx.Exec(dropWork, int64(incarnation), int64(segment))
		return err
	}))
}

// State is reclaim.Books'.
func (b *Books) State(ctx context.Context) (state []byte, asked time.Time, err error) {
	var ns int64
	err = b.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow("SELECT state, asked_ns FROM reclaim_state WHERE id = 1").Scan(&state, &ns)
	})
	if ns != 0 {
		asked = time.Unix(0, ns)
	}
	return state, asked, wrap("read the state of reclaiming", err)
}

// SaveState is reclaim.Books'.
func (b *Books) SaveState(ctx context.Context, state []byte) error {
	if state == nil {
		state = []byte{}
	}
	return b.exec(ctx, "save the state of reclaiming", "UPDATE reclaim_state SET state = $1 WHERE id = 1", state)
}

// Ask is reclaim.Books'.
func (b *Books) Ask(ctx context.Context) error {
	return b.exec(ctx, "ask for a round of reclaiming", "UPDATE reclaim_state SET asked_ns = "+clockNs+" WHERE id = 1", b.d.clock())
}

func binaryIDs(ids []blob.ID) [][]byte {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = id.Bytes()
	}
	return out
}

func readIDs(tx *pgdb.ReadTx, into *[]blob.ID, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	return eachRow(rows, err, func() error {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return err
		}
		id, err := blob.IDFrom(b)
		*into = append(*into, id)
		return err
	})
}

func readPairs(tx *pgdb.ReadTx, each func(a, b blob.ID), query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	return eachRow(rows, err, func() error {
		var x, y []byte
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
