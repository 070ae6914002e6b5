package pop3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Service is the pop3 role.
type Service struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	commands  map[string]*command
	plaintext []netip.Prefix
	ready     chan struct{}

	mu       sync.Mutex
	sessions map[*session]struct{} // guarded by mu
	perAddr  map[netip.Addr]int    // guarded by mu
	draining bool                  // guarded by mu
	wg       sync.WaitGroup        // sessions; Add under mu while not draining
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
	for i, l := range cfg.Listeners {
		if l.ImplicitTLS && deps.TLS == nil {
			return nil, fmt.Errorf("pop3: listeners[%d]: implicit_tls without a certificate", i)
		}
	}
	if deps.Listen == nil {
		deps.Listen = net.Listen
	}
	s := &Service{
		cfg: cfg, deps: deps, log: deps.Log.With(obs.Role("pop3")), ready: make(chan struct{}),
		sessions: map[*session]struct{}{}, perAddr: map[netip.Addr]int{},
	}
	s.plaintext, _ = cfg.plaintext() // Validate looked at its error
	var err error
	if s.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, fmt.Errorf("pop3: metrics: %w", err)
	}
	s.commands = commandTable(s.metrics)
	return s, nil
}

// Ready is closed once all listeners are open.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then drains: it takes no more connections, lets the command in progress of each session end,
// and says why it hangs up; nothing is removed that QUIT did not ask for. It returns once all sessions have ended; the caller
// bounds the wait by its own deadline and then closes what is left with Close.
func (s *Service) Run(ctx context.Context) error {
	var listeners []net.Listener
	closeAll := func() {
		for _, ln := range listeners {
			ln.Close()
		}
	}
	for _, l := range s.cfg.Listeners {
		ln, err := s.deps.Listen("tcp", l.Address)
		if err != nil {
			closeAll()
			return fmt.Errorf("pop3: listen on %s: %w", l.Address, err)
		}
		listeners = append(listeners, ln)
		s.log.InfoContext(ctx, "listening", obs.Addr(ln.Addr().String()), slog.Bool("implicit_tls", l.ImplicitTLS))
	}
	close(s.ready)
	var accepting sync.WaitGroup
	for i, ln := range listeners {
		accepting.Go(func() { s.accept(ctx, ln, s.cfg.Listeners[i].ImplicitTLS) })
	}
	<-ctx.Done()
	closeAll()
	accepting.Wait()
	s.each(func(c *session) { c.wake() })
	s.wg.Wait()
	return nil
}

// Close cuts the connections that are left, for who will not wait for Run any longer.
func (s *Service) Close() { s.each(func(c *session) { c.cut() }) }

// each lets no session begin any more and calls fn for those that are left.
func (s *Service) each(fn func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.sessions {
		fn(c)
	}
}

func (s *Service) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// accept takes connections until the listener is closed.
func (s *Service) accept(ctx context.Context, ln net.Listener, implicit bool) {
	wait := time.Duration(0)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wait = 0
			s.start(ctx, nc, implicit)
		case ctx.Err() != nil:
			return
		default:
			// Out of file descriptors, say: what is connected goes on.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.WarnContext(ctx, "accept failed", obs.Addr(ln.Addr().String()), obs.Error(err))
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// start begins a session, or refuses it.
func (s *Service) start(ctx context.Context, nc net.Conn, implicit bool) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		// A client that vanished without a word must not keep its maildrop locked until autologout. What cannot be set
		// is no reason to refuse.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
	// Sessions outlive ctx: they end by the drain.
	c := newSession(context.WithoutCancel(ctx), s, nc, implicit)
	s.mu.Lock()
	limit := ""
	switch {
	case s.draining:
		limit = "draining"
	case len(s.sessions) >= s.cfg.MaxConnections:
		limit = "connections"
	case s.perAddr[c.network] >= s.cfg.MaxPerAddress:
		limit = "address"
	default:
		s.sessions[c] = struct{}{}
		s.perAddr[c.network]++
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if limit != "" {
		s.metrics.refused.WithLabelValues(limit).Inc()
		s.log.InfoContext(ctx, "connection refused", obs.Client(c.client.String()), obs.Reason(limit))
		if !implicit {
			// A new socket has room for a line; the deadline is for odd ones.
			nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			nc.Write([]byte("-ERR [SYS/TEMP] too many connections, try again\r\n"))
		}
		nc.Close()
		return
	}
	s.metrics.accepted.Inc()
	s.metrics.connections.Inc()
	go func() {
		defer s.wg.Done()
		defer s.forget(c)
		c.serve(implicit)
	}()
}

func (s *Service) forget(c *session) {
	s.metrics.connections.Dec()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if s.perAddr[c.network]--; s.perAddr[c.network] <= 0 {
		delete(s.perAddr, c.network)
	}
}

// mayPlaintext tells whether a client may log in without TLS.
func (s *Service) mayPlaintext(client netip.Addr) bool {
	for _, p := range s.plaintext {
		if p.Contains(client) {
			return true
		}
	}
	return false
}
