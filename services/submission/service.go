package submission

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Service is the submission role.
type Service struct {
	cfg       Config
	deps      Deps
	plaintext front.Networks
	acceptor  *acceptance.Acceptor
	resolver  *acceptance.Resolver
	rooms     *acceptance.Rooms
	server    *smtpd.Server
}

// New checks cfg. It starts nothing and opens nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	deps.Deps.Defaults()
	plaintext, err := cfg.plaintext()
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	acceptor, err := acceptance.New(acceptance.Submission, cfg.Hostname, cfg.Acceptance, deps.Deps)
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	s := &Service{
		cfg: cfg, deps: deps, plaintext: plaintext, acceptor: acceptor,
		resolver: acceptance.NewResolver(deps.Directory, deps.Now),
		rooms:    acceptance.NewRooms(deps.Quotas, cfg.Acceptance, deps.Now),
	}
	s.server, err = smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, TLS: deps.TLS, RequireAuth: true, Service: "submission", Gate: deps.Gate, Drain: cfg.Drain,
		Limits: cfg.Limits, Timeouts: cfg.Timeouts, AfterReply: acceptor.AfterReply(), Metrics: deps.Metrics,
	}, s, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	labels := prometheus.Labels{"role": "submission", "protocol": "smtp"}
	if err := deps.Metrics.Register(s.server.Collector(labels)); err != nil {
		return nil, fmt.Errorf("submission: register metrics: %w", err)
	}
	return s, nil
}

// Sessions is how many clients are connected.
func (s *Service) Sessions() int { return int(s.server.Stats().Open) }

// Run serves until ctx ends or a listener fails. It then drains: connections that wait for a command get 421, messages
// that are arriving are finished and answered, and what was accepted is offered to the bus once more.
func (s *Service) Run(ctx context.Context) error {
	sockets, err := front.Open(s.deps.Listen, s.cfg.Listeners)
	if err != nil {
		front.CloseAll(s.deps.SMTP)
		return err
	}
	return s.acceptor.While(ctx, func() error {
		return s.server.Run(ctx, slices.Concat(s.deps.SMTP, sockets))
	})
}
