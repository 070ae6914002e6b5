package store

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// readOutbox notes the messages that the farm made and that the router has not recorded yet.
func (r *audit) readOutbox(ctx context.Context) error {
	if r.outbox == nil {
		r.outbox = map[envelope.QueueID]uint64{}
	}
	var last ledger.OutboxChild
	for {
		page, err := r.ledger.Outbox(ctx, last, auditBatch)
		if err != nil {
			return err
		}
		for _, c := range page {
			last = c
			var m mailv1.Accepted
			if err := proto.Unmarshal(c.Payload, &m); err != nil {
				return fmt.Errorf("decode child %s: %w", c.ID, err)
			}
			r.outbox[c.ID] = uint64(len(m.GetEnvelope().GetRecipients()))
		}
		if len(page) < auditBatch {
			return nil
		}
	}
}

// countOutbox counts what stood in the outbox when the audit began or stands there now: pending, unless the ledger has it
// by now. What was recorded behind the walk over the ledger is counted here.
func (r *audit) countOutbox(ctx context.Context) error {
	if err := r.readOutbox(ctx); err != nil {
		return err
	}
	ids := make([][]byte, 0, len(r.outbox))
	for id := range r.outbox {
		ids = append(ids, id[:])
	}
	for len(ids) > 0 {
		batch := ids[:min(len(ids), auditBatch)]
		ids = ids[len(batch):]
		rows, err := r.ledger.Accounts(ctx, batch)
		if err != nil {
			return err
		}
		for i, m := range rows {
			switch {
			case m == nil:
				r.out.Pending += r.outbox[idOf(batch[i])]
				r.out.Generated += r.outbox[idOf(batch[i])]
			default:
				c := compared{counts: r.out}
				if err := r.countLate(ctx, m, &c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
