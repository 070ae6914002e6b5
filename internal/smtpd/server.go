package smtpd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Server serves any number of sockets with one Config and one Backend.
type Server struct {
	cfg     Config
	backend Backend
	log     *slog.Logger
	stats   counters
	front   *front.Server
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
	s := &Server{cfg: cfg, backend: backend, log: log}
	var err error
	s.front, err = front.New(front.Config{
		Service: cfg.Service, MaxConnections: cfg.Limits.Connections, MaxPerAddress: cfg.Limits.ConnectionsPerAddress,
		Gate: cfg.Gate, Drain: cfg.Drain, Begin: s.begin, Refuse: s.refuse, Log: log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("smtpd: %w", err)
	}
	return s, nil
}

// Run serves the sockets, which it closes, until ctx ends or one of them fails. It then drains: connections that wait for a
// command get 421 (RFC 5321 §3.8), and a message that is arriving may be finished and answered. When Config.Drain is over,
// what is left is answered 421 and cut off, which takes half a second at most.
func (s *Server) Run(ctx context.Context, sockets []front.Socket) error {
	for _, l := range sockets {
		if l.ImplicitTLS && s.cfg.TLS == nil {
			front.CloseAll(sockets)
			return fmt.Errorf("listen on %s: implicit TLS without a certificate", l.Addr())
		}
	}
	return s.front.Serve(ctx, sockets)
}

// ServeConn serves one connection and returns at its end. Limits on connections hold for it too.
func (s *Server) ServeConn(conn net.Conn, implicitTLS bool) { s.front.ServeConn(conn, implicitTLS) }

// begin makes the dialogue of a connection that was let in.
func (s *Server) begin(conn net.Conn, peer front.Peer) front.Session {
	c := &Conn{server: s, raw: conn, conn: conn, id: newConnID(), peer: peer}
	if peer.Client.IsValid() {
		c.client = peer.Client.String()
	}
	c.in.conn, c.in.buf, c.in.beforeRead = conn, c.in.small[:], c.beforeRead
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return dialogue{c}
}

// refuse is what a connection is told that is not let in (RFC 5321 §3.1).
func (s *Server) refuse(limit front.Limit) string {
	s.stats.turnedAway.Add(1)
	switch limit {
	case front.LimitDraining:
		return "421 4.3.2 " + s.cfg.Hostname + " is stopping, try again\r\n"
	case front.LimitConnections:
		return "421 4.3.2 too many connections, try again\r\n"
	case front.LimitAddress:
		return "421 4.7.0 too many connections from your address\r\n"
	}
	return "421 4.7.0 not now from your address, try again later\r\n"
}

// dialogue is a Conn as the front sees it.
type dialogue struct{ *Conn }

// Serve runs the dialogue to its end.
func (d dialogue) Serve() {
	c := d.Conn
	if !c.peer.Local {
		c.server.stats.connections.Add(1)
	}
	c.log = c.peer.Log(c.server.log).With(obs.ConnID(c.id))
	c.log.LogAttrs(c.ctx, slog.LevelDebug, "connected", obs.Client(c.client))
	defer c.cancel()
	c.serve(c.peer.ImplicitTLS)
}

// Wake interrupts the wait for a command.
func (d dialogue) Wake() { d.wake() }

// Cut ends the dialogue and what its Session waits for.
func (d dialogue) Cut() {
	d.cancel()
	d.cutOff()
}

func newConnID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
