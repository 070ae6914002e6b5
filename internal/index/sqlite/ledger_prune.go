package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// pruneTree bounds how many descendants of one message are looked at; with more the message stays.
const pruneTree = 10_000

// searchPrune is how many search rows are looked at when all messages have been, for each of the messages that may go at once.
const searchPrune = 16

// pruneRoots are old messages that go by themselves: those without a parent that is still here.
const pruneRoots = `SELECT m.queue_id FROM message m WHERE m.recorded_ns < ? AND m.queue_id > ? AND m.queue_id < ?
	AND (m.parent IS NULL OR NOT EXISTS (SELECT 1 FROM message p WHERE p.queue_id = m.parent))
	ORDER BY m.queue_id LIMIT ?`

// pruneCandidate is what ledger.PruneRule asks about one message.
const pruneCandidate = `SELECT m.kind, m.blob_id, m.recorded_ns, coalesce(max(r.changed_ns), m.recorded_ns), count(r.due_ns),
	(SELECT count(*) FROM outbox o WHERE o.owner = m.queue_id)
	FROM message m LEFT JOIN recipient r ON r.queue_id = m.queue_id WHERE m.queue_id = ? GROUP BY m.queue_id`

// Prune removes old rows; see ledger.Accounts.
func (l *Ledger) Prune(ctx context.Context, rule ledger.PruneRule, limit int) (pruned int, more bool, err error) {
	if err := l.notePruning(ctx, rule.Before); err != nil {
		return 0, false, err
	}
	after := make([]byte, 16)
	for pruned < limit {
		roots, err := l.pruneRoots(ctx, rule.Before, after)
		if err != nil {
			return pruned, false, wrap("find rows to prune", err)
		}
		if len(roots) == 0 {
			return pruned, false, l.pruneSearch(ctx, rule.Before.UnixNano(), searchPrune*limit)
		}
		after = roots[len(roots)-1]
		n := 0
		err = l.write(ctx, func(tx *sqlitedb.Tx) error {
			for _, id := range roots {
				gone, err := pruneOne(tx, rule, id)
				if err != nil {
					return fmt.Errorf("prune %x: %w", id, err)
				}
				n += gone
			}
			return nil
		})
		if err != nil {
			return pruned, false, err
		}
		pruned += n
	}
	return pruned, true, nil
}

// notePruning is durable before the first row goes, so that the auditor never takes a pruned message for a lost one.
func (l *Ledger) notePruning(ctx context.Context, before time.Time) error {
	return wrap("note pruning", l.write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(`INSERT INTO pruned (id, before_ns) VALUES (1, ?)
			ON CONFLICT (id) DO UPDATE SET before_ns = excluded.before_ns WHERE excluded.before_ns > before_ns`, before.UnixNano())
		return err
	}))
}

func (l *Ledger) pruneRoots(ctx context.Context, before time.Time, after []byte) (ids [][]byte, err error) {
	err = l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		// An id is made before its message is recorded: what is younger need not be looked at.
		rows, err := tx.Query(pruneRoots, before.UnixNano(), after, idAfter(before.UnixNano()), manyIDs)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

// pruneOne removes a message with all that descends from it, if the rule allows, and tells how many messages went.
func pruneOne(tx *sqlitedb.Tx, rule ledger.PruneRule, root []byte) (int, error) {
	tree := [][]byte{root}
	var candidates []ledger.PruneCandidate
	for i := 0; i < len(tree); i++ {
		c, err := readCandidate(tx, tree[i])
		if err != nil {
			return 0, err
		}
		if candidates = append(candidates, c); !rule.Allows(c) {
			return 0, nil
		}
		if tree, err = children(tx, tree, tree[i]); err != nil {
			return 0, err
		}
		if len(tree) > pruneTree {
			return 0, nil
		}
	}
	if !rule.Allows(candidates...) {
		return 0, nil
	}
	if err := changeHours(tx, tree); err != nil {
		return 0, err
	}
	for _, id := range tree {
		if _, err := tx.Exec("DELETE FROM delivered WHERE queue_id = ?", id); err != nil {
			return 0, err
		}
		if _, err := deleteRows(tx, id); err != nil {
			return 0, err
		}
		if _, err := tx.Exec("DELETE FROM withheld WHERE queue_id = ?", id); err != nil {
			return 0, err
		}
	}
	return len(tree), nil
}

func readCandidate(tx *sqlitedb.Tx, id []byte) (c ledger.PruneCandidate, err error) {
	var recorded, changed int64
	err = tx.QueryRow(pruneCandidate, id).Scan(&c.Kind, &c.BlobID, &recorded, &changed, &c.Open, &c.Waiting)
	c.Recorded, c.Changed = time.Unix(0, recorded), time.Unix(0, changed)
	return c, err
}

// children adds those of one message to a list.
func children(tx *sqlitedb.Tx, list [][]byte, parent []byte) ([][]byte, error) {
	rows, err := tx.Query("SELECT queue_id FROM message WHERE parent = ?", parent)
	err = eachRow(rows, err, func() error {
		var id sql.RawBytes
		if err := rows.Scan(&id); err != nil {
			return err
		}
		list = append(list, append([]byte(nil), id...))
		return nil
	})
	return list, err
}
