package join

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"

	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Who refers to frames, and whether the frame must be there: bodies of messages that are done with may have been given
// back. One row for each frame, in the order of ids.
var referrers = []string{
	"SELECT DISTINCT blob_id, 1 FROM email WHERE blob_id > ? ORDER BY blob_id LIMIT ?",
	`SELECT blob_id, MAX(EXISTS (SELECT 1 FROM recipient r WHERE r.queue_id = m.queue_id AND r.due_ns IS NOT NULL))
		FROM message m WHERE blob_id > ? GROUP BY blob_id ORDER BY blob_id LIMIT ?`,
	"SELECT blob_id, MAX(decision IN (1, 2)) FROM withheld WHERE blob_id > ? GROUP BY blob_id ORDER BY blob_id LIMIT ?",
}

// planBatch is how many frames are noted at once.
const planBatch = 2000

// plan finds out what is to be copied. It may be repeated until it was done once.
func (j *joiner) plan(ctx context.Context) error {
	if !j.book.planned {
		for _, query := range referrers {
			if err := j.planReferrers(ctx, query); err != nil {
				return err
			}
		}
		if err := j.planOutbox(ctx); err != nil {
			return err
		}
		if err := j.fault("half-planned"); err != nil {
			return err
		}
		if err := j.planFrames(ctx); err != nil {
			return err
		}
		err := j.book.Write(ctx, func(tx *sqlitedb.Tx) error { _, err := tx.Exec("UPDATE site SET planned = 1"); return err })
		if err != nil {
			return err
		}
		j.book.planned = true
	}
	n, err := j.book.one(ctx, "SELECT COUNT(*) FROM frame")
	j.deps.Say("plan: %d frames", n)
	return err
}

func (j *joiner) planReferrers(ctx context.Context, query string) error {
	after := []byte{}
	for {
		var found []entry
		err := j.src.index.Read(ctx, func(tx *sqlitedb.ReadTx) error {
			rows, err := tx.Query(query, after, planBatch)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id []byte
				var e entry
				if err := rows.Scan(&id, &e.need); err != nil {
					return err
				}
				if e.old, err = blob.IDFrom(id); err != nil {
					return err
				}
				found = append(found, e)
			}
			return rows.Err()
		})
		if err != nil {
			return fmt.Errorf("look for referrers: %w", err)
		}
		if err := j.want(ctx, found); err != nil {
			return err
		}
		if len(found) < planBatch {
			return nil
		}
		after = found[len(found)-1].old.Bytes()
	}
}

func (j *joiner) want(ctx context.Context, entries []entry) error {
	return j.book.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, e := range entries {
			if err := want(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// planOutbox adds the frames of children that wait for the router.
func (j *joiner) planOutbox(ctx context.Context) error {
	var last ledger.OutboxChild
	for {
		page, err := j.src.index.Ledger().Outbox(ctx, last, planBatch)
		if err != nil {
			return err
		}
		var found []entry
		for _, c := range page {
			last = c
			var m mailv1.Accepted
			if err := proto.Unmarshal(c.Payload, &m); err != nil {
				return fmt.Errorf("decode child %s: %w", c.ID, err)
			}
			id, err := blob.IDFrom(m.BlobId)
			if err != nil {
				return fmt.Errorf("child %s: %w", c.ID, err)
			}
			found = append(found, entry{old: id, need: wanted})
		}
		if err := j.want(ctx, found); err != nil {
			return err
		}
		if len(page) < planBatch {
			return nil
		}
	}
}

// planFrames goes through all frames of the site, for those that share bodies and those that nobody has accounted for.
func (j *joiner) planFrames(ctx context.Context) error {
	checkpoints, err := j.src.index.Ledger().Checkpoints(ctx)
	if err != nil {
		return err
	}
	incarnations, err := j.src.blobs.Incarnations(ctx)
	if err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	var batch []blob.Scanned
	for _, inc := range incarnations {
		flush := func() error {
			err := j.planBatch(ctx, batch, checkpoints[inc.ID])
			batch = batch[:0]
			return err
		}
		_, err := j.src.blobs.Scan(ctx, blob.Position{Incarnation: inc.ID}, func(f blob.Scanned) error {
			if batch = append(batch, f); len(batch) < planBatch/8 {
				return nil
			}
			return flush()
		})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return fmt.Errorf("scan incarnation %d: %w", inc.ID, err)
		}
	}
	return nil
}

func (j *joiner) planBatch(ctx context.Context, frames []blob.Scanned, c ledger.Checkpoint) error {
	first := make([]blob.ID, len(frames))
	for i, f := range frames {
		if first[i] = f.ID; !f.Origin.IsZero() {
			first[i] = f.Origin
		}
	}
	known, err := j.book.has(ctx, first)
	if err != nil {
		return err
	}
	// Frames that recovery would have to look at.
	var ahead []blob.Scanned
	owner := map[blob.ID]blob.ID{}
	for i, f := range frames {
		if f.Err == nil && !f.Owner.IsZero() {
			owner[first[i]] = f.Owner
		}
		if _, ok := known[first[i]]; !ok && f.Meta.Kind == blob.Accepted && f.Origin.IsZero() && !c.Passed(f.ID) {
			ahead = append(ahead, f)
		}
	}
	lost, err := j.unaccounted(ctx, ahead)
	if err != nil {
		return err
	}
	return j.book.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, e := range lost {
			if err := want(tx, e); err != nil {
				return err
			}
		}
		for child, o := range owner {
			// The owner is copied if the child is, and must be there if the child must.
			n, err := tx.Exec("UPDATE frame SET owner = ? WHERE old = ?", o.Bytes(), child.Bytes())
			if err != nil || n == 0 {
				if err != nil {
					return err
				}
				continue
			}
			if _, err := tx.Exec(`INSERT INTO frame (old, need) SELECT ?1, min(need, 1) FROM frame WHERE old = ?2
				ON CONFLICT DO UPDATE SET need = max(need, excluded.need)`, o.Bytes(), child.Bytes()); err != nil {
				return err
			}
		}
		return nil
	})
}

// unaccounted leaves those that recovery of the site would have published or withheld, by its rules (services/store).
func (j *joiner) unaccounted(ctx context.Context, frames []blob.Scanned) ([]entry, error) {
	if len(frames) == 0 {
		return nil, nil
	}
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].Meta.QueueID[:]
	}
	l := j.src.index.Ledger()
	known, err := l.Known(ctx, ids)
	if err != nil {
		return nil, err
	}
	decisions, err := l.Decisions(ctx, ids)
	if err != nil {
		return nil, err
	}
	waiting, err := l.Waiting(ctx, ids)
	if err != nil {
		return nil, err
	}
	var lost []entry
	for i, f := range frames {
		if known[i].Found || decisions[i] != ledger.NotWithheld || waiting[i] {
			continue
		}
		e := entry{old: f.ID, queueID: ids[i], need: unrouted}
		if f.Err != nil {
			e.state = damaged
			lost = append(lost, e)
			continue
		}
		var tail mailv1.FrameTail
		written := f.Written.UnixNano()
		if err := proto.Unmarshal(f.Meta.Tail, &tail); err == nil {
			if a := tail.GetVerdict().GetAction(); a == mailv1.Action_ACTION_REJECT || a == mailv1.Action_ACTION_DISCARD {
				continue
			}
			written = max(written, tail.GetEnvelope().GetAcceptedNs())
		}
		// In the bucket it would be as young as its copy.
		if j.deps.Now().UnixNano()-written > int64(j.cfg.Horizon) {
			e.need = forgotten
		}
		lost = append(lost, e)
	}
	return lost, nil
}
