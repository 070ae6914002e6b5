package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// callTime bounds each call to another role.
	callTime = 20 * time.Second
	// retryDelay is the wait before work is tried again whose helpers were away.
	retryDelay = time.Second
)

// Service is the router role.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
}

// New checks cfg.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	return &Service{cfg: cfg, deps: deps, metrics: newMetrics(deps.Metrics)}, nil
}

// Run routes until ctx ends and the work in hand is done.
func (s *Service) Run(ctx context.Context) error {
	return s.deps.Bus.Consume(ctx, bus.Consumer{Subject: bus.Filtered, Batch: s.cfg.Batch, OnDead: s.bury}, s.route)
}

// job is a message on its way through the router.
type job struct {
	work    *bus.Work
	message *mailv1.Accepted
	id      envelope.QueueID
	rows    []*storev1.RecipientRow
	began   time.Time
	size    int // octets of the work
}

// route works on a batch: decode, resolve, record, hint, let go.
func (s *Service) route(ctx context.Context, batch []*bus.Work) {
	jobs := make([]*job, 0, len(batch))
	for _, w := range batch {
		switch j, err := s.decode(ctx, w); {
		case err == nil:
			jobs = append(jobs, j)
		case isPoison(err):
			w.Poison(err)
		default:
			s.retry(ctx, []*job{{work: w}}, "read", err)
		}
	}
	if len(jobs) == 0 {
		return
	}
	if err := s.resolve(ctx, jobs); err != nil {
		s.retry(ctx, jobs, "resolve", err)
		return
	}
	s.finish(ctx, jobs)
}

// finish records, hints and lets go. Where the ledger says that a batch can never be right, each message is tried alone, so
// that the one at fault holds up no other.
func (s *Service) finish(ctx context.Context, jobs []*job) {
	jobs, err := s.record(ctx, jobs)
	switch {
	case err == nil:
	case status.Code(err) != codes.InvalidArgument:
		s.retry(ctx, jobs, "record", err)
		return
	case len(jobs) == 1:
		jobs[0].work.Poison(err)
		return
	default:
		for _, j := range jobs {
			s.finish(ctx, []*job{j})
		}
		return
	}
	if err := s.hint(ctx, jobs); err != nil {
		s.retry(ctx, jobs, "hint", err)
		return
	}
	for _, j := range jobs {
		j.work.Ack()
		s.tell(ctx, j)
	}
	s.metrics.routed.Add(float64(len(jobs)))
}

func (s *Service) retry(ctx context.Context, jobs []*job, step string, err error) {
	s.deps.Log.WarnContext(ctx, "routing postponed", "step", step, obs.Count(len(jobs)), obs.Error(err))
	for _, j := range jobs {
		j.work.Retry(retryDelay)
	}
}

// poisonError is a fault of the message itself.
type poisonError struct{ error }

func isPoison(err error) bool {
	var p poisonError
	return errors.As(err, &p)
}

func (s *Service) decode(ctx context.Context, w *bus.Work) (*job, error) {
	m := &mailv1.Accepted{}
	if err := proto.Unmarshal(w.Data(), m); err != nil {
		return nil, poisonError{fmt.Errorf("decode an accepted message: %w", err)}
	}
	id, err := envelope.QueueIDFrom(m.QueueId)
	if err != nil {
		return nil, poisonError{err}
	}
	if _, err := blob.IDFrom(m.BlobId); err != nil {
		return nil, poisonError{fmt.Errorf("message %s: %w", id, err)}
	}
	if m.Envelope == nil {
		if err := s.readTail(ctx, m); err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
	}
	return &job{work: w, message: m, id: id, began: s.deps.Now(), size: len(w.Data())}, nil
}

// readTail fills in what was too large for the bus.
func (s *Service) readTail(ctx context.Context, m *mailv1.Accepted) error {
	id, err := blob.IDFrom(m.BlobId)
	if err != nil {
		return poisonError{err}
	}
	f, err := s.deps.Frames.Open(ctx, id)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		return poisonError{fmt.Errorf("open frame %v: %w", id, err)}
	}
	if err != nil {
		return fmt.Errorf("open frame %v: %w", id, err)
	}
	defer f.Close()
	var tail mailv1.FrameTail
	if err := proto.Unmarshal(f.Meta.Tail, &tail); err != nil || tail.Envelope == nil {
		return poisonError{fmt.Errorf("decode the tail of frame %v: %w", id, err)}
	}
	m.Envelope, m.Overlay, m.PartIndex = tail.Envelope, tail.Overlay, tail.PartIndex
	if m.Verdict == nil {
		m.Verdict = tail.Verdict
	}
	return nil
}

// bury puts a poison message on record before it becomes a dead letter, so that it is accounted for.
func (s *Service) bury(ctx context.Context, w *bus.Work, reason string) error {
	j, err := s.decode(ctx, w)
	if isPoison(err) {
		return nil // nothing in it names a message: recovery finds the message by its frame
	}
	if err != nil {
		return err
	}
	for _, r := range j.message.Envelope.Recipients {
		j.rows = append(j.rows, s.row(j, r, storev1.State_STATE_DEAD, storev1.Destination_DESTINATION_NONE, reason))
	}
	_, err = s.deps.Ledger.Record(ctx, &storev1.RecordRequest{Messages: []*storev1.Routed{{Message: j.message, Recipients: j.rows}}})
	if status.Code(err) == codes.InvalidArgument {
		return nil // it has no place in the ledger; a message whose frame exists is found by recovery
	}
	return err
}
