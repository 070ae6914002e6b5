package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// A child made twice keeps the first.
	putChildren = `INSERT INTO outbox (owner, child, payload, due_ns)
		SELECT c.owner, c.child, c.payload, ` + clockNs + ` FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS c (owner, child, payload)
		ON CONFLICT DO NOTHING`
	// dueChildren locks due children, but for those that another process takes at this moment.
	dueChildren = `SELECT owner, child, payload, tries FROM outbox WHERE due_ns <= ` + clockNs + ` ORDER BY due_ns LIMIT $2
		FOR UPDATE SKIP LOCKED`
	putOffChildren = `UPDATE outbox o SET tries = o.tries + 1, due_ns = ` + clockNs + ` + least($2::bigint << least(o.tries, 16)::integer, $3::bigint)
		FROM unnest($4::bytea[], $5::bytea[]) AS c (owner, child) WHERE o.owner = c.owner AND o.child = c.child`
	readChildren = `SELECT owner, child, payload, tries FROM outbox WHERE (owner, child) > ($1, $2) ORDER BY owner, child LIMIT $3`
	dropChildren = `DELETE FROM outbox o USING unnest($1::bytea[], $2::bytea[]) AS c (owner, child)
		WHERE o.owner = c.owner AND o.child = c.child`
	findChildren = `SELECT child FROM outbox WHERE child = ANY($1)`
)

// childArrays are children for the outbox, column by column.
type childArrays struct{ owners, ids, payloads [][]byte }

// add takes the messages that a transaction gives rise to; they stand in the outbox until the ledger has their own rows.
// owner is the transaction's key: the parent's queue id, or the 8 octets of an account id. One without verdict gets that of
// generated mail, which is accept.
func (a *childArrays) add(owner []byte, children []*mailv1.Accepted) error {
	for _, c := range children {
		if err := checkIDs(c.GetQueueId()); err != nil {
			return fmt.Errorf("put child in the outbox: %w", err)
		}
		if c.Verdict == nil {
			c = &mailv1.Accepted{QueueId: c.QueueId, BlobId: c.BlobId, Envelope: c.Envelope, Overlay: c.Overlay, PartIndex: c.PartIndex,
				Verdict: &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}}
		}
		payload, err := proto.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode child: %w", err)
		}
		a.owners, a.ids, a.payloads = append(a.owners, owner), append(a.ids, c.QueueId), append(a.payloads, payload)
	}
	return nil
}

// queue makes a batch put the children in the outbox, due at once. Those of one owner belong into the owner's transaction.
func (a *childArrays) queue(b *pgx.Batch, clock pgtype.Int8) {
	if len(a.ids) > 0 {
		b.Queue(putChildren, clock, a.owners, a.ids, a.payloads)
	}
}

// TakeOutbox takes due children; see ledger.Queue.
func (l *Ledger) TakeOutbox(ctx context.Context, limit int, again time.Duration) ([]ledger.OutboxChild, error) {
	var children []ledger.OutboxChild
	err := l.write(ctx, func(tx *pgdb.Tx) (err error) {
		rows, err := tx.Query(dueChildren, l.clock(), limit)
		if children, err = scanChildren(rows, err); err != nil || len(children) == 0 {
			return err
		}
		owners, ids := childKeys(children)
		_, err = tx.Exec(putOffChildren, l.clock(), int64(min(again, ledger.OutboxMaxWait)), int64(ledger.OutboxMaxWait), owners, ids)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take from the outbox: %w", err)
	}
	return children, nil
}

// Outbox reads children without taking them; see ledger.Accounts.
func (l *Ledger) Outbox(ctx context.Context, after ledger.OutboxChild, limit int) ([]ledger.OutboxChild, error) {
	owner := after.Owner
	if owner == nil {
		owner = []byte{} // NULL sorts nowhere
	}
	var children []ledger.OutboxChild
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) (err error) {
		rows, err := tx.Query(readChildren, owner, after.ID[:], limit)
		children, err = scanChildren(rows, err)
		return err
	})
	return children, wrap("read the outbox", err)
}

// scanChildren reads the columns owner, child, payload and tries.
func scanChildren(rows pgx.Rows, err error) (children []ledger.OutboxChild, _ error) {
	err = eachRow(rows, err, func() error {
		var c ledger.OutboxChild
		var id []byte
		if err := rows.Scan(&c.Owner, &id, &c.Payload, &c.Tries); err != nil {
			return err
		}
		c.ID = [16]byte(id)
		children = append(children, c)
		return nil
	})
	return children, err
}

// childKeys are children as the database takes them, in the order of their locks.
func childKeys(children []ledger.OutboxChild) (owners, ids [][]byte) {
	sorted := slices.SortedFunc(slices.Values(children), func(a, b ledger.OutboxChild) int {
		return cmp.Or(bytes.Compare(a.Owner, b.Owner), bytes.Compare(a.ID[:], b.ID[:]))
	})
	owners, ids = make([][]byte, len(sorted)), make([][]byte, len(sorted))
	for i := range sorted {
		owners[i], ids[i] = sorted[i].Owner, sorted[i].ID[:]
	}
	return owners, ids
}

// DropOutbox removes children; see ledger.Queue.
func (l *Ledger) DropOutbox(ctx context.Context, children []ledger.OutboxChild) error {
	owners, ids := childKeys(children)
	return wrap("drop from the outbox", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(dropChildren, owners, ids)
		return err
	}))
}

// Waiting tells whether messages stand in the outbox; see ledger.Queue.
func (l *Ledger) Waiting(ctx context.Context, ids [][]byte) ([]bool, error) {
	if err := checkIDs(ids...); err != nil {
		return nil, fmt.Errorf("look into the outbox: %w", err)
	}
	found := map[[16]byte]bool{}
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(findChildren, ids)
		return eachRow(rows, err, func() error {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return err
			}
			found[[16]byte(id)] = true
			return nil
		})
	})
	waiting := make([]bool, len(ids))
	for i, id := range ids {
		waiting[i] = found[[16]byte(id)]
	}
	return waiting, wrap("look into the outbox", err)
}
