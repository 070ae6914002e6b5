package store

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Service is the store role.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	people  people
	unseen  unseenCounts
	domains domains
	emails  *emailCache
	flagged flaggedLately
	// servers register the gRPC services, and workers run until their context ends; New fills both.
	servers []func(grpc.ServiceRegistrar)
	workers []func(context.Context) error
	// wakeRetention makes the worker look that ends the time of what was removed; AddRetention sets it.
	wakeRetention func()
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
	s := &Service{cfg: cfg, deps: deps, metrics: m, emails: newEmailCache(cfg.EmailsMemory), wakeRetention: func() {}}
	s.domains = domains{service: s}
	s.people = people{service: s, known: map[mailbox.AccountID]person{}}
	s.servers = append(s.servers,
		func(r grpc.ServiceRegistrar) { storev1.RegisterMailboxesServer(r, &mailboxes{Service: s}) },
		func(r grpc.ServiceRegistrar) {
			r.RegisterService(rpc.Renamed(&storev1.Mailboxes_ServiceDesc, rpc.GuardedMailboxes), &mailboxes{Service: s})
		},
		func(r grpc.ServiceRegistrar) { storev1.RegisterBodiesServer(r, &bodies{Service: s}) },
		func(r grpc.ServiceRegistrar) { storev1.RegisterLeasesServer(r, &leases{Service: s}) },
		func(r grpc.ServiceRegistrar) { storev1.RegisterSharingServer(r, &sharing{Service: s}) },
	)
	if deps.Quotas != nil {
		s.servers = append(s.servers, func(r grpc.ServiceRegistrar) { storev1.RegisterQuotasServer(r, &quotas{Service: s}) })
	}
	if deps.Annotations != nil {
		s.servers = append(s.servers, func(r grpc.ServiceRegistrar) { storev1.RegisterAnnotationsServer(r, &annotations{Service: s}) },
			func(r grpc.ServiceRegistrar) { storev1.RegisterMailboxKeysServer(r, &mailboxKeys{Service: s}) })
	}
	if deps.Imports != nil {
		s.servers = append(s.servers, func(r grpc.ServiceRegistrar) {
			storev1.RegisterImportsServer(r, &imports{mailboxes: &mailboxes{Service: s}})
		})
	}
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
