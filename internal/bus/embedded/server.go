// Package embedded runs a NATS server with JetStream inside the process: the bus of `mailfarm run all`.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server in this process.
type Server struct{ s *server.Server }

// Start starts a server that keeps its streams under dir. listen is a loopback address ("127.0.0.1:4222") on which
// other programs reach it too; empty: none.
func Start(dir, listen string) (*Server, error) {
	opts := &server.Options{
		ServerName: "mailfarm",
		JetStream:  true,
		StoreDir:   dir,
		DontListen: listen == "",
		NoSigs:     true,
		NoLog:      true,
		// The bus is never run sync-always: what it loses is found again (design §1).
		SyncInterval: 2 * time.Minute,
		MaxPayload:   8 << 20,
	}
	if listen != "" {
		host, port, err := loopback(listen)
		if err != nil {
			return nil, fmt.Errorf("start the embedded bus: listen: %w", err)
		}
		opts.Host, opts.Port = host, port
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start the embedded bus: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10*time.Second) || !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("start the embedded bus in %s: it did not become ready", dir)
	}
	return &Server{s: s}, nil
}

func loopback(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, errors.New("the embedded bus has no passwords: it listens on loopback only")
	}
	return host, n, nil
}

// Option makes a client connect within the process.
func (s *Server) Option() nats.Option { return nats.InProcessServer(s.s) }

// URL is where other programs reach it, if it listens.
func (s *Server) URL() string { return s.s.ClientURL() }

// Close ends the server and waits for it.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}
