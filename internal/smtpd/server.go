package smtpd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Server serves any number of listeners with one Config and one Backend.
type Server struct {
	cfg     Config
	backend Backend
	log     *slog.Logger
	stats   counters

	// base is what connections' contexts derive from; it ends when a drain runs out of patience.
	base   context.Context
	cancel context.CancelFunc

	stop atomic.Bool

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // guarded by mu
	conns     map[*Conn]struct{}        // guarded by mu
	perAddr   map[netip.Addr]int        // guarded by mu
	running   sync.WaitGroup            // connections; Add under mu, so that it cannot race with the drain's Wait
}

// New checks cfg. It starts nothing.
func New(cfg Config, backend Backend, log *slog.Logger) (*Server, error) {
	if cfg.Hostname == "" {
		return nil, errors.New("smtpd: hostname is empty")
	}
	if err := errors.Join(cfg.Limits.Validate(), cfg.Timeouts.Validate()); err != nil {
		return nil, fmt.Errorf("smtpd: %w", err)
	}
	cfg.Limits = cfg.Limits.WithDefaults()
	cfg.Timeouts = cfg.Timeouts.WithDefaults()
	s := &Server{
		cfg: cfg, backend: backend, log: log,
		listeners: map[net.Listener]struct{}{}, conns: map[*Conn]struct{}{}, perAddr: map[netip.Addr]int{},
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections until Shutdown, which makes it return nil, or until l fails. It closes l.
// With implicitTLS a connection begins with a handshake (RFC 8314 §3.3): Config.TLS must be set.
func (s *Server) Serve(l net.Listener, implicitTLS bool) error {
	defer l.Close()
	if implicitTLS && s.cfg.TLS == nil {
		return fmt.Errorf("listen on %s: implicit TLS without a certificate", l.Addr())
	}
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	var pause time.Duration
	for {
		if s.draining() {
			return nil
		}
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(conn, implicitTLS)
		case s.draining():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		default:
			// Out of file descriptors, most likely: others will be given back.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.LogAttrs(s.base, slog.LevelWarn, "accept failed", obs.Addr(l.Addr().String()), obs.Error(err))
			select {
			case <-time.After(pause):
			case <-s.base.Done():
			}
		}
	}
}

// ServeConn serves one connection and returns at its end. Limits on connections hold for it too.
func (s *Server) ServeConn(conn net.Conn, implicitTLS bool) {
	if c := s.admit(conn, implicitTLS); c != nil {
		s.run(c, implicitTLS)
	}
}

func (s *Server) start(conn net.Conn, implicitTLS bool) {
	if c := s.admit(conn, implicitTLS); c != nil {
		go s.run(c, implicitTLS)
	}
}

func (s *Server) run(c *Conn, implicitTLS bool) {
	defer s.forget(c)
	c.serve(implicitTLS)
}

// admit makes a Conn, or refuses with 421 and returns nil.
func (s *Server) admit(conn net.Conn, implicitTLS bool) *Conn {
	remote := front.ClientOf(conn)
	network := front.Subscriber(remote)
	s.mu.Lock()
	problem := ""
	switch {
	case s.stop.Load():
		problem = "4.3.2 " + s.cfg.Hostname + " is stopping, try again"
	case len(s.conns) >= s.cfg.Limits.Connections:
		problem = "4.3.2 too many connections, try again"
	case remote.IsValid() && s.perAddr[network] >= s.cfg.Limits.ConnectionsPerAddress:
		problem = "4.7.0 too many connections from your address"
	}
	if problem != "" {
		s.mu.Unlock()
		s.turnAway(conn, problem, implicitTLS)
		return nil
	}
	c := &Conn{server: s, raw: conn, conn: conn, id: newConnID(), remote: remote}
	if remote.IsValid() {
		c.client = remote.String()
	}
	c.in.conn, c.in.buf, c.in.beforeRead = conn, c.in.small[:], c.beforeRead
	s.conns[c] = struct{}{}
	s.perAddr[network]++
	s.running.Add(1)
	s.mu.Unlock()

	s.stats.connections.Add(1)
	c.ctx = s.base
	c.log = s.log.With(obs.ConnID(c.id))
	c.log.LogAttrs(c.ctx, slog.LevelDebug, "connected", obs.Client(c.client))
	return c
}

// turnAway must not hold up the accept loop: a new socket has room for one line, and the deadline is there for odd ones.
func (s *Server) turnAway(conn net.Conn, problem string, implicitTLS bool) {
	s.stats.turnedAway.Add(1)
	if !implicitTLS {
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		conn.Write([]byte("421 " + problem + "\r\n"))
	}
	conn.Close()
	s.log.LogAttrs(s.base, slog.LevelInfo, "turned away", obs.Client(front.ClientOf(conn).String()), obs.Reason(problem))
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	network := front.Subscriber(c.remote)
	if s.perAddr[network]--; s.perAddr[network] <= 0 {
		delete(s.perAddr, network)
	}
	s.mu.Unlock()
	s.running.Done()
}

func (s *Server) draining() bool { return s.stop.Load() }

// Shutdown stops accepting, answers 421 to connections that wait for a command (RFC 5321 §3.8), lets a message that is
// arriving be finished and answered, and returns when all connections have ended. When ctx ends first, what is left is
// answered 421 and cut off, which takes half a second at most, and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stop.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.wake()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	defer s.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.cutOff()
	}
	s.mu.Unlock()
	<-done
	return context.Cause(ctx)
}

func newConnID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
