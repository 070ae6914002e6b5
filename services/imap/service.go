package imap

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
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
)

// Service is the imap role.
type Service struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	verbs     map[string]*boundVerb
	plaintext []netip.Prefix
	cache     *view.Cache
	hub       *hub
	ready     chan struct{}

	mu       sync.Mutex
	sessions map[*session]struct{} // guarded by mu
	perAddr  map[netip.Addr]int    // guarded by mu
	draining bool                  // guarded by mu
	wg       sync.WaitGroup        // sessions and their pushes
}

// boundVerb is a verb of the command table with its metrics.
type boundVerb struct {
	verb
	name    string
	metrics verbMetrics
}

// New checks cfg and builds the role; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("imap: %w", err)
	}
	cfg = cfg.withDefaults()
	switch {
	case deps.Mailboxes == nil, deps.Bodies == nil, deps.Directory == nil, deps.Notices == nil:
		return nil, errors.New("imap: Mailboxes, Bodies, Directory and Notices are needed")
	case deps.Log == nil:
		return nil, errors.New("imap: Log is needed")
	}
	for i, l := range cfg.Listeners {
		if l.ImplicitTLS && deps.TLS == nil {
			return nil, fmt.Errorf("imap: listeners[%d]: implicit_tls without a certificate", i)
		}
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Listen == nil {
		deps.Listen = net.Listen
	}
	s := &Service{
		cfg: cfg, deps: deps, log: deps.Log.With(obs.Role("imap")), cache: view.NewCache(deps.Mailboxes),
		ready: make(chan struct{}), sessions: map[*session]struct{}{}, perAddr: map[netip.Addr]int{},
	}
	s.plaintext, _ = cfg.plaintext()
	var err error
	if s.metrics, err = newMetrics(deps.Metrics, s.cache.Len); err != nil {
		return nil, fmt.Errorf("imap: metrics: %w", err)
	}
	s.verbs = map[string]*boundVerb{}
	for name, v := range commands {
		s.verbs[name] = &boundVerb{verb: v, name: name, metrics: s.metrics.verb(name)}
	}
	s.hub = newHub(s)
	return s, nil
}

// Ready is closed once all listeners are open.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then drains: it takes no more connections, lets the command in progress of each session end,
// and answers BYE (RFC 9051 §7.1.5). It returns once all sessions have ended; the caller bounds the wait by its own
// deadline and then closes what is left with Close.
func (s *Service) Run(ctx context.Context) error {
	var listeners []net.Listener
	for _, l := range s.cfg.Listeners {
		ln, err := s.deps.Listen("tcp", l.Address)
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return fmt.Errorf("imap: listen on %s: %w", l.Address, err)
		}
		listeners = append(listeners, ln)
		s.log.InfoContext(ctx, "listening", obs.Addr(ln.Addr().String()), slog.Bool("implicit_tls", l.ImplicitTLS))
	}
	close(s.ready)

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var compare sync.WaitGroup
	compare.Go(func() { s.hub.compare(background) })
	failed := make(chan error, len(listeners))
	var accepting sync.WaitGroup
	for i, ln := range listeners {
		accepting.Go(func() { failed <- s.accept(ctx, ln, s.cfg.Listeners[i].ImplicitTLS) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		if ctx.Err() != nil {
			err = nil
		}
	}
	for _, ln := range listeners {
		ln.Close()
	}
	accepting.Wait()
	s.drain()
	s.wg.Wait()
	stop()
	compare.Wait()
	return err
}

// drain asks all sessions to end.
func (s *Service) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for sess := range s.sessions {
		sess.interrupt()
	}
}

// Close cuts the connections that are left, for who will not wait for Run any longer.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for sess := range s.sessions {
		sess.cut()
	}
}

// accept takes connections until the listener is closed.
func (s *Service) accept(ctx context.Context, ln net.Listener, implicit bool) error {
	wait := time.Duration(0)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wait = 0
			s.start(nc, implicit)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			// Out of file descriptors, say: what is connected goes on.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.WarnContext(ctx, "accept failed", obs.Error(err))
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// start begins a session, or refuses it.
func (s *Service) start(nc net.Conn, implicit bool) {
	sess := newSession(s, nc, implicit)
	s.mu.Lock()
	limit := ""
	switch {
	case s.draining:
		limit = "draining"
	case len(s.sessions) >= s.cfg.MaxConnections:
		limit = "connections"
	case s.perAddr[sess.client] >= s.cfg.MaxPerAddress:
		limit = "address"
	default:
		s.sessions[sess] = struct{}{}
		s.perAddr[sess.client]++
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if limit != "" {
		s.metrics.refused.WithLabelValues(limit).Inc()
		s.log.Warn("connection refused", obs.Client(sess.client.String()), obs.Reason(limit))
		if !implicit {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("* BYE [UNAVAILABLE] too many connections\r\n"))
		}
		nc.Close()
		return
	}
	s.metrics.accepted.Inc()
	s.metrics.connections.Inc()
	go func() {
		defer s.wg.Done()
		defer s.forget(sess)
		sess.serve()
	}()
}

func (s *Service) forget(sess *session) {
	s.metrics.connections.Dec()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	if s.perAddr[sess.client]--; s.perAddr[sess.client] <= 0 {
		delete(s.perAddr, sess.client)
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
