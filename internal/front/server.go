package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

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
	// Cut ends the session now, without a word, by closing its connection. It comes from another goroutine, perhaps more
	// than once, and does not block.
	Cut()
}

// Limit is why a connection was refused; a name for logs and metrics.
type Limit string

// The limits.
const (
	LimitDraining    Limit = "draining"
	LimitConnections Limit = "connections"
	LimitAddress     Limit = "address"
)

const (
	// refusalTimeout is how long the line of a refusal may hold up the accept loop: a new socket has room for it, so the
	// deadline is there for odd ones.
	refusalTimeout = 100 * time.Millisecond
	// acceptPause and maxAcceptPause are how long a failing accept waits, from the first to the last of a series.
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Config of a Server.
type Config struct {
	// MaxConnections at once, and MaxPerAddress of one client.
	MaxConnections, MaxPerAddress int
	// CountBy is what a client is counted as towards MaxPerAddress, as Subscriber is; nil is its address.
	CountBy func(client netip.Addr) netip.Addr
	// Begin makes the session of a connection that was let in. It is called under a lock: it does not block. client is
	// ClientOf nc.
	Begin func(nc net.Conn, client netip.Addr, implicitTLS bool) Session
	// Refuse hears of a connection that is not let in, for metrics, and gives the line that is said, with its CRLF. With
	// implicit TLS nothing is said: the client waits for a handshake.
	Refuse func(client netip.Addr, limit Limit) (line string)
	Log    *slog.Logger
}

// Server accepts connections and runs a session on each.
type Server struct {
	cfg      Config
	ready    chan struct{}
	draining atomic.Bool // set under mu, so that no session begins behind a drain

	mu       sync.Mutex
	sessions map[Session]netip.Addr // guarded by mu: what they are counted as
	counts   map[netip.Addr]int     // guarded by mu: sessions per key; none is 0
	running  sync.WaitGroup         // sessions; Add under mu while not draining
}

// New makes a Server; it starts nothing.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, ready: make(chan struct{}), sessions: map[Session]netip.Addr{}, counts: map[netip.Addr]int{}}
}

// Ready is closed once Run has opened all listeners.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run opens the listeners and does as Serve does. It is called once.
func (s *Server) Run(ctx context.Context, listen Listen, listeners []Listener) error {
	sockets, err := Open(listen, listeners)
	if err != nil {
		return err
	}
	for _, l := range sockets {
		s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "listening", obs.Addr(l.Addr().String()), slog.Bool("implicit_tls", l.ImplicitTLS))
	}
	close(s.ready)
	return s.Serve(ctx, sockets)
}

// Serve takes connections from the sockets until ctx ends or somebody else closes one of them, which is an error. It closes
// the sockets, wakes all sessions, and returns once they have ended, however long they take: who will not wait calls Close.
func (s *Server) Serve(ctx context.Context, sockets []Socket) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(sockets))
	var accepting sync.WaitGroup
	for _, l := range sockets {
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
	CloseAll(sockets)
	accepting.Wait()
	s.each(Session.Wake)
	s.Wait()
	return err
}

// accept takes connections until ctx ends and the socket is closed.
func (s *Server) accept(ctx context.Context, l Socket) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.Take(nc, l.ImplicitTLS)
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

// Take begins a session on a connection, or refuses it: what Serve does with each that it accepts.
func (s *Server) Take(nc net.Conn, implicitTLS bool) {
	client := ClientOf(nc)
	key := client
	if s.cfg.CountBy != nil {
		key = s.cfg.CountBy(client)
	}
	s.mu.Lock()
	if limit := s.reached(key); limit != "" {
		s.mu.Unlock()
		s.refuse(nc, client, limit, implicitTLS)
		return
	}
	sess := s.cfg.Begin(nc, client, implicitTLS)
	s.sessions[sess] = key
	s.counts[key]++
	s.running.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		defer s.forget(sess)
		sess.Serve()
	}()
}

// reached is the limit that keeps one more connection out, or "". Callers hold mu.
func (s *Server) reached(key netip.Addr) Limit {
	switch {
	case s.draining.Load():
		return LimitDraining
	case len(s.sessions) >= s.cfg.MaxConnections:
		return LimitConnections
	case s.counts[key] >= s.cfg.MaxPerAddress:
		return LimitAddress
	}
	return ""
}

func (s *Server) refuse(nc net.Conn, client netip.Addr, limit Limit, implicitTLS bool) {
	line := s.cfg.Refuse(client, limit)
	s.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection refused", obs.Client(client.String()), obs.Reason(string(limit)))
	if !implicitTLS {
		nc.SetWriteDeadline(time.Now().Add(refusalTimeout))
		nc.Write([]byte(line))
	}
	nc.Close()
}

func (s *Server) forget(sess Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.sessions[sess]
	delete(s.sessions, sess)
	if s.counts[key]--; s.counts[key] == 0 {
		delete(s.counts, key)
	}
}

// Close cuts all sessions and lets no other begin. It does not wait for them: Serve and Run do.
func (s *Server) Close() { s.each(Session.Cut) }

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

// Wait returns once all sessions have ended. Nobody calls Take meanwhile.
func (s *Server) Wait() { s.running.Wait() }
