package filter

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/resolve"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
)

// Service is the filter role. It keeps nothing between messages.
type Service struct {
	filterv1.UnimplementedFilterServer

	cfg     Config
	deps    Deps
	id      string // our authserv-id
	forged  *mailauth.Forged
	scores  map[string]float64
	metrics *metrics
	exams   sync.Pool // of *exam: their buffers
}

// New checks cfg.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	id, err := resolve.Name(cfg.AuthservID)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	forged, err := mailauth.NewForged(append([]string{id}, cfg.OwnIDs...), ourFields)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, id: id, forged: forged, scores: scores(cfg.Scores), metrics: newMetrics(deps.Metrics)}
	s.exams.New = func() any { return &exam{s: s} }
	return s, nil
}

// Register makes the service answer on srv.
func (s *Service) Register(r grpc.ServiceRegistrar) { filterv1.RegisterFilterServer(r, s) }

// Run judges what comes by the bus until ctx ends and the work in hand is done.
func (s *Service) Run(ctx context.Context) error {
	return s.deps.Bus.Consume(ctx, bus.Consumer{Subject: bus.Accepted, Batch: s.cfg.Batch}, func(ctx context.Context, batch []*bus.Work) {
		jobs := make([]*job, len(batch))
		for i, w := range batch {
			jobs[i] = &job{work: w}
		}
		s.judge(ctx, jobs)
	})
}
