package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	saveCheckpoint = `INSERT INTO checkpoint (incarnation, segment, position, done, saved_ns) VALUES ($2, $3, $4, $5, ` + clockNs + `)
		ON CONFLICT (incarnation) DO UPDATE SET segment = excluded.segment, position = excluded.position,
			done = excluded.done, saved_ns = excluded.saved_ns
		WHERE (excluded.segment, excluded.position, excluded.done) > (checkpoint.segment, checkpoint.position, checkpoint.done)`
	withholdFrames = `INSERT INTO withheld (queue_id, blob_id, found_ns, decision, changed_ns)
		SELECT f.queue_id, f.blob_id, ` + clockNs + `, $4, ` + clockNs + ` FROM unnest($2::bytea[], $3::bytea[]) AS f (queue_id, blob_id)
		ON CONFLICT DO NOTHING`
	decisionsOf  = `SELECT queue_id, decision FROM withheld WHERE queue_id = ANY($1)`
	dropWithheld = `DELETE FROM withheld WHERE queue_id = ANY($1)`
)

// withheldFrames has the decision in its text, as the server plans for one that is seldom otherwise than for one that is not.
func withheldFrames(d ledger.Decision) string {
	return fmt.Sprintf(`SELECT queue_id, blob_id FROM withheld WHERE decision = %d AND queue_id > $1 ORDER BY queue_id LIMIT $2`, d)
}

// Checkpoints tells how far recovery is; see ledger.Accounts.
func (l *Ledger) Checkpoints(ctx context.Context) (map[uint64]ledger.Checkpoint, error) {
	all := map[uint64]ledger.Checkpoint{}
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
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
	return wrap("save checkpoint", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(saveCheckpoint, l.clock(), int64(c.Incarnation), c.Segment, c.Offset, c.Done)
		return err
	}))
}

// Withhold notes frames; see ledger.Accounts.
func (l *Ledger) Withhold(ctx context.Context, frames []ledger.Withheld) error {
	sorted := slices.SortedFunc(slices.Values(frames), func(a, b ledger.Withheld) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	ids, blobs := make([][]byte, len(sorted)), make([][]byte, len(sorted))
	for i := range sorted {
		ids[i], blobs[i] = sorted[i].ID[:], sorted[i].BlobID.Bytes()
	}
	return wrap("withhold frames", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(withholdFrames, l.clock(), ids, blobs, int32(ledger.Undecided))
		return err
	}))
}

// Withheld lists noted frames; see ledger.Accounts.
func (l *Ledger) Withheld(ctx context.Context, d ledger.Decision, after envelope.QueueID, limit int) ([]ledger.Withheld, error) {
	var frames []ledger.Withheld
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(withheldFrames(d), after[:], limit)
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
	if err := checkIDs(ids...); err != nil {
		return nil, fmt.Errorf("look up decisions: %w", err)
	}
	found := map[[16]byte]ledger.Decision{}
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(decisionsOf, ids)
		return eachRow(rows, err, func() error {
			var id []byte
			var d ledger.Decision
			if err := rows.Scan(&id, &d); err != nil {
				return err
			}
			found[[16]byte(id)] = d
			return nil
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
	if err := checkIDs(ids...); err != nil {
		return fmt.Errorf("drop withheld frames: %w", err)
	}
	return wrap("drop withheld frames", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(dropWithheld, ids)
		return err
	}))
}

// PrunedBefore is the latest note of Prune; see ledger.Accounts.
func (l *Ledger) PrunedBefore(ctx context.Context) (time.Time, error) {
	var ns int64
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		err := tx.QueryRow("SELECT before_ns FROM pruned WHERE id = 1").Scan(&ns)
		if errors.Is(err, pgdb.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil || ns == 0 {
		return time.Time{}, wrap("read when rows were pruned", err)
	}
	return time.Unix(0, ns), nil
}
