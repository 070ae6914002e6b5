package ingress

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Service is the ingress role.
type Service struct {
	cfg        Config
	deps       Deps
	acceptor   *acceptance.Acceptor
	resolver   *acceptance.Resolver
	smtp, lmtp *smtpd.Server
}

// New checks cfg. It starts nothing and opens nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	deps.defaults()
	acceptor, err := acceptance.New(acceptance.Ingress, cfg.Hostname, cfg.Acceptance, acceptance.Deps{
		Blobs: deps.Blobs, Filter: deps.Filter, Bus: deps.Bus,
		Trace: deps.Trace, Log: deps.Log, Metrics: deps.Metrics, Now: deps.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, acceptor: acceptor, resolver: acceptance.NewResolver(deps.Directory, deps.Now)}
	if s.smtp, err = s.server(false); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	if s.lmtp, err = s.server(true); err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	return s, nil
}

func (s *Service) server(lmtp bool) (*smtpd.Server, error) {
	server, err := smtpd.New(smtpd.Config{
		Hostname: s.cfg.Hostname, LMTP: lmtp, TLS: s.deps.TLS,
		Limits: s.cfg.Limits, Timeouts: s.cfg.Timeouts, AfterReply: s.acceptor.AfterReply(),
	}, s, s.deps.Log)
	if err != nil {
		return nil, err
	}
	protocol := "smtp"
	if lmtp {
		protocol = "lmtp"
	}
	if err := s.deps.Metrics.Register(server.Collector(prometheus.Labels{"role": "ingress", "protocol": protocol})); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return server, nil
}

// Run serves until ctx ends or a listener fails. It then drains: connections that wait for a command get 421, messages
// that are arriving are finished and answered, and what was accepted is offered to the bus once more.
func (s *Service) Run(ctx context.Context) error {
	smtp, err := s.listen(s.deps.SMTP, s.cfg.Listeners)
	if err != nil {
		closeAll(append(s.deps.LMTP, smtp...))
		return err
	}
	lmtp, err := s.listen(s.deps.LMTP, s.cfg.LMTP)
	if err != nil {
		closeAll(append(smtp, lmtp...))
		return err
	}
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	published := make(chan error, 1)
	go func() { published <- s.acceptor.Run(publishing) }()

	servers, ctx := errgroup.WithContext(ctx)
	servers.Go(func() error { return s.smtp.Run(ctx, smtp, s.cfg.Drain) })
	servers.Go(func() error { return s.lmtp.Run(ctx, lmtp, s.cfg.Drain) })
	err = servers.Wait()
	stop() // Behind the last Commit.
	return errors.Join(err, <-published)
}

// listen opens what Config names, beside what is open. With an error it returns what is open, for closing.
func (s *Service) listen(open []smtpd.Listener, configured []Listener) ([]smtpd.Listener, error) {
	for _, l := range configured {
		if l.ImplicitTLS && s.deps.TLS == nil {
			return open, fmt.Errorf("listen on %s: implicit TLS without a certificate", l.Address)
		}
		opened, err := s.deps.Listen("tcp", l.Address)
		if err != nil {
			return open, fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		open = append(open, smtpd.Listener{Listener: opened, ImplicitTLS: l.ImplicitTLS})
	}
	return open, nil
}

func closeAll(listeners []smtpd.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
