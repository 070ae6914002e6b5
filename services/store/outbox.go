package store

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
)

// postman publishes the messages of the outbox until the ledger has their own rows.
//
// The transaction that made a child wakes it, so that the first publish is at once; it is repeated with growing waits,
// because a publish that the bus confirmed may still be lost with the bus. The router records a child once, however often
// it is published.
type postman struct {
	ledger  ledger.Queue
	bus     WorkBus
	cfg     *LedgerConfig
	metrics *ledgerMetrics
}

func (p *postman) step(ctx context.Context) (more bool, err error) {
	children, err := p.ledger.TakeOutbox(ctx, p.cfg.OutboxBatch, p.cfg.OutboxAgain)
	if err != nil || len(children) == 0 {
		return false, err
	}
	more = len(children) == p.cfg.OutboxBatch
	fault.Point("store.outbox-taken")
	waiting, err := p.dropRecorded(ctx, children)
	if err != nil {
		return false, err
	}
	fault.Point("store.outbox-before-publish")
	var b batch
	for _, c := range waiting {
		b.keys, b.payloads = append(b.keys, ledger.QueueKey(c.ID)), append(b.payloads, c.Payload)
	}
	if err := b.publish(ctx, p.bus, bus.Filtered); err != nil {
		return false, fmt.Errorf("publish %d children: %w", len(waiting), err)
	}
	fault.Point("store.outbox-after-publish")
	p.metrics.children.Add(float64(len(waiting)))
	return more, nil
}

// dropRecorded removes children that the ledger has by now, and returns the others.
func (p *postman) dropRecorded(ctx context.Context, children []ledger.OutboxChild) ([]ledger.OutboxChild, error) {
	var again [][]byte
	for i := range children {
		if children[i].Tries > 0 {
			again = append(again, children[i].ID[:])
		}
	}
	if len(again) == 0 {
		return children, nil
	}
	known, err := p.ledger.Known(ctx, again)
	if err != nil {
		return nil, err
	}
	var done, waiting []ledger.OutboxChild
	next := 0
	for _, c := range children {
		if c.Tries > 0 {
			next++
			if known[next-1].Found {
				done = append(done, c)
				continue
			}
		}
		waiting = append(waiting, c)
	}
	if len(done) == 0 {
		return waiting, nil
	}
	fault.Point("store.outbox-before-drop")
	return waiting, p.ledger.DropOutbox(ctx, done)
}
