package remote

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// callTime bounds each call to another role.
	callTime = 20 * time.Second
	// awayDelay is the wait before work is tried again whose helpers were away.
	awayDelay = time.Second
	// batch is how many hints are looked through at once.
	batch = 64
)

// Service is the role delivery-remote.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	gate    *gate
	pool    *pool
	drain   drain
	attempt atomic.Uint64
	jobs    sync.WaitGroup
	// suspects are claims of work that panicked here: when it comes again it is the same owner's.
	suspects suspects
	buffers  sync.Pool // of *[]byte, writeBuffer long
}

// New checks cfg.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("delivery-remote: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, gate: newGate(cfg.Connections, cfg.ConnectionsPerDestination), drain: newDrain()}
	s.metrics = newMetrics(deps.Metrics, s.gate)
	s.pool = newPool(cfg.KeepConnection, cfg.Connections, s.guarded)
	return s, nil
}

// Run sends until ctx ends. Then nothing more is begun, dialogues that have not come to the final dot are cut off, and those
// that have get a moment to be answered; every claim has its outcome before Run returns.
func (s *Service) Run(ctx context.Context) error {
	defer s.drain.on(ctx)()
	defer context.AfterFunc(ctx, s.gate.close)()
	defer context.AfterFunc(ctx, s.pool.close)()
	err := s.deps.Bus.Consume(ctx, bus.Consumer{Subject: bus.Remote, Batch: batch, Held: batch + s.cfg.Connections, OnDead: s.bury}, s.take)
	s.gate.close()
	s.jobs.Wait()
	s.pool.close()
	return err
}

// job is the recipients of one message that share a next hop.
type job struct {
	// bus is nil for a hint that waited here: it was acknowledged then, as the ledger has the work.
	bus  *bus.Work
	work *mailv1.RemoteWork
	id   envelope.QueueID
	// to is what connections are counted by.
	to    string
	owner string
	began time.Time

	message *mailv1.Accepted
	// open are the claimed recipients that have no outcome yet.
	open []*storev1.RecipientRow
	// connecting is how long finding and opening connections took, over all hosts.
	connecting time.Duration
}

func (j *job) key() workKey { return workKey{j.id, j.work.Group, j.work.Generation} }

// ack lets go of the hint.
func (j *job) ack() {
	if j.bus != nil {
		j.bus.Ack()
	}
}

func decode(w *bus.Work) (*job, error) {
	m := &mailv1.RemoteWork{}
	if err := proto.Unmarshal(w.Data(), m); err != nil {
		return nil, fmt.Errorf("decode remote work: %w", err)
	}
	id, err := envelope.QueueIDFrom(m.QueueId)
	if err != nil {
		return nil, err
	}
	return &job{bus: w, work: m, id: id, to: m.Group}, nil
}

// take looks through a batch of hints. Where the destination has room the work is begun. What has to wait is acknowledged:
// it is remembered here as far as there is room, and it is in the ledger, which brings it back when it is due.
func (s *Service) take(ctx context.Context, batch []*bus.Work) {
	for _, w := range batch {
		j, err := decode(w)
		if err != nil {
			w.Poison(err)
			continue
		}
		if s.cfg.SmartHost != "" {
			j.to = s.cfg.SmartHost
		}
		j.owner = s.suspects.owner(j.key())
		if j.owner == "" {
			j.owner = s.deps.Owner + "/" + strconv.FormatUint(s.attempt.Add(1), 10)
		}
		switch s.gate.enter(j) {
		case placeRun:
			s.jobs.Go(func() { s.run(ctx, j) })
		case placeWait:
			s.metrics.waited.Inc()
			w.Ack()
			j.bus = nil
		case placeFull:
			s.metrics.parked.Inc()
			w.Ack()
		case placeTwice:
			w.Ack()
		case placeClosed:
			w.Retry(0)
		}
	}
}

// run works on a job, and then on those that waited for its place.
func (s *Service) run(ctx context.Context, j *job) {
	for j != nil {
		s.carry(ctx, j)
		j = s.gate.leave(j)
	}
}
