// Package health answers the questions of load balancers and monitoring over HTTP: alive, ready, metrics.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// checkTime bounds one readiness check.
const checkTime = 2 * time.Second

// Check tells whether a part that this process needs can serve now.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

// Server answers /healthz (the process lives: it does not ask neighbours), /readyz (it could serve now) and /metrics; on a
// loopback address also /debug/pprof/.
type Server struct {
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
	checks   []Check
	draining atomic.Bool
}

// New makes a server on l.
func New(l net.Listener, log *slog.Logger, metrics prometheus.Gatherer, checks []Check) *Server {
	s := &Server{listener: l, log: log, checks: checks}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if addr, ok := l.Addr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		// Profiles show what the process works on: for who is on this machine only.
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "mailfarm: see /healthz, /readyz and /metrics")
	})
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	return s
}

// Drain turns readiness off: load balancers send new connections elsewhere.
func (s *Server) Drain() { s.draining.Store(true) }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	code, parts := http.StatusOK, map[string]string{}
	if s.draining.Load() {
		code, parts["process"] = http.StatusServiceUnavailable, "draining"
	}
	for _, c := range s.checks {
		parts[c.Name] = "ready"
		if err := c.Ask(ctx); err != nil {
			code, parts[c.Name] = http.StatusServiceUnavailable, "away"
			s.log.DebugContext(ctx, "not ready", "part", c.Name, obs.Error(err))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(parts)
}
