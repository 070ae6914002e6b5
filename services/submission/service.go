package submission

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Service is the submission role.
type Service struct {
	cfg       Config
	deps      Deps
	plaintext []netip.Prefix
	acceptor  *acceptance.Acceptor
	resolver  *acceptance.Resolver
	server    *smtpd.Server
}

// New checks cfg. It starts nothing and opens nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	deps.defaults()
	plaintext, err := cfg.plaintextNetworks()
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	acceptor, err := acceptance.New(acceptance.Submission, cfg.Hostname, cfg.Acceptance, acceptance.Deps{
		Blobs: deps.Blobs, Filter: deps.Filter, Bus: deps.Bus,
		Trace: deps.Trace, Log: deps.Log, Metrics: deps.Metrics, Now: deps.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	s := &Service{
		cfg: cfg, deps: deps, plaintext: plaintext, acceptor: acceptor,
		resolver: acceptance.NewResolver(deps.Directory, deps.Now),
	}
	s.server, err = smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, TLS: deps.TLS, RequireAuth: true,
		Limits: cfg.Limits, Timeouts: cfg.Timeouts, AfterReply: acceptor.AfterReply(),
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

// Run serves until ctx ends or a listener fails. It then drains: connections that wait for a command get 421, messages
// that are arriving are finished and answered, and what was accepted is offered to the bus once more.
func (s *Service) Run(ctx context.Context) error {
	listeners, err := s.listen()
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return err
	}
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	published := make(chan error, 1)
	go func() { published <- s.acceptor.Run(publishing) }()
	err = s.server.Run(ctx, listeners, s.cfg.Drain)
	stop() // Behind the last Commit.
	return errors.Join(err, <-published)
}

// listen opens what Config names, beside what is open. With an error it returns what is open, for closing.
func (s *Service) listen() ([]smtpd.Listener, error) {
	listeners := s.deps.SMTP
	for _, l := range s.cfg.Listeners {
		if l.ImplicitTLS && s.deps.TLS == nil {
			return listeners, fmt.Errorf("listen on %s: implicit TLS without a certificate", l.Address)
		}
		opened, err := s.deps.Listen("tcp", l.Address)
		if err != nil {
			return listeners, fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		listeners = append(listeners, smtpd.Listener{Listener: opened, ImplicitTLS: l.ImplicitTLS})
	}
	return listeners, nil
}
