package local

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// callTime bounds each call to another role.
	callTime = 30 * time.Second
	// awayDelay is the wait before work is tried again whose helpers were away.
	awayDelay = time.Second
)

// Service is the role delivery-local.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
}

// New checks cfg.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("delivery-local: %w", err)
	}
	return &Service{cfg: cfg, deps: deps, metrics: newMetrics(deps.Metrics)}, nil
}

// Run delivers until ctx ends and the work in hand is done.
func (s *Service) Run(ctx context.Context) error {
	return s.deps.Bus.Consume(ctx, bus.Consumer{Subject: bus.Local, Batch: s.cfg.Batch, OnDead: s.bury}, s.deliver)
}

// job is one recipient on its way into a mailbox.
type job struct {
	bus      *bus.Work
	work     *mailv1.LocalWork
	id       envelope.QueueID
	delivery *storev1.Delivery
}

func decode(w *bus.Work) (*job, error) {
	m := &mailv1.LocalWork{}
	if err := proto.Unmarshal(w.Data(), m); err != nil {
		return nil, fmt.Errorf("decode local work: %w", err)
	}
	id, err := envelope.QueueIDFrom(m.QueueId)
	if err != nil {
		return nil, err
	}
	if m.Message != nil && m.Message.Envelope == nil {
		return nil, fmt.Errorf("decode local work: message %s has no envelope", id)
	}
	return &job{bus: w, work: m, id: id}, nil
}

// load asks the ledger for the messages that their hints do not carry. A hint whose message the ledger does not know, or
// whose recipient is no longer its, has nothing to do and is let go. After an error it returns all jobs.
func (s *Service) load(ctx context.Context, jobs []*job) ([]*job, error) {
	var bare []*job
	for _, j := range jobs {
		if j.work.Message == nil {
			bare = append(bare, j)
		}
	}
	if len(bare) == 0 {
		return jobs, nil
	}
	entries, err := s.entries(ctx, bare)
	if err != nil {
		return jobs, err
	}
	for _, j := range bare {
		entry := entries[j.id]
		row := find(entry.Recipients, j.work.Number)
		if entry.Message.GetEnvelope() == nil || row == nil {
			s.deps.Log.WarnContext(ctx, "dropped a hint that the ledger does not know", obs.QueueID(j.id), obs.Recipient(j.work.Number))
			j.bus.Ack()
			continue
		}
		j.work.Message = entry.Message
		j.work.ForwardPath, j.work.Detail, j.work.Account = row.ForwardPath, row.Detail, row.Account
		j.work.Notify, j.work.Orcpt = row.Notify, row.Orcpt
	}
	live := jobs[:0]
	for _, j := range jobs {
		if j.work.Message != nil {
			live = append(live, j)
		}
	}
	return live, nil
}

func find(rows []*storev1.RecipientRow, number uint32) *storev1.RecipientRow {
	for _, r := range rows {
		if r.Number == number {
			return r
		}
	}
	return nil
}

// bury puts poison work on record before it becomes a dead letter.
func (s *Service) bury(ctx context.Context, w *bus.Work, reason string) error {
	j, err := decode(w)
	if err != nil {
		return nil // nothing in it names a recipient: the sweep finds the recipient by its due time
	}
	_, err = s.report(ctx, []*storev1.Report{{QueueId: j.work.QueueId, Generation: j.work.Generation, Outcomes: []*storev1.Outcome{
		{Number: j.work.Number, State: storev1.State_STATE_DEAD, Reply: "451 4.3.0 " + reason},
	}}})
	return err
}
