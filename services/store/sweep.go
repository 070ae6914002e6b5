package store

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// sweeper takes recipients that are due from the ledger and publishes hints for them.
//
// A row's due time is put off before its hint is published, so that a crash in between costs the wait and no more. While
// much work of a destination waits on the bus it takes none of it: what is due stays due, and a backlog is not hinted again
// and again. The other destination goes on.
type sweeper struct {
	ledger  ledger.Queue
	bus     WorkBus
	cfg     *LedgerConfig
	metrics *ledgerMetrics
}

// step sweeps one batch; more tells that there may be another at once.
func (s *sweeper) step(ctx context.Context) (more bool, err error) {
	room := map[bus.Subject]bool{}
	for _, subject := range []bus.Subject{bus.Local, bus.Remote} {
		waiting, err := s.bus.Backlog(ctx, subject)
		if err != nil {
			return false, fmt.Errorf("read the backlog of %s: %w", subject, err)
		}
		if room[subject] = waiting <= s.cfg.MaxBacklog; !room[subject] {
			s.metrics.paused.Inc()
		}
	}
	of := ledger.SweepAll
	switch {
	case !room[bus.Local] && !room[bus.Remote]:
		return false, nil
	case !room[bus.Remote]:
		of = ledger.SweepLocal
	case !room[bus.Local]:
		of = ledger.SweepRemote
	}
	due, err := s.ledger.Sweep(ctx, of, s.cfg.SweepBatch, s.cfg.SweepAgain)
	if err != nil || due.Rows == 0 {
		return false, err
	}
	fault.Point("store.sweep-before-hints")
	var local, remote batch
	for _, w := range due.Local {
		if err := local.add(ledger.AccountKey(mailbox.AccountID(w.Account)), w); err != nil {
			return false, err
		}
	}
	for _, w := range due.Remote {
		if err := remote.add(ledger.GroupKey(w.Group), w); err != nil {
			return false, err
		}
	}
	if err := local.publish(ctx, s.bus, bus.Local); err != nil {
		return false, err
	}
	fault.Point("store.sweep-between-hints")
	if err := remote.publish(ctx, s.bus, bus.Remote); err != nil {
		return false, err
	}
	s.metrics.swept.Add(float64(due.Rows))
	return due.Rows == s.cfg.SweepBatch, nil
}

// batch is payloads on their way to one subject.
type batch struct {
	keys     []uint64
	payloads [][]byte
}

func (b *batch) add(key uint64, m proto.Message) error {
	payload, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a hint: %w", err)
	}
	b.keys, b.payloads = append(b.keys, key), append(b.payloads, payload)
	return nil
}

func (b *batch) publish(ctx context.Context, to WorkBus, s bus.Subject) error {
	if len(b.keys) == 0 {
		return nil
	}
	return to.PublishAll(ctx, s, b.keys, b.payloads)
}

// pruner removes rows that ledger.PruneRule lets go.
type pruner struct {
	ledger  ledger.Accounts
	cfg     *LedgerConfig
	now     func() time.Time
	metrics *ledgerMetrics
}

// pruneBatch is how many messages go between two looks at the lease.
const pruneBatch = 1000

func (p *pruner) step(ctx context.Context) (more bool, err error) {
	if more, err := p.ledger.FillSearch(ctx, pruneBatch); err != nil || more {
		return more, err
	}
	checkpoints, err := p.ledger.Checkpoints(ctx)
	if err != nil {
		return false, err
	}
	rule := ledger.PruneRule{Before: p.now().Add(-p.cfg.PruneAfter), Checkpoints: checkpoints}
	n, more, err := p.ledger.Prune(ctx, rule, pruneBatch)
	p.metrics.pruned.Add(float64(n))
	return more, err
}
