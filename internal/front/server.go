package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Session is the dialogue on one connection.
type Session interface {
	// Serve runs the dialogue to its end and closes the connection. It runs once, in a goroutine of its own; its panics are
	// its own to recover.
	Serve()
	// Wake asks the session to end at the next moment at which no command is in progress. It comes once, from another
	// goroutine, perhaps before Serve, and does not block.
	Wake()
	// Cut ends the session now, by closing its connection, at once or after a last word. It comes from another goroutine,
	// perhaps more than once, and does not block.
	Cut()
}

const (
	// refusalTimeout is how long the line of a refusal may hold up the accept loop: a new socket has room for it, so the
	// deadline is there for odd ones.
	refusalTimeout = 100 * time.Millisecond
	// acceptPause and maxAcceptPause are how long a failing accept waits, from the first to the last of a series.
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
	// lastAccepts is how long a drain still accepts, so that who has connected is told instead of being reset.
	lastAccepts = 50 * time.Millisecond
)

// Config of a Server.
type Config struct {
	// Service names what is served, for Gate and metrics, as "imap".
	Service string
	// MaxConnections at once, and MaxPerAddress of one Subscriber.
	MaxConnections, MaxPerAddress int
	// Gate is asked before a client is let in; nil lets all in.
	Gate Gate
	// Drain is how long sessions may take to end before they are cut. Zero: as long as they like, or until Close.
	Drain time.Duration
	// Begin makes the session of a connection that was let in. It is called under a lock: it does not block.
	Begin func(nc net.Conn, peer Peer) Session
	// Refuse hears of a client that is not let in, and gives the line that is said, with its CRLF. With implicit TLS nothing is said:
	// the client waits for a handshake.
	Refuse func(limit Limit) (line string)
	Log    *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server accepts connections and runs a session on each.
type Server struct {
	cfg      Config
	refused  *prometheus.CounterVec
	ready    chan struct{}
	draining atomic.Bool // set under mu, so that no session begins behind a drain

	mu       sync.Mutex
	sessions map[Session]admission // guarded by mu
	unknown  map[net.Conn]struct{} // guarded by mu: connections whose PROXY header is awaited
	counts   map[netip.Addr]int    // guarded by mu: sessions per key; none is 0
	running  sync.WaitGroup        // sessions and unknown; Add under mu while not draining, or by one of them
}

// admission is what a session gives back at its end.
type admission struct {
	key   netip.Addr // what it is counted as; the zero Addr is not counted
	leave func()     // may be nil
}

// New makes a Server; it starts nothing. Its error is that of Metrics.
func New(cfg Config) (*Server, error) {
	refused, err := newRefused(cfg.Metrics, cfg.Service)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Server{
		cfg: cfg, refused: refused, ready: make(chan struct{}),
		sessions: map[Session]admission{}, unknown: map[net.Conn]struct{}{}, counts: map[netip.Addr]int{},
	}, nil
}

// Ready is closed once Run has opened all listeners.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run opens the listeners and does as Serve does. It is called once.
func (s *Server) Run(ctx context.Context, listen Listen, listeners []Listener) error {
	sockets, err := Open(listen, listeners)
	if err != nil {
		return err
	}
	close(s.ready)
	return s.Serve(ctx, sockets)
}

// Serve takes connections from the sockets until ctx ends or somebody else closes one of them, which is an error. Then it
// drains: it wakes all sessions, tells who has just connected that it drains, closes the sockets, and returns once all
// sessions have ended; those that Config.Drain is too short for are cut, which is no error: the clients will come again.
func (s *Server) Serve(ctx context.Context, sockets []Socket) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(sockets))
	var accepting sync.WaitGroup
	for i := range sockets {
		l := &sockets[i]
		s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "listening", obs.Addr(l.Addr().String()), slog.Bool("implicit_tls", l.ImplicitTLS), slog.Bool("proxy", l.proxy != nil))
		accepting.Go(func() {
			if err := s.accept(ctx, l); err != nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		stop()
	}
	s.Drain()
	for _, l := range sockets {
		limited, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
		if !ok || limited.SetDeadline(time.Now().Add(lastAccepts)) != nil {
			l.Close()
		}
	}
	accepting.Wait()
	CloseAll(sockets)
	s.end()
	return err
}

// end waits for the sessions, and cuts them when their time is over.
func (s *Server) end() {
	if s.cfg.Drain > 0 {
		cut := time.AfterFunc(s.cfg.Drain, func() {
			s.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "cut off connections", obs.Count(s.Sessions()))
			s.Close()
		})
		defer cut.Stop()
	}
	s.Wait()
}

// accept takes connections until ctx ends and the socket is closed or has had its time.
func (s *Server) accept(ctx context.Context, l *Socket) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.Take(nc, l)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		default:
			// Out of file descriptors, say: what is connected goes on, and some will be given back.
			pause = min(max(2*pause, acceptPause), maxAcceptPause)
			s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "accept failed", obs.Addr(l.Addr().String()), obs.Error(err))
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// Take begins a session on a connection of a socket, or refuses it: what Serve does with each that it accepts. It does not
// wait for what the peer sends.
func (s *Server) Take(nc net.Conn, l *Socket) {
	peer := Peer{Client: ClientOf(nc), ImplicitTLS: l.ImplicitTLS}
	switch {
	case l.proxy == nil:
	case l.proxy.trusted.Contain(peer.Client):
		if limit := s.await(nc); limit != "" {
			s.refuse(nc, peer, limit)
			return
		}
		go s.identify(nc, peer, l.proxy)
		return
	default:
		nc = guard(nc, func() { s.note(peer, LimitProxy, errForged) })
	}
	if sess := s.admit(nc, peer); sess != nil {
		go s.serve(sess)
	}
}

