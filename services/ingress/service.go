package ingress

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Service is the ingress role.
type Service struct {
	cfg        Config
	deps       Deps
	acceptor   *acceptance.Acceptor
	resolver   *acceptance.Resolver
	rooms      *acceptance.Rooms
	smtp, lmtp *smtpd.Server
}

// New checks cfg. It starts nothing and opens nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	deps.Deps.Defaults()
	acceptor, err := acceptance.New(acceptance.Ingress, cfg.Hostname, cfg.Acceptance, deps.Deps)
	if err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, acceptor: acceptor, resolver: acceptance.NewResolver(deps.Directory, deps.Now),
		rooms: acceptance.NewRooms(deps.Quotas, cfg.Acceptance, deps.Now)}
	if s.smtp, err = s.server(false); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	if s.lmtp, err = s.server(true); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	return s, nil
}

func (s *Service) server(lmtp bool) (*smtpd.Server, error) {
	service, protocol := "ingress", "smtp"
	if lmtp {
		service, protocol = "lmtp", "lmtp"
	}
	server, err := smtpd.New(smtpd.Config{
		Hostname: s.cfg.Hostname, LMTP: lmtp, TLS: s.deps.TLS, Service: service, Gate: s.deps.Gate, Drain: s.cfg.Drain,
		Limits: s.cfg.Limits, Timeouts: s.cfg.Timeouts, AfterReply: s.acceptor.AfterReply(), Metrics: s.deps.Metrics,
	}, s, s.deps.Log)
	if err != nil {
		return nil, err
	}
	if err := s.deps.Metrics.Register(server.Collector(prometheus.Labels{"role": "ingress", "protocol": protocol})); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return server, nil
}

// Sessions is how many clients are connected.
func (s *Service) Sessions() int { return int(s.smtp.Stats().Open + s.lmtp.Stats().Open) }

// Run serves until ctx ends or a listener fails. It then drains: connections that wait for a command get 421, messages
// that are arriving are finished and answered, and what was accepted is offered to the bus once more.
func (s *Service) Run(ctx context.Context) error {
	sockets, err := front.Open(s.deps.Listen, slices.Concat(s.cfg.Listeners, s.cfg.LMTP))
	if err != nil {
		front.CloseAll(s.deps.SMTP)
		front.CloseAll(s.deps.LMTP)
		return err
	}
	smtp := slices.Concat(s.deps.SMTP, sockets[:len(s.cfg.Listeners)])
	lmtp := slices.Concat(s.deps.LMTP, sockets[len(s.cfg.Listeners):])
	return s.acceptor.While(ctx, func() error {
		servers, ctx := errgroup.WithContext(ctx)
		servers.Go(func() error { return s.smtp.Run(ctx, smtp) })
		servers.Go(func() error { return s.lmtp.Run(ctx, lmtp) })
		return servers.Wait()
	})
}
