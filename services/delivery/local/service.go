package local

import (
	"context"
	"errors"
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
	return &job{bus: w, work: m, id: id}, nil
}

// load asks the ledger for the messages that their hints do not carry. A hint whose message the ledger does not know, or
// whose recipient is no longer its, has nothing to do and is let go.
func (s *Service) load(ctx context.Context, jobs []*job) ([]*job, error) {
	req := &storev1.LoadRequest{}
	var bare []*job
	for _, j := range jobs {
		if j.work.Message == nil {
			bare = append(bare, j)
			req.QueueIds = append(req.QueueIds, j.work.QueueId)
		}
	}
	if len(bare) == 0 {
		return jobs, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Load(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("load %d messages: %w", len(bare), err)
	}
	if len(resp.Entries) != len(bare) {
		return nil, fmt.Errorf("load %d messages: got %d", len(bare), len(resp.Entries))
	}
	for i, j := range bare {
		row := find(resp.Entries[i].Recipients, j.work.Number)
		if resp.Entries[i].Message == nil || row == nil {
			s.deps.Log.WarnContext(ctx, "dropped a hint that the ledger does not know", obs.QueueID(j.id), obs.Recipient(j.work.Number))
			j.bus.Ack()
			continue
		}
		j.work.Message = resp.Entries[i].Message
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

// errUnknown is a recipient that the ledger does not know.
var errUnknown = errors.New("the ledger does not know the recipient")

// row reads a recipient's row.
func (s *Service) row(ctx context.Context, j *job) (*storev1.RecipientRow, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Load(ctx, &storev1.LoadRequest{QueueIds: [][]byte{j.work.QueueId}})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", j.id, err)
	}
	if len(resp.Entries) == 1 {
		if row := find(resp.Entries[0].Recipients, j.work.Number); row != nil {
			return row, nil
		}
	}
	return nil, fmt.Errorf("load %s: %w", j.id, errUnknown)
}

// report enters the outcome of one recipient.
func (s *Service) report(ctx context.Context, j *job, generation uint32, o *storev1.Outcome, children ...*mailv1.Accepted) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	o.Number = j.work.Number
	_, err := s.deps.Ledger.Report(ctx, &storev1.ReportRequest{Reports: []*storev1.Report{{
		QueueId: j.work.QueueId, Outcomes: []*storev1.Outcome{o}, Children: children, Generation: generation,
	}}})
	if err != nil {
		return fmt.Errorf("report %s: %w", j.id, err)
	}
	return nil
}

// bury puts poison work on record before it becomes a dead letter.
func (s *Service) bury(ctx context.Context, w *bus.Work, reason string) error {
	j, err := decode(w)
	if err != nil {
		return nil // nothing in it names a recipient: the sweep finds the recipient by its due time
	}
	return s.report(ctx, j, j.work.Generation, &storev1.Outcome{State: storev1.State_STATE_DEAD, Reply: "451 4.3.0 " + reason})
}
