// Package embedded runs a NATS server with JetStream inside the process: the bus of `mailfarm run all`.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Server is a NATS server in this process. It can be started anew while clients stay: they connect again by themselves.
type Server struct {
	opts server.Options

	mu sync.Mutex
	s  *server.Server // guarded by mu
}

// storeLimit is what JetStream may keep at most, octets. It is no reservation: the streams have bounds of their own, and
// without a limit JetStream would refuse to start them on a disk that has less room than they could ever use.
const storeLimit = 1 << 40

// Start starts a server that keeps its streams under dir. listen is a loopback address ("127.0.0.1:4222") on which
// other programs reach it too; empty: none.
func Start(dir, listen string) (*Server, error) {
	s := &Server{opts: server.Options{
		ServerName:        "mailfarm",
		JetStream:         true,
		StoreDir:          dir,
		JetStreamMaxStore: storeLimit,
		DontListen:        listen == "",
		NoSigs:            true,
		NoLog:             true,
		// The bus is never run sync-always: what it loses is found again (design §1).
		SyncInterval: 2 * time.Minute,
		MaxPayload:   8 << 20,
	}}
	if listen != "" {
		host, port, err := Loopback(listen)
		if err != nil {
			return nil, fmt.Errorf("start the embedded bus: listen: %w", err)
		}
		s.opts.Host, s.opts.Port = host, port
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// start starts a server with the options. The caller holds mu, or is the only one.
func (s *Server) start() error {
	opts := s.opts // the server fills in its copy
	ns, err := server.NewServer(&opts)
	if err != nil {
		return fmt.Errorf("start the embedded bus: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10*time.Second) || !ns.JetStreamEnabled() {
		ns.Shutdown()
		return fmt.Errorf("start the embedded bus in %s: it did not become ready: is there room on the disk, and may the folder be written?", s.opts.StoreDir)
	}
	s.s = ns
	return nil
}

// Loopback splits an address and refuses one that others could reach: the embedded bus has no passwords.
func Loopback(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, errors.New("the embedded bus has no passwords: it listens on loopback only")
	}
	return host, port, nil
}

// Option makes a client connect within the process.
func (s *Server) Option() nats.Option {
	return func(o *nats.Options) error {
		o.InProcessServer = s
		return nil
	}
}

// InProcessConn connects to the server that runs now; the client library calls it for each connection.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.s == nil {
		return nil, errors.New("the embedded bus is being started anew")
	}
	return s.s.InProcessConn()
}

// URL is where other programs reach it, if it listens.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.ClientURL()
}

// Restart ends the server and starts it again. Where it does not start with what it kept, it starts with nothing: work is
// found again by recovery and sweep.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	if err := s.start(); err == nil {
		return nil
	}
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		return fmt.Errorf("start the embedded bus anew: %w", err)
	}
	return s.start()
}

// end ends the server, if one runs, and waits for it. The caller holds mu.
func (s *Server) end() {
	if s.s != nil {
		s.s.Shutdown()
		s.s.WaitForShutdown()
		s.s = nil
	}
}

// Close ends the server and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// Times of Keep.
const (
	// probeEvery is how often Keep asks whether the bus takes work.
	probeEvery = 2 * time.Second
	// probeTime is how long one answer may take.
	probeTime = 5 * time.Second
	// probesFailed in a row make Keep start the server anew.
	probesFailed = 3
)

// Keep starts the server anew when it no longer takes work, until ctx ends. probe stores something. A server whose disk was
// full stays unable to write when there is room again (its file store remembers the error), so somebody must.
func (s *Server) Keep(ctx context.Context, log *slog.Logger, probe func(context.Context) error) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	failed := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		try, cancel := context.WithTimeout(ctx, probeTime)
		err := probe(try)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			failed = 0
			continue
		}
		if failed++; failed < probesFailed {
			continue
		}
		failed = 0
		log.WarnContext(ctx, "bus takes no work, starting it anew", obs.Error(err))
		if err := s.Restart(); err != nil {
			log.WarnContext(ctx, "bus did not start", obs.Error(err))
			continue
		}
		log.InfoContext(ctx, "bus started anew")
	}
}
