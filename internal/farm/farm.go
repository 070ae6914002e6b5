package farm

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/bounce"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/health"
	"github.com/mailfarm/mailfarm/internal/limits"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/otlp"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/internal/run"
	"github.com/mailfarm/mailfarm/internal/slack"
	"github.com/mailfarm/mailfarm/internal/trace"
)

// Farm is the roles of one process, on the infrastructure that the configuration names.
type Farm struct {
	cfg     Config
	shape   Shape
	infra   *Infra
	log     *slog.Logger
	started time.Time
	name    string // of this process in leases and claims
	// instance is what people know this process by.
	instance string

	calls     *rpc.Metrics
	internal  *rpc.Inside // the services of this process, for the roles of this process
	peers     peers
	others    []func(*grpc.Server) // put on a server what the roles of other processes may call
	operators []func(*grpc.Server) // and what operators may call
	health    *health.Server
	drain     drain
	desk      *presence.Desk
	parts     parts
	lis       []net.Listener
	listening atomic.Int64 // fronts' listeners that are open
}

// Graces of the stages behind the fronts, which stop one after the other: with the fronts' drain of all roles in one process
// together less than the 10 s that a stop may take.
const (
	workGrace = 3 * time.Second
	baseGrace = time.Second
	// callGrace is how long operators' calls may take to end, and those of other processes where all roles are in one.
	callGrace = 800 * time.Millisecond
)

// parts are what runs, by when it starts and stops: first what others need.
type parts struct{ base, work, front run.Stage }

// kit is what roles are built with beside infrastructure and clients.
type kit struct {
	tracer obs.Tracer
	// spans is where the store tells of what only a collector is to know; nil: there is none.
	spans  obs.Tracer
	dsn    *bounce.Writer
	limits *limits.Limits
}

// New opens the infrastructure of cfg and builds the shape's roles on it. Close it, also after Run.
func New(ctx context.Context, cfg Config, shape Shape, version string, log *slog.Logger) (_ *Farm, err error) {
	started := time.Now()
	if err := cfg.check(shape); err != nil {
		return nil, err
	}
	cfg.refuseDevPassword()
	cfg.fitDrains(shape)
	infra, err := Open(ctx, cfg, shape, log)
	if err != nil {
		return nil, err
	}
	log = infra.Log
	f := &Farm{cfg: cfg, shape: shape, infra: infra, log: log, started: started, name: cfg.nameOf(started), instance: instanceOf(shape), drain: newDrain()}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if f.calls, err = rpc.NewMetrics(infra.Metrics); err != nil {
		return nil, err
	}
	f.measure(version)
	f.internal = rpc.NewInside(log, f.calls)
	if err := f.connect(); err != nil {
		return nil, err
	}
	k := kit{dsn: &bounce.Writer{Blobs: infra.Blobs, Hostname: cfg.Hostname, Now: fault.Now}}
	if err := f.buildTracers(version, &k); err != nil {
		return nil, err
	}
	f.parts.base = append(f.parts.base, f.lastPart(), run.Part{Name: "memory", Run: slack.Run})
	if infra.Certs != nil {
		f.parts.base = append(f.parts.base, run.Part{Name: "certificates", Run: infra.Certs.Run})
	}
	if infra.EmbeddedBus != nil {
		f.parts.base = append(f.parts.base, run.Part{Name: "bus", Run: func(ctx context.Context) error {
			return infra.EmbeddedBus.Keep(ctx, f.log, infra.Bus.Probe)
		}})
	}
	if k.limits, err = f.buildLimits(); err != nil {
		return nil, err
	}
	f.buildPresence()
	f.useLocator()
	for _, name := range shape.roles {
		if err := roles[name].build(f, f.peers.clients(), k); err != nil {
			return nil, err
		}
	}
	f.internal.Serve()
	service := admin.New(infra.Bus, version, shape.roles, started)
	f.parts.base = append(f.parts.base, run.Part{Name: "status", Run: func(ctx context.Context) error {
		return service.Answer(ctx, f.status(version))
	}})
	f.operators = append(f.operators, func(s *grpc.Server) { service.With(f).Register(s) })
	f.others = append(f.others, func(s *grpc.Server) { service.Register(s) })
	if err := f.doors(); err != nil {
		return nil, err
	}
	return f, nil
}

// buildTracers makes what tells people, and a collector, where there is one, of the way of messages.
func (f *Farm) buildTracers(version string, k *kit) error {
	host, _ := os.Hostname()
	tracer := trace.New(f.infra.Bus, host)
	f.parts.base = append(f.parts.base, run.Part{Name: "trace", Run: tracer.Run})
	k.tracer = tracer
	if f.cfg.OTLP.Endpoint == "" {
		return nil
	}
	exporter, err := otlp.Open(f.cfg.OTLP, version, f.name)
	if err != nil {
		return err
	}
	f.parts.base = append(f.parts.base, run.Part{Name: "otlp", Run: exporter.Run})
	k.tracer, k.spans = otlp.Both(exporter, tracer), exporter
	return nil
}

