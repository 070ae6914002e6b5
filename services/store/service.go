package store

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Service is the store role.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	// servers register the gRPC services, and workers run until their context ends; New fills both.
	servers []func(grpc.ServiceRegistrar)
	workers []func(context.Context) error
}

// New checks cfg; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure store: %w", err)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("configure store: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, metrics: m}
	s.servers = append(s.servers,
		func(r grpc.ServiceRegistrar) { storev1.RegisterMailboxesServer(r, &mailboxes{Service: s}) },
		func(r grpc.ServiceRegistrar) { storev1.RegisterBodiesServer(r, &bodies{Service: s}) },
		func(r grpc.ServiceRegistrar) { storev1.RegisterLeasesServer(r, &leases{Service: s}) },
	)
	return s, nil
}

// Register puts the role's services on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	for _, register := range s.servers {
		register(r)
	}
}

// Run runs the workers and returns once ctx has ended and the work in hand is done, or when one fails.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, work := range s.workers {
		g.Go(func() error { return work(ctx) })
	}
	return g.Wait()
}
