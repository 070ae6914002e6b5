package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// ErrNotInLedger is a delivery of a recipient that the ledger does not know.
var ErrNotInLedger = unit.ErrNotInLedger

// Deliver is index.Mailboxes'. The batch is one write; where that fails for a reason of one delivery, each is tried alone.
func (m *Mailboxes) Deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	results, err := m.deliver(ctx, deliveries)
	if err == nil || len(deliveries) == 1 || concernsAll(ctx, err) {
		return results, err
	}
	results = make([]index.DeliverResult, 0, len(deliveries))
	for i := range deliveries {
		r, err := m.deliver(ctx, deliveries[i:i+1])
		switch {
		case err != nil && concernsAll(ctx, err):
			return nil, err
		case err != nil:
			r = []index.DeliverResult{{Status: index.Failed, Err: err}}
		}
		results = append(results, r...)
	}
	return results, nil
}

// concernsAll tells of errors that another try, of less, would meet again.
func concernsAll(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, sqlitedb.ErrFull) || errors.Is(err, sqlitedb.ErrClosed)
}

// deliver does all in one write, the ledger's final state last.
func (m *Mailboxes) deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	results, err := write(ctx, m.d, func(u *unit.Unit, r *rows) ([]index.DeliverResult, error) {
		w, err := u.Deliver(r, deliveries)
		if err != nil {
			return nil, err
		}
		if err := u.Step("deliver.before-final"); err != nil {
			return nil, err
		}
		if err := w.Settle(func(d *index.Delivery) error { return markDelivered(r.tx, d.QueueID[:], d.Number, r.now) }); err != nil {
			return nil, err
		}
		return w.Results(), u.Step("deliver.before-commit")
	})
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	fault.Point("deliver.after-commit")
	return results, nil
}

func (r *rows) Recipient(d *index.Delivery) (unit.Recipient, error) {
	return recipientRow(r.tx, d.QueueID[:], d.Number)
}

func (r *rows) Delivered(d *index.Delivery) (box mailbox.ID, uid mailbox.UID, email mailbox.EmailID, found bool, err error) {
	err = r.tx.QueryRow("SELECT mailbox, uid, email FROM delivered WHERE queue_id = ? AND number = ? AND account = ?",
		d.QueueID[:], int64(d.Number), int64(d.Account)).Scan(&box, &uid, &email)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, 0, false, nil
	}
	return box, uid, email, err == nil, err
}

func (r *rows) PutDelivered(d *index.Delivery, result *index.DeliverResult) error {
	return r.exec("INSERT INTO delivered (queue_id, number, account, mailbox, uid, email) VALUES (?, ?, ?, ?, ?, ?)",
		d.QueueID[:], int64(d.Number), int64(d.Account), int64(result.Mailbox), int64(result.UID), int64(result.Email))
}

func (r *rows) PutChildren(d *index.Delivery, children []*mailv1.Accepted) error {
	return putOutbox(r.tx, d.QueueID[:], children, r.now)
}
