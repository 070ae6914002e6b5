package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Checkpoints tells how far recovery is; see ledger.Accounts.
func (l *Ledger) Checkpoints(ctx context.Context) (map[uint64]ledger.Checkpoint, error) {
	all := map[uint64]ledger.Checkpoint{}
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT incarnation, segment, position, done FROM checkpoint")
		return eachRow(rows, err, func() error {
			var incarnation int64
			var c ledger.Checkpoint
			if err := rows.Scan(&incarnation, &c.Segment, &c.Offset, &c.Done); err != nil {
				return err
			}
			c.Incarnation = uint64(incarnation)
			all[c.Incarnation] = c
			return nil
		})
	})
	return all, wrap("read checkpoints", err)
}

// SaveCheckpoint moves a checkpoint forward; see ledger.Accounts.
func (l *Ledger) SaveCheckpoint(ctx context.Context, c ledger.Checkpoint) error {
	return wrap("save checkpoint", l.write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(`INSERT INTO checkpoint (incarnation, segment, position, done, saved_ns) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (incarnation) DO UPDATE SET segment = excluded.segment, position = excluded.position,
				done = excluded.done, saved_ns = excluded.saved_ns
			WHERE (excluded.segment, excluded.position, excluded.done) > (segment, position, done)`,
			int64(c.Incarnation), c.Segment, c.Offset, c.Done, l.clock())
		return err
	}))
}

// Withhold notes frames; see ledger.Accounts.
func (l *Ledger) Withhold(ctx context.Context, frames []ledger.Withheld) error {
	return wrap("withhold frames", l.write(ctx, func(tx *sqlitedb.Tx) error {
		now := l.clock()
		for _, f := range frames {
			if _, err := tx.Exec("INSERT INTO withheld (queue_id, blob_id, found_ns, decision, changed_ns) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
				f.ID[:], f.BlobID.Bytes(), now, int64(ledger.Undecided), now); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Withheld lists noted frames; see ledger.Accounts.
func (l *Ledger) Withheld(ctx context.Context, d ledger.Decision, after envelope.QueueID, limit int) ([]ledger.Withheld, error) {
	var frames []ledger.Withheld
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT queue_id, blob_id FROM withheld WHERE decision = ? AND queue_id > ? ORDER BY queue_id LIMIT ?", int64(d), after[:], limit)
		return eachRow(rows, err, func() error {
			var id, blobID []byte
			if err := rows.Scan(&id, &blobID); err != nil {
				return err
			}
			f := ledger.Withheld{ID: envelope.QueueID(id)}
			var err error
			f.BlobID, err = blob.IDFrom(blobID)
			frames = append(frames, f)
			return err
		})
	})
	return frames, wrap("list withheld frames", err)
}

// Decisions tells what was decided; see ledger.Accounts.
func (l *Ledger) Decisions(ctx context.Context, ids [][]byte) ([]ledger.Decision, error) {
	if err := checkIDs(ids); err != nil {
		return nil, fmt.Errorf("look up decisions: %w", err)
	}
	found := map[[16]byte]ledger.Decision{}
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(ids, func(marks string, args []any) error {
			rows, err := tx.Query("SELECT queue_id, decision FROM withheld WHERE queue_id IN "+marks, args...)
			var id sql.RawBytes
			return eachRow(rows, err, func() error {
				var d ledger.Decision
				if err := rows.Scan(&id, &d); err != nil {
					return err
				}
				found[[16]byte(id)] = d
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look up decisions: %w", err)
	}
	decisions := make([]ledger.Decision, len(ids))
	for i, id := range ids {
		decisions[i] = found[[16]byte(id)]
	}
	return decisions, nil
}

// DropWithheld forgets notes; see ledger.Accounts.
func (l *Ledger) DropWithheld(ctx context.Context, ids [][]byte) error {
	if err := checkIDs(ids); err != nil {
		return fmt.Errorf("drop withheld frames: %w", err)
	}
	return wrap("drop withheld frames", l.write(ctx, func(tx *sqlitedb.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec("DELETE FROM withheld WHERE queue_id = ?", id); err != nil {
				return err
			}
		}
		return nil
	}))
}

// PrunedBefore is the latest note of Prune; see ledger.Accounts.
func (l *Ledger) PrunedBefore(ctx context.Context) (time.Time, error) {
	var ns int64
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		err := tx.QueryRow("SELECT before_ns FROM pruned WHERE id = 1").Scan(&ns)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil || ns == 0 {
		return time.Time{}, wrap("read when rows were pruned", err)
	}
	return time.Unix(0, ns), nil
}
