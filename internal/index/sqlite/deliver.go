package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ErrNotInLedger is a delivery of a recipient that the ledger does not know.
var ErrNotInLedger = errors.New("recipient is not in the ledger")

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

func (m *Mailboxes) deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	results, err := write(ctx, m.d, func(u *unit) ([]index.DeliverResult, error) {
		w := &delivering{unit: u, work: make([]delivery, len(deliveries)), results: make([]index.DeliverResult, len(deliveries))}
		for i := range deliveries {
			w.work[i] = delivery{Delivery: &deliveries[i], result: &w.results[i]}
		}
		return w.results, w.run()
	})
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	fault.Point("deliver.after-commit")
	return results, nil
}

// delivering is a batch of deliveries within a unit.
type delivering struct {
	*unit
	work    []delivery
	results []index.DeliverResult
	// condemned tells whether there are condemned bodies at all.
	condemned bool
}

// delivery is one of them on its way.
type delivery struct {
	*index.Delivery
	result  *index.DeliverResult
	account *account
	// targets are the mailboxes to file in, each once.
	targets []target
	// finish tells that an earlier call filed it and only the ledger row is left to write.
	finish bool
	// before is the one that this one repeats within the batch.
	before *delivery
}

// target is a mailbox with the flags that the entry gets there.
type target struct {
	box   *box
	flags mailbox.Flags
}

// filed tells whether this call files the delivery: none of the steps before decided otherwise.
func (d *delivery) filed() bool { return d.result.Status == index.Delivered }

// run does every step for the whole batch before the next one. The ledger's final state goes last: where the steps are
// transactions of their own, a repeat finds the dedupe row and does what is left.
func (w *delivering) run() (err error) {
	// Accounts in the order of their ids, as locks are taken; repeats within the batch become neighbours.
	slices.SortStableFunc(w.work, func(a, b delivery) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), bytes.Compare(a.QueueID[:], b.QueueID[:]), cmp.Compare(a.Number, b.Number))
	})
	for i := 1; i < len(w.work); i++ {
		if d, before := &w.work[i], &w.work[i-1]; d.Account == before.Account && d.QueueID == before.QueueID && d.Number == before.Number {
			d.before = before
		}
	}
	if w.condemned, err = w.anyCondemned(); err != nil {
		return err
	}
	if err := w.each("deliver.before-ledger-read", w.admit); err != nil {
		return err
	}
	if err := w.each("deliver.before-placements", w.place); err != nil {
		return err
	}
	if err := w.step("deliver.before-entries"); err != nil {
		return err
	}
	// Chunks, mailboxes and accounts, each once for the whole batch.
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.each("deliver.before-dedupe", w.putDelivered); err != nil {
		return err
	}
	if err := w.each("deliver.before-outbox", w.putChildren); err != nil {
		return err
	}
	if err := w.each("deliver.before-final", w.settle); err != nil {
		return err
	}
	return w.step("deliver.before-commit")
}

// each does one step for every delivery.
func (w *delivering) each(point string, do func(*delivery) error) error {
	if err := w.step(point); err != nil {
		return err
	}
	for i := range w.work {
		if err := do(&w.work[i]); err != nil {
			return err
		}
	}
	return nil
}

// admit decides by ledger and dedupe row whether there is anything to deliver.
func (w *delivering) admit(d *delivery) error {
	row, err := recipientRow(w.tx, d.QueueID[:], d.Number)
	if errors.Is(err, ledger.ErrNotFound) {
		d.fail(index.Failed, fmt.Errorf("%w: %s number %d", ErrNotInLedger, d.QueueID, d.Number))
		return nil
	} else if err != nil {
		return err
	}
	queued := row.state == storev1.State_STATE_QUEUED
	if queued || row.state == storev1.State_STATE_DELIVERED {
		found, err := w.findDelivered(d)
		if err != nil {
			return err
		}
		if found {
			d.finish = queued
			return nil
		}
	}
	if !queued || row.generation != d.Generation || row.destination != storev1.Destination_DESTINATION_LOCAL ||
		row.account != uint64(d.Account) {
		d.fail(index.Stale, nil)
		return nil
	}
	d.result.Status = index.Delivered
	return nil
}

// fail decides that this call does not file the delivery; nothing of it was written.
func (d *delivery) fail(status index.DeliverStatus, err error) {
	*d.result = index.DeliverResult{Status: status, Err: err}
}

// findDelivered finds what an earlier call filed.
func (w *delivering) findDelivered(d *delivery) (bool, error) {
	r := index.DeliverResult{Status: index.Duplicate}
	err := w.tx.QueryRow("SELECT mailbox, uid, email FROM delivered WHERE queue_id = ? AND number = ? AND account = ?",
		d.QueueID[:], int64(d.Number), int64(d.Account)).Scan(&r.Mailbox, &r.UID, &r.Email)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read dedupe row: %w", err)
	}
	*d.result = r
	return true, nil
}

// place makes the email and its entries; the rows of the entries are written by flush.
func (w *delivering) place(d *delivery) (err error) {
	if !d.filed() {
		return nil
	}
	if d.before != nil {
		*d.result = *d.before.result
		if d.before.filed() {
			d.result.Status, d.result.Changed = index.Duplicate, nil
		}
		return nil
	}
	if d.account, err = w.account(d.Account); errors.Is(err, index.ErrNoAccount) {
		d.fail(index.Failed, err)
		return nil
	} else if err != nil {
		return err
	}
	if w.condemned {
		if err := w.checkCondemned(&d.Message); errors.Is(err, index.ErrCondemned) {
			d.fail(index.Failed, err)
			return nil
		} else if err != nil {
			return err
		}
	}
	entries := int64(max(1, len(d.Placements)))
	if err := w.room(d.account, entries, entries*d.VisibleSize()); err != nil {
		d.fail(index.OverQuota, err)
		return nil
	}
	if d.targets, err = w.resolve(d); err != nil {
		return err
	}
	return w.file(d)
}

func (w *delivering) file(d *delivery) error {
	email, err := w.putEmail(d.account, &d.Message)
	if err != nil {
		return err
	}
	d.result.Email = email
	d.result.Changed = make([]mailbox.ID, 0, len(d.targets))
	for i, t := range d.targets {
		uid, err := w.add(t.box, entryOf(&d.Message, email, t.flags))
		if err != nil {
			return err
		}
		if i == 0 {
			d.result.Mailbox, d.result.UID = t.box.ID, uid
		}
		d.result.Changed = append(d.result.Changed, t.box.ID)
	}
	d.result.ModSeq = d.account.modSeq
	return nil
}

func (w *delivering) putDelivered(d *delivery) error {
	if !d.filed() {
		return nil
	}
	r := d.result
	if _, err := w.tx.Exec("INSERT INTO delivered (queue_id, number, account, mailbox, uid, email) VALUES (?, ?, ?, ?, ?, ?)",
		d.QueueID[:], int64(d.Number), int64(d.Account), int64(r.Mailbox), int64(r.UID), int64(r.Email)); err != nil {
		return fmt.Errorf("write dedupe row: %w", err)
	}
	return nil
}

func (w *delivering) putChildren(d *delivery) error {
	if !d.filed() || len(d.Children) == 0 {
		return nil
	}
	return putOutbox(w.tx, d.QueueID[:], d.Children, w.now.UnixNano())
}

func (w *delivering) settle(d *delivery) error {
	if !d.filed() && !d.finish {
		return nil
	}
	return markDelivered(w.tx, d.QueueID[:], d.Number, w.now.UnixNano())
}
