package unit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ErrNotInLedger is a delivery of a recipient that the ledger does not know.
var ErrNotInLedger = errors.New("recipient is not in the ledger")

// Recipient is what Deliver must know of a recipient's row in the ledger.
type Recipient struct {
	State       storev1.State
	Destination storev1.Destination
	Account     uint64
	Generation  uint32
}

// DeliverRows are the rows that Deliver needs beside Rows.
type DeliverRows interface {
	// Recipient reads what the ledger says; ledger.ErrNotFound where it knows nothing of a recipient.
	Recipient(d *index.Delivery) (Recipient, error)
	// Delivered finds what an earlier call filed: mailbox, UID and email.
	Delivered(d *index.Delivery) (mailbox.ID, mailbox.UID, mailbox.EmailID, bool, error)
	PutDelivered(d *index.Delivery, r *index.DeliverResult) error
	// PutChildren puts children into the outbox.
	PutChildren(d *index.Delivery, children []*mailv1.Accepted) error
}

// Delivering is a batch of deliveries within a unit.
type Delivering struct {
	*Unit
	rows    DeliverRows
	work    []delivery
	results []index.DeliverResult
	// condemned tells whether there are condemned bodies at all.
	condemned bool
}

// delivery is one of them on its way.
type delivery struct {
	*index.Delivery
	result  *index.DeliverResult
	account *Account
	// targets are the mailboxes to file in, each once.
	targets []target
	// finish tells that an earlier call filed it and only the ledger row is left to write.
	finish bool
	// before is the one that this one repeats within the batch.
	before *delivery
}

// target is a mailbox with the flags that the entry gets there.
type target struct {
	box   *Box
	flags mailbox.Flags
}

// filed tells whether this call files the delivery: none of the steps before decided otherwise.
func (d *delivery) filed() bool { return d.result.Status == index.Delivered }

// Deliver does every step for the whole batch before the next one, but for the ledger's final state: Settle tells for
// whom. Where that was torn off, a repeat finds the dedupe row and does what is left.
func (u *Unit) Deliver(rows DeliverRows, deliveries []index.Delivery) (*Delivering, error) {
	w := &Delivering{Unit: u, rows: rows, work: make([]delivery, len(deliveries)), results: make([]index.DeliverResult, len(deliveries))}
	for i := range deliveries {
		w.work[i] = delivery{Delivery: &deliveries[i], result: &w.results[i]}
	}
	return w, w.run()
}

// Results are those of the deliveries, in order.
func (w *Delivering) Results() []index.DeliverResult { return w.results }

// Settle calls fn for every delivery whose recipient is to become final.
func (w *Delivering) Settle(fn func(*index.Delivery) error) error {
	for i := range w.work {
		if d := &w.work[i]; d.filed() || d.finish {
			if err := fn(d.Delivery); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Delivering) run() (err error) {
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
	for i := range w.work {
		if d := &w.work[i]; d.filed() && d.before == nil {
			w.findThreads(d.Delivery.Account, &d.Message)
		}
	}
	if err := w.loadThreads(); err != nil {
		return err
	}
	if err := w.each("deliver.before-placements", w.place); err != nil {
		return err
	}
	if err := w.Step("deliver.before-entries"); err != nil {
		return err
	}
	// Chunks, mailboxes and accounts, each once for the whole batch.
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.each("deliver.before-dedupe", w.putDelivered); err != nil {
		return err
	}
	return w.each("deliver.before-outbox", w.putChildren)
}

// each does one step for every delivery.
func (w *Delivering) each(point string, do func(*delivery) error) error {
	if err := w.Step(point); err != nil {
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
func (w *Delivering) admit(d *delivery) error {
	row, err := w.rows.Recipient(d.Delivery)
	if errors.Is(err, ledger.ErrNotFound) {
		d.fail(index.Failed, fmt.Errorf("%w: %s number %d", ErrNotInLedger, d.QueueID, d.Number))
		return nil
	} else if err != nil {
		return fmt.Errorf("read recipient %d: %w", d.Number, err)
	}
	queued := row.State == storev1.State_STATE_QUEUED
	if queued || row.State == storev1.State_STATE_DELIVERED {
		r := index.DeliverResult{Status: index.Duplicate}
		found := false
		if r.Mailbox, r.UID, r.Email, found, err = w.rows.Delivered(d.Delivery); err != nil {
			return fmt.Errorf("read dedupe row: %w", err)
		}
		if found {
			*d.result = r
			d.finish = queued
			return nil
		}
	}
	if !queued || row.Generation != d.Generation || row.Destination != storev1.Destination_DESTINATION_LOCAL ||
		row.Account != uint64(d.Account) {
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

// place makes the email and its entries; the rows of the entries are written by Flush.
func (w *Delivering) place(d *delivery) (err error) {
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
	switch d.account, err = w.Account(d.Delivery.Account); {
	case errors.Is(err, index.ErrDropped):
		d.fail(index.NoAccount, err)
		return nil
	case errors.Is(err, index.ErrNoAccount), errors.Is(err, index.ErrDropping):
		d.fail(index.Failed, err)
		return nil
	case err != nil:
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
	if err := w.roomFor(d); errors.Is(err, index.ErrOverQuota) {
		d.fail(index.OverQuota, err)
		return nil
	} else if err != nil {
		return err
	}
	return w.file(d)
}

// roomFor tells whether the limits of folders have room for all placements together.
func (w *Delivering) roomFor(d *delivery) error {
	boxes := make([]*Box, len(d.targets))
	for i, t := range d.targets {
		boxes[i] = t.box
	}
	return w.roomIn(boxes, nil, 1, d.VisibleSize())
}

func (w *Delivering) file(d *delivery) error {
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
	d.result.ModSeq = d.account.ModSeq
	return nil
}

func (w *Delivering) putDelivered(d *delivery) error {
	if !d.filed() {
		return nil
	}
	if err := w.rows.PutDelivered(d.Delivery, d.result); err != nil {
		return fmt.Errorf("write dedupe row: %w", err)
	}
	return nil
}

func (w *Delivering) putChildren(d *delivery) error {
	if !d.filed() || len(d.Children) == 0 {
		return nil
	}
	return w.rows.PutChildren(d.Delivery, d.Children)
}
