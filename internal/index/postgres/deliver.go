package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Deliver is index.Mailboxes'. The batch is one transaction; where that fails for a reason of one delivery, each is tried alone.
func (m *Mailboxes) Deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	if len(deliveries) == 0 {
		return nil, nil
	}
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

// concernsAll tells of errors that another try, of less, would meet again, and of those that leave the outcome unknown.
func concernsAll(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, index.ErrFull) || errors.Is(err, pgdb.ErrAway) || errors.Is(err, pgdb.ErrBusy) ||
		errors.Is(err, pgdb.ErrUnknown)
}

// deliver files messages and makes the ledger's states final in one transaction, which has the accounts' rows locked and
// then the recipients': a bounce or an operator's decision comes before all of it or after.
func (m *Mailboxes) deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	results, err := write(ctx, m.d, wantFor(deliveries), func(u *unit.Unit, r *rows) ([]index.DeliverResult, error) {
		if err := r.loadTrees(deliveries); err != nil {
			return nil, err
		}
		w, err := u.Deliver(r, deliveries)
		if err != nil {
			return nil, err
		}
		if err := u.Step("deliver.before-final"); err != nil {
			return nil, err
		}
		if err := w.Settle(r.settle); err != nil {
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

// settle makes a recipient's state final; it goes last in flush.
func (r *rows) settle(d *index.Delivery) error {
	r.pending.settled = append(r.pending.settled, keyOf(d))
	return nil
}

func keyOf(d *index.Delivery) recipientKey { return recipientKey{id: d.QueueID, number: d.Number} }

// deliveryKey is that of a dedupe row.
type deliveryKey struct {
	account mailbox.AccountID
	id      envelope.QueueID
	number  uint32
}

// filed is what a dedupe row tells.
type filed struct {
	box   mailbox.ID
	uid   mailbox.UID
	email mailbox.EmailID
}

// wantFor is what a batch of deliveries reads first.
func wantFor(deliveries []index.Delivery) load {
	want := load{deliveries: deliveries, bodies: make([][]byte, 0, len(deliveries))}
	for i := range deliveries {
		d := &deliveries[i]
		want.accounts = append(want.accounts, d.Account)
		want.bodies = append(want.bodies, d.Blob.Bytes())
		want.names = append(want.names, nameKey{d.Account, index.Inbox})
		want.threads = append(want.threads, unit.ThreadKeys(d.Account, &d.Message)...)
		for j := range d.Placements {
			p := &d.Placements[j]
			if p.SpecialUse != "" {
				want.uses = append(want.uses, nameKey{d.Account, p.SpecialUse})
			}
			if name := placementName(p); name != "" {
				want.names = append(want.names, nameKey{d.Account, name})
			}
		}
	}
	return want
}

// placementName is the name that a placement may be filed under.
func placementName(p *index.Placement) string {
	if p.Name == "" && p.SpecialUse != "" && p.Create {
		return strings.TrimPrefix(p.SpecialUse, `\`)
	}
	return p.Name
}

// loadTrees reads what making mailboxes needs, of all accounts in which some are to be made, in one round trip.
func (r *rows) loadTrees(deliveries []index.Delivery) error {
	var accounts []mailbox.AccountID
	var above []nameKey
	need := map[mailbox.AccountID]bool{}
	for i := range deliveries {
		d := &deliveries[i]
		for j := range d.Placements {
			p := &d.Placements[j]
			name := placementName(p)
			if !p.Create || r.named[nameKey{d.Account, name}] != nil || r.used[nameKey{d.Account, p.SpecialUse}] != nil {
				continue
			}
			for at, c := range name {
				if c == '/' {
					above = append(above, nameKey{d.Account, name[:at]})
				}
			}
			if !need[d.Account] {
				need[d.Account] = true
				accounts = append(accounts, d.Account)
			}
		}
	}
	if len(accounts) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	r.queueNamed(b, boxesNamed, above, r.named)
	r.queueCounts(b, accounts)
	return r.run(b)
}

func (r *rows) queueDeliveries(b *pgx.Batch, deliveries []index.Delivery) {
	r.recipients, r.delivered = map[recipientKey]unit.Recipient{}, map[deliveryKey]filed{}
	keys := make([]recipientKey, len(deliveries))
	var accounts, numbers []int64
	var ids [][]byte
	for i := range deliveries {
		d := &deliveries[i]
		keys[i] = keyOf(d)
		if d.Account < 1<<63 {
			accounts, ids, numbers = append(accounts, int64(d.Account)), append(ids, d.QueueID[:]), append(numbers, int64(d.Number))
		}
	}
	queueRecipients(b, keys, r.recipients)
	b.Queue(deliveredRows, accounts, ids, numbers).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			var id pgtype.DriverBytes
			var k deliveryKey
			var f filed
			if err := rows.Scan(&k.account, &id, &k.number, &f.box, &f.uid, &f.email); err != nil {
				return err
			}
			k.id = envelope.QueueID(id)
			r.delivered[k] = f
			return nil
		})
	})
}

func (r *rows) Recipient(d *index.Delivery) (unit.Recipient, error) {
	row, ok := r.recipients[keyOf(d)]
	if !ok {
		return row, ledger.ErrNotFound
	}
	return row, nil
}

func (r *rows) Delivered(d *index.Delivery) (mailbox.ID, mailbox.UID, mailbox.EmailID, bool, error) {
	f, ok := r.delivered[deliveryKey{d.Account, d.QueueID, d.Number}]
	return f.box, f.uid, f.email, ok, nil
}