// ServeConn runs a session on a connection to its end, or refuses it.
func (s *Server) ServeConn(nc net.Conn, implicitTLS bool) {
	if sess := s.admit(nc, Peer{Client: ClientOf(nc), ImplicitTLS: implicitTLS}); sess != nil {
		s.serve(sess)
	}
}

// await notes a connection that a header is awaited of; those are as many as sessions may be, at most.
func (s *Server) await(nc net.Conn) Limit {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining.Load():
		return LimitDraining
	case len(s.sessions)+len(s.unknown) >= s.cfg.MaxConnections:
		return LimitConnections
	}
	s.unknown[nc] = struct{}{}
	s.running.Add(1)
	return ""
}

// identify reads who a trusted peer speaks for, and serves that client.
func (s *Server) identify(nc net.Conn, peer Peer, p *policy) {
	defer s.running.Done()
	known, peer, err := p.identify(nc, peer)
	s.mu.Lock()
	delete(s.unknown, nc)
	s.mu.Unlock()
	if err != nil {
		s.note(peer, LimitProxy, err)
		nc.Close()
		return
	}
	if sess := s.admit(known, peer); sess != nil {
		s.serve(sess)
	}
}

// admit makes the session of who is let in; whom a limit keeps out is refused.
func (s *Server) admit(nc net.Conn, peer Peer) Session {
	var a admission
	if !peer.Local {
		a.key = Subscriber(peer.Client)
		if s.cfg.Gate != nil {
			limit, leave := s.cfg.Gate.Enter(s.cfg.Service, peer.Client)
			if limit != "" {
				s.refuse(nc, peer, limit)
				return nil
			}
			a.leave = leave
		}
	}
	s.mu.Lock()
	if limit := s.reached(a.key); limit != "" {
		s.mu.Unlock()
		a.end()
		s.refuse(nc, peer, limit)
		return nil
	}
	defer s.mu.Unlock()
	sess := s.cfg.Begin(nc, peer)
	s.sessions[sess] = a
	if a.key.IsValid() {
		s.counts[a.key]++
	}
	s.running.Add(1)
	return sess
}

func (a admission) end() {
	if a.leave != nil {
		a.leave()
	}
}

// reached is the limit that keeps one more connection out, or "". Callers hold mu.
func (s *Server) reached(key netip.Addr) Limit {
	switch {
	case s.draining.Load():
		return LimitDraining
	case len(s.sessions) >= s.cfg.MaxConnections:
		return LimitConnections
	case key.IsValid() && s.counts[key] >= s.cfg.MaxPerAddress:
		return LimitAddress
	}
	return ""
}

func (s *Server) serve(sess Session) {
	defer s.running.Done()
	defer s.forget(sess)
	sess.Serve()
}

func (s *Server) forget(sess Session) {
	s.mu.Lock()
	a := s.sessions[sess]
	delete(s.sessions, sess)
	if a.key.IsValid() {
		if s.counts[a.key]--; s.counts[a.key] == 0 {
			delete(s.counts, a.key)
		}
	}
	s.mu.Unlock()
	a.end()
}

func (s *Server) refuse(nc net.Conn, peer Peer, limit Limit) {
	s.note(peer, limit, nil)
	line := s.cfg.Refuse(limit)
	if !peer.ImplicitTLS {
		nc.SetWriteDeadline(time.Now().Add(refusalTimeout))
		nc.Write([]byte(line))
	}
	nc.Close()
}

// note counts and logs a connection that is not served.
func (s *Server) note(peer Peer, limit Limit, err error) {
	s.refused.WithLabelValues(string(limit)).Inc()
	attrs := []slog.Attr{obs.Client(peer.Client.String()), obs.Reason(string(limit))}
	if err != nil {
		attrs = append(attrs, obs.Error(err))
	}
	peer.Log(s.cfg.Log).LogAttrs(context.Background(), slog.LevelInfo, "connection refused", attrs...)
}

// Drain lets no session begin any more and wakes those there are. It is called once: Serve does.
func (s *Server) Drain() { s.each(Session.Wake) }

// Close cuts all sessions and lets no other begin. It does not wait for them: Serve, Run and Wait do.
func (s *Server) Close() {
	s.each(Session.Cut)
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.unknown {
		nc.Close()
	}
}

// each lets no session begin any more and calls end for those there are.
func (s *Server) each(end func(Session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	for sess := range s.sessions {
		end(sess)
	}
}

// Draining tells that no session begins any more. It is true before the first Wake.
func (s *Server) Draining() bool { return s.draining.Load() }

// Sessions is how many there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// All are the sessions there are now; some may end meanwhile.
func (s *Server) All() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.sessions))
}

// Wait returns once all sessions have ended. Nobody calls Take meanwhile.
func (s *Server) Wait() { s.running.Wait() }
