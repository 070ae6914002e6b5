package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	// pruneBatch is how many old messages one transaction looks at.
	pruneBatch = 64
	// pruneTree bounds how many descendants of one message are looked at; with more the message stays.
	pruneTree = 10_000
	// searchPrune is how many search rows are looked at when all messages have been, for each of the messages that may go at once.
	searchPrune = 16
)

const (
	// A rule's Before that is later than the last is noted.
	notePruning = `INSERT INTO pruned (id, before_ns) VALUES (1, $1)
		ON CONFLICT (id) DO UPDATE SET before_ns = excluded.before_ns WHERE excluded.before_ns > pruned.before_ns`
	// pruneRoots are old messages that go by themselves: those without a parent that is still here.
	pruneRoots = `SELECT m.queue_id FROM message m
		LEFT JOIN LATERAL (SELECT true AS here FROM message p WHERE p.queue_id = m.parent LIMIT 1) p ON true
		WHERE m.recorded_ns < $1 AND m.queue_id > $2 AND m.queue_id < $3 AND p.here IS NULL
		ORDER BY m.queue_id LIMIT $4`
	// pruneCandidates is what ledger.PruneRule asks about messages.
	pruneCandidates = `SELECT m.queue_id, m.kind, m.blob_id, m.recorded_ns, coalesce(r.changed, m.recorded_ns), r.open, o.waiting
		FROM message m,
			LATERAL (SELECT max(changed_ns) AS changed, count(due_ns) AS open FROM recipient WHERE recipient.queue_id = m.queue_id) r,
			LATERAL (SELECT count(*) AS waiting FROM outbox WHERE outbox.owner = m.queue_id) o
		WHERE m.queue_id = ANY($1)`
	pruneChildren = `SELECT parent, queue_id FROM message WHERE parent = ANY($1)`
)

// Prune removes old rows; see ledger.Accounts.
func (l *Ledger) Prune(ctx context.Context, rule ledger.PruneRule, limit int) (pruned int, more bool, err error) {
	// Noted before the first row goes, so that the auditor never takes a pruned message for a lost one.
	err = l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(notePruning, rule.Before.UnixNano())
		return err
	})
	if err != nil {
		return 0, false, wrap("note pruning", err)
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
		err = l.write(ctx, func(tx *pgdb.Tx) (err error) {
			n, err = pruneTrees(tx, rule, roots)
			return err
		})
		if err != nil {
			return pruned, false, wrap("prune", err)
		}
		pruned += n
	}
	return pruned, true, nil
}

func (l *Ledger) pruneRoots(ctx context.Context, before time.Time, after []byte) (ids [][]byte, err error) {
	err = l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		// An id is made before its message is recorded: what is younger need not be looked at.
		rows, err := tx.Query(pruneRoots, before.UnixNano(), after, idAfter(before.UnixNano()), pruneBatch)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

// pruneTrees removes messages each with all that descends from it, where the rule allows, and tells how many messages went.
func pruneTrees(tx *pgdb.Tx, rule ledger.PruneRule, roots [][]byte) (int, error) {
	var gone [][]byte
	trees, err := allowedTrees(tx, rule, roots)
	for _, tree := range trees {
		gone = append(gone, tree...)
	}
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	b := &pgx.Batch{}
	b.Queue("DELETE FROM delivered WHERE queue_id = ANY($1)", gone)
	queueDeletes(b, gone)
	b.Queue("DELETE FROM withheld WHERE queue_id = ANY($1)", gone)
	queueHours(b, gone)
	return len(gone), tx.Run(b)
}

// allowedTrees reads trees, one generation after the other, and leaves those of which the rule refuses a message.
func allowedTrees(tx *pgdb.Tx, rule ledger.PruneRule, roots [][]byte) (map[[16]byte][][]byte, error) {
	trees := make(map[[16]byte][][]byte, len(roots))
	rootOf := make(map[[16]byte][16]byte, len(roots))
	for _, id := range roots {
		trees[[16]byte(id)], rootOf[[16]byte(id)] = [][]byte{id}, [16]byte(id)
	}
	for level := roots; len(level) > 0; {
		g, err := readGeneration(tx, level)
		if err != nil {
			return nil, err
		}
		for _, id := range level {
			if c, ok := g.candidates[[16]byte(id)]; !ok || !rule.Allows(c) {
				delete(trees, rootOf[[16]byte(id)])
			}
		}
		var next [][]byte
		for _, c := range g.children {
			root := rootOf[c.parent]
			rootOf[c.id] = root
			if trees[root] == nil {
				continue
			}
			if trees[root] = append(trees[root], c.id[:]); len(trees[root]) > pruneTree {
				delete(trees, root)
				continue
			}
			next = append(next, c.id[:])
		}
		level = next
	}
	return trees, nil
}

// generation is what is known of some messages and of those that they gave rise to.
type generation struct {
	candidates map[[16]byte]ledger.PruneCandidate
	children   []pruneChild
}

type pruneChild struct{ parent, id [16]byte }

// readGeneration reads the messages before their children: a child that leaves the outbox in between is recorded then, and
// found among the children.
func readGeneration(tx *pgdb.Tx, ids [][]byte) (generation, error) {
	g := generation{candidates: make(map[[16]byte]ledger.PruneCandidate, len(ids))}
	b := &pgx.Batch{}
	b.Queue(pruneCandidates, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var id []byte
			var c ledger.PruneCandidate
			var recorded, changed int64
			if err := rows.Scan(&id, &c.Kind, &c.BlobID, &recorded, &changed, &c.Open, &c.Waiting); err != nil {
				return err
			}
			c.Recorded, c.Changed = time.Unix(0, recorded), time.Unix(0, changed)
			g.candidates[[16]byte(id)] = c
			return nil
		})
	})
	b.Queue(pruneChildren, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var parent, id []byte
			err := rows.Scan(&parent, &id)
			if err == nil {
				g.children = append(g.children, pruneChild{[16]byte(parent), [16]byte(id)})
			}
			return err
		})
	})
	if err := tx.Run(b); err != nil {
		return g, fmt.Errorf("read %d messages: %w", len(ids), err)
	}
	return g, nil
}
