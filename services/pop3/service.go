package pop3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Service is the pop3 role.
type Service struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	commands  map[string]*command
	plaintext front.Networks
	front     *front.Server
}

// New checks cfg and builds the role; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("pop3: %w", err)
	}
	cfg.Defaults()
	if deps.Mailboxes == nil || deps.Bodies == nil || deps.Leases == nil || deps.Directory == nil || deps.Log == nil {
		return nil, errors.New("pop3: Mailboxes, Bodies, Leases, Directory and Log are needed")
	}
	if err := front.CheckTLS("listeners", cfg.Listeners, deps.TLS); err != nil {
		return nil, fmt.Errorf("pop3: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, log: deps.Log.With(obs.Role("pop3"))}
	var err error
	if s.plaintext, err = cfg.plaintext(); err != nil {
		return nil, fmt.Errorf("pop3: %w", err)
	}
	if s.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, fmt.Errorf("pop3: metrics: %w", err)
	}
	s.commands = commandTable(s.metrics)
	s.front, err = front.New(front.Config{
		Service: "pop3", MaxConnections: cfg.MaxConnections, MaxPerAddress: cfg.MaxPerAddress, Gate: deps.Gate, Drain: cfg.Drain,
		Begin: s.begin, Refuse: s.refuse, Log: s.log, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("pop3: %w", err)
	}
	return s, nil
}

// Ready is closed once all listeners are open.
func (s *Service) Ready() <-chan struct{} { return s.front.Ready() }

// Sessions is how many clients are connected.
func (s *Service) Sessions() int { return s.front.Sessions() }

// Run serves until ctx ends, then drains: it takes no more connections, lets the command in progress of each session end,
// and says why it hangs up; nothing is removed that QUIT did not ask for. It returns once all sessions have ended, of which
// those that Config.Drain is too short for are cut.
func (s *Service) Run(ctx context.Context) error {
	if err := s.front.Run(ctx, s.deps.Listen, s.cfg.Listeners); err != nil {
		return fmt.Errorf("pop3: %w", err)
	}
	return nil
}

// begin makes the session of a connection that was let in.
func (s *Service) begin(nc net.Conn, peer front.Peer) front.Session {
	if tcp, ok := nc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		// A client that vanished without a word must not keep its maildrop locked until autologout. What cannot be set
		// is no reason to refuse.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
	return newSession(s, nc, peer)
}

// refuse is what a connection is told that is not let in.
func (s *Service) refuse(limit front.Limit) string {
	switch limit {
	case front.LimitDraining:
		return "-ERR [SYS/TEMP] server is stopping, try again\r\n"
	case front.LimitConnections:
		return "-ERR [SYS/TEMP] too many connections, try again\r\n"
	case front.LimitAddress:
		return "-ERR [SYS/TEMP] too many connections from your address\r\n"
	}
	return "-ERR [SYS/TEMP] not now from your address, try again later\r\n"
}