// role gives a role's log and wraps its name around its error.
func (f *Farm) role(name string) *slog.Logger { return f.log.With(obs.Role(name)) }

// doors opens what operators and monitoring reach the farm by.
func (f *Farm) doors() error {
	socket, err := admin.Listen(f.cfg.Data)
	if err != nil {
		return err
	}
	f.serve("admin", callGrace, socket, f.server(rpc.Forward(f.peers.elsewhere)...), f.operators)
	if f.cfg.RPC.Listen != "" {
		l, err := net.Listen("tcp", f.cfg.RPC.Listen)
		if err != nil {
			return fmt.Errorf("rpc.listen: %w", err)
		}
		f.serve("rpc", f.callTime(), netutil.LimitListener(l, maxCallers), f.server(rpc.Serving(f.peers.certs.ServerConfig())...), f.others)
	}
	if f.cfg.Admin.Listen != "" && f.cfg.Admin.Listen != none {
		if err := f.adminPort(); err != nil {
			return fmt.Errorf("admin port: %w", err)
		}
	}
	if f.cfg.HTTP == none {
		return nil
	}
	l, err := net.Listen("tcp", f.cfg.HTTP)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	f.lis = append(f.lis, l)
	f.health = health.New(l, f.log, f.infra.Metrics, f.checks())
	f.infra.Metrics.MustRegister(f.health, f.roleReady())
	f.parts.base = append(f.parts.base, run.Part{Name: "http", Run: f.health.Run})
	return nil
}

// server makes one whose calls are counted.
func (f *Farm) server(options ...grpc.ServerOption) *grpc.Server {
	return rpc.NewServer(f.log, append(f.calls.ServerOptions(), options...)...)
}

// maxCallers bounds the connections of other processes, with those of strangers who have no certificate.
const maxCallers = 4096

// callTime is how long calls of other processes may take to end. Apart from each other roles call for their clients, who are
// not to notice: an IMAP APPEND comes as slowly as its client sends it.
func (f *Farm) callTime() time.Duration {
	if f.shape.alone() {
		return callGrace
	}
	return f.cfg.fitDrains(f.shape)
}

// serve answers on l by what is registered on s until the end; calls in hand may take a while to finish.
func (f *Farm) serve(name string, grace time.Duration, l net.Listener, s *grpc.Server, services []func(*grpc.Server)) {
	for _, register := range services {
		register(s)
	}
	f.lis = append(f.lis, l)
	f.parts.base = append(f.parts.base, run.Part{Name: name, Run: func(ctx context.Context) error {
		stopped := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(stopped)
			cut := time.AfterFunc(grace, s.Stop)
			defer cut.Stop()
			s.GracefulStop()
		})
		err := s.Serve(l)
		if !stop() {
			<-stopped
		}
		return err
	}})
}

// adminPort opens the TCP door: the same services, for whoever has a certificate of the authority.
func (f *Farm) adminPort() error {
	tls, err := f.adminTLS()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", f.cfg.Admin.Listen)
	if err != nil {
		return err
	}
	options := append(rpc.Forward(f.peers.elsewhere), grpc.Creds(credentials.NewTLS(tls)))
	f.serve("admin port", callGrace, l, f.server(options...), f.operators)
	return nil
}

// Run runs until ctx ends, it is told to drain or a part fails, then drains: fronts first, the store last.
func (f *Farm) Run(ctx context.Context) error {
	ctx, release := f.stopping(ctx)
	defer release()
	f.log.InfoContext(ctx, "started", "roles", strings.Join(f.shape.roles, " "), obs.Delay("start", time.Since(f.started)))
	for _, s := range []struct {
		parts run.Stage
		grace time.Duration
	}{{f.parts.front, f.cfg.fitDrains(f.shape) + lastWords}, {f.parts.work, max(workGrace, f.callTime())}, {f.parts.base, max(baseGrace, f.callTime()+lastWords)}} {
		for i := range s.parts {
			s.parts[i].Grace = s.grace
		}
	}
	err := run.Stages(ctx, f.log, f.parts.base, f.parts.work, f.parts.front)
	f.log.Info("stopped")
	return err
}

// Close closes the infrastructure.
func (f *Farm) Close() error {
	if f.internal != nil {
		f.internal.Close()
	}
	f.peers.close()
	for _, l := range slices.Backward(f.lis) {
		l.Close() // closed already by those who serve it, unless Run was never called
	}
	return f.infra.Close()
}
