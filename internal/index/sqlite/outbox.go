package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// putOutbox keeps the messages that a transaction gives rise to until the ledger has their own rows. owner is the
// transaction's key: the parent's queue id, or the 8 octets of an account id. A child made twice keeps the first; one
// without verdict gets that of generated mail, which is accept. now, in nanoseconds since 1970 UTC, is when they are due.
func putOutbox(tx *sqlitedb.Tx, owner []byte, children []*mailv1.Accepted, now int64) error {
	for _, c := range children {
		if err := checkIDs([][]byte{c.GetQueueId()}); err != nil {
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
		if _, err := tx.Exec("INSERT INTO outbox (owner, child, payload, due_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			owner, c.QueueId, payload, now); err != nil {
			return fmt.Errorf("put child in the outbox: %w", err)
		}
	}
	return nil
}

// TakeOutbox takes due children; see ledger.Queue.
func (l *Ledger) TakeOutbox(ctx context.Context, limit int, again time.Duration) ([]ledger.OutboxChild, error) {
	// This goes through the writer even to find nothing out: whoever was told of a child that is being committed finds it.
	var children []ledger.OutboxChild
	err := l.write(ctx, func(tx *sqlitedb.Tx) error {
		now := l.clock()
		rows, err := tx.Query("SELECT owner, child, payload, tries FROM outbox WHERE due_ns <= ? ORDER BY due_ns LIMIT ?", now, limit)
		if err := eachChild(rows, err, func(c ledger.OutboxChild) { children = append(children, c) }); err != nil {
			return err
		}
		for _, c := range children {
			wait := min(again<<min(c.Tries, 16), ledger.OutboxMaxWait)
			if _, err := tx.Exec("UPDATE outbox SET due_ns = ?, tries = tries + 1 WHERE owner = ? AND child = ?",
				now+int64(wait), c.Owner, c.ID[:]); err != nil {
				return err
			}
		}
		return nil
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
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT owner, child, payload, tries FROM outbox WHERE (owner, child) > (?, ?) ORDER BY owner, child LIMIT ?",
			owner, after.ID[:], limit)
		return eachChild(rows, err, func(c ledger.OutboxChild) { children = append(children, c) })
	})
	return children, wrap("read the outbox", err)
}

// eachChild reads the columns owner, child, payload and tries.
func eachChild(rows *sql.Rows, err error, each func(ledger.OutboxChild)) error {
	return eachRow(rows, err, func() error {
		var c ledger.OutboxChild
		var id []byte
		if err := rows.Scan(&c.Owner, &id, &c.Payload, &c.Tries); err != nil {
			return err
		}
		c.ID = [16]byte(id)
		each(c)
		return nil
	})
}

// DropOutbox removes children; see ledger.Queue.
func (l *Ledger) DropOutbox(ctx context.Context, children []ledger.OutboxChild) error {
	return wrap("drop from the outbox", l.write(ctx, func(tx *sqlitedb.Tx) error {
		for _, c := range children {
			if _, err := tx.Exec("DELETE FROM outbox WHERE owner = ? AND child = ?", c.Owner, c.ID[:]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Waiting tells whether messages stand in the outbox; see ledger.Queue.
func (l *Ledger) Waiting(ctx context.Context, ids [][]byte) ([]bool, error) {
	if err := checkIDs(ids); err != nil {
		return nil, fmt.Errorf("look into the outbox: %w", err)
	}
	found := map[[16]byte]bool{}
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(ids, func(marks string, args []any) error {
			rows, err := tx.Query("SELECT child FROM outbox WHERE child IN "+marks, args...)
			var id sql.RawBytes
			return eachRow(rows, err, func() error {
				if err := rows.Scan(&id); err != nil {
					return err
				}
				found[[16]byte(id)] = true
				return nil
			})
		})
	})
	waiting := make([]bool, len(ids))
	for i, id := range ids {
		waiting[i] = found[[16]byte(id)]
	}
	return waiting, wrap("look into the outbox", err)
}
