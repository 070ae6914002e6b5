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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/mailfarm/mailfarm/internal/obs"
)

const (
	// checkTime bounds one readiness check.
	checkTime = 2 * time.Second
	// maxConns bounds connections: more wait.
	maxConns = 64
	// readTime bounds a request, writeTime an answer: longer than a profile of 30 s.
	readTime, writeTime = 5 * time.Second, time.Minute
	// stopTime is how long answers under way may take at the end.
	stopTime = 500 * time.Millisecond
)

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
	checks   []*check
	draining atomic.Bool
}

// check is a Check of which at most one runs: who asks meanwhile shares its answer.
type check struct {
	Check
	mu     sync.Mutex
	flight *flight // guarded by mu
}

// flight is a check under way; err is set when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// New makes a server on l.
func New(l net.Listener, log *slog.Logger, metrics prometheus.Gatherer, checks []Check) *Server {
	s := &Server{listener: netutil.LimitListener(l, maxConns), log: log}
	for _, c := range checks {
		s.checks = append(s.checks, &check{Check: c})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if addr, ok := l.Addr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		// Profiles show what the process works on: for who is on this machine only.
		mux.HandleFunc("GET /debug/pprof/", local(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/profile", local(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/trace", local(pprof.Trace))
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "mailfarm: see /healthz, /readyz and /metrics")
	})
	s.http = &http.Server{Handler: mux, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return s
}

// local refuses requests that name another host than this machine: a web page whose name leads here could make a browser ask.
func local(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "ask for localhost", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

// Drain turns readiness off: load balancers send new connections elsewhere.
func (s *Server) Drain() { s.draining.Store(true) }

// Run serves until ctx ends; answers under way get a moment more.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if s.http.Shutdown(limit) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// ready answers a load balancer.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ready, parts := s.Report(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(parts)
}

// Report asks all parts at once. One that does not answer in time is away, and is not asked again before it has.
func (s *Server) Report(ctx context.Context) (ready bool, parts map[string]string) {
	ready, parts = true, map[string]string{}
	if s.draining.Load() {
		ready, parts["process"] = false, "draining"
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	flights := make([]*flight, len(s.checks))
	for i, c := range s.checks {
		flights[i] = c.ask()
	}
	for i, c := range s.checks {
		parts[c.Name] = "ready"
		if err := flights[i].wait(ctx); err != nil {
			ready, parts[c.Name] = false, "away"
			s.log.DebugContext(ctx, "not ready", "part", c.Name, obs.Error(err))
		}
	}
	return ready, parts
}

var readyDesc = prometheus.NewDesc("mailfarm_ready", "1 if a part that this process needs could serve now; part process is all of them, and not draining.", []string{"part"}, nil)

// Describe is prometheus.Collector's.
func (s *Server) Describe(out chan<- *prometheus.Desc) { out <- readyDesc }

// Collect is prometheus.Collector's: readiness as the load balancer hears it.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	ready, parts := s.Report(context.Background())
	gauge := func(part string, ready bool) {
		v := 0.0
		if ready {
			v = 1
		}
		out <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, v, part)
	}
	gauge("process", ready)
	delete(parts, "process")
	for part, is := range parts {
		gauge(part, is == "ready")
	}
}

// Draining tells whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// errSlow is a part that has not answered.
var errSlow = errors.New("no answer in time")

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
	}
	select { // it may have answered while another was waited for
	case <-f.done:
		return f.err
	default:
		return errSlow
	}
}

// ask runs the check beside the caller, or finds the one that runs. Its time is its own: who asked first may hang up.
func (c *check) ask() *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != nil {
		return c.flight
	}
	f := &flight{done: make(chan struct{})}
	c.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), checkTime)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				f.err = fmt.Errorf("panic: %v", p)
			}
			c.mu.Lock()
			c.flight = nil
			c.mu.Unlock()
			close(f.done)
		}()
		f.err = c.Ask(ctx)
	}()
	return f
}
