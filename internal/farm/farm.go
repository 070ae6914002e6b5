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

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/bounce"
	"github.com/mailfarm/mailfarm/internal/health"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/internal/run"
	"github.com/mailfarm/mailfarm/internal/trace"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Roles are the names that `mailfarm run` takes, in the order in which they start.
var Roles = []string{"directory", "store", "filter", "router", "delivery-local", "delivery-remote", "ingress", "submission", "imap", "pop3"}

// Farm is all roles in one process, on the infrastructure of one machine.
type Farm struct {
	cfg     Config
	infra   *Infra
	log     *slog.Logger
	started time.Time

	internal  *grpc.Server // the services of this process, for the roles of this process
	local     *rpc.Loopback
	operators []func(*grpc.Server) // put on a server what operators may call
	health    *health.Server
	parts     parts
	lis       []net.Listener
	listening atomic.Int64 // fronts' listeners that are open
}

// Graces of the stages, which stop one after the other: together less than the 10 s that a stop may take.
const (
	frontGrace = 5 * time.Second
	workGrace  = 3 * time.Second
	baseGrace  = time.Second
)

// parts are what runs, by when it starts and stops: first what others need.
type parts struct{ base, work, front run.Stage }

// New opens the infrastructure of cfg and builds all roles on it. Close it, also after Run.
func New(ctx context.Context, cfg Config, version string, log *slog.Logger) (_ *Farm, err error) {
	started := time.Now()
	cfg.refuseDevPassword()
	infra, err := Open(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	f := &Farm{cfg: cfg, infra: infra, log: log, started: started}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	f.internal = rpc.NewServer(log)
	if f.local, err = rpc.NewLoopback(f.internal); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	tracer := trace.New(infra.Bus, host)
	f.parts.base = append(f.parts.base, run.Part{Name: "trace", Run: tracer.Run})
	if infra.EmbeddedBus != nil {
		f.parts.base = append(f.parts.base, run.Part{Name: "bus", Run: func(ctx context.Context) error {
			return infra.EmbeddedBus.Keep(ctx, f.log, infra.Bus.Probe)
		}})
	}
	if err := f.build(tracer); err != nil {
		return nil, err
	}
	f.local.Serve()
	service := admin.New(infra.Bus, version, Roles, started)
	f.operators = append(f.operators, func(s *grpc.Server) { service.Register(s) })
	if err := f.doors(); err != nil {
		return nil, err
	}
	return f, nil
}

// role gives a role's log and wraps its name around its error.
func (f *Farm) role(name string) *slog.Logger { return f.log.With(obs.Role(name)) }

// clients are the connections that roles speak to each other by.
type clients struct {
	directory directoryv1.DirectoryClient
	filter    filterv1.FilterClient
	ledger    storev1.LedgerClient
	mailboxes storev1.MailboxesClient
	bodies    storev1.BodiesClient
	leases    storev1.LeasesClient
}

func (f *Farm) clients() clients {
	return clients{
		directory: directoryv1.NewDirectoryClient(f.local.Conn),
		filter:    filterv1.NewFilterClient(f.local.Conn),
		ledger:    storev1.NewLedgerClient(f.local.Conn),
		mailboxes: storev1.NewMailboxesClient(f.local.Conn),
		bodies:    storev1.NewBodiesClient(f.local.Conn),
		leases:    storev1.NewLeasesClient(f.local.Conn),
	}
}

// build makes the roles in the order in which they need each other.
func (f *Farm) build(tracer obs.Tracer) error {
	c := f.clients()
	dsn := &bounce.Writer{Blobs: f.infra.Blobs, Hostname: f.cfg.Hostname, Now: time.Now}
	for _, build := range []func(clients, obs.Tracer, *bounce.Writer) error{
		f.buildDirectory, f.buildStore, f.buildFilter, f.buildRouter, f.buildLocal, f.buildRemote,
		f.buildIngress, f.buildSubmission, f.buildIMAP, f.buildPOP3,
	} {
		if err := build(c, tracer, dsn); err != nil {
			return err
		}
	}
	return nil
}

// doors opens what operators and monitoring reach the farm by.
func (f *Farm) doors() error {
	socket, err := admin.Listen(f.cfg.Data)
	if err != nil {
		return err
	}
	f.serveAdmin(socket, rpc.NewServer(f.log))
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
	f.parts.base = append(f.parts.base, run.Part{Name: "http", Run: f.health.Run})
	return nil
}

func (f *Farm) serveAdmin(l net.Listener, s *grpc.Server) {
	for _, register := range f.operators {
		register(s)
	}
	f.lis = append(f.lis, l)
	f.parts.base = append(f.parts.base, run.Part{Name: "admin", Run: func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, s.Stop)
		defer stop()
		return s.Serve(l)
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
	s := rpc.NewServer(f.log, grpc.Creds(credentials.NewTLS(tls)))
	f.serveAdmin(l, s)
	return nil
}

// Run runs until ctx ends or a part fails, then drains: fronts first, the store last.
func (f *Farm) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		if f.health != nil {
			f.health.Drain()
		}
		f.log.Info("draining")
	})
	defer stop()
	f.log.InfoContext(ctx, "started", "roles", strings.Join(Roles, " "), obs.Delay("start", time.Since(f.started)))
	for _, s := range []struct {
		parts run.Stage
		grace time.Duration
	}{{f.parts.front, frontGrace}, {f.parts.work, workGrace}, {f.parts.base, baseGrace}} {
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
	if f.local != nil {
		f.local.Close()
	}
	for _, l := range slices.Backward(f.lis) {
		l.Close() // closed already by those who serve it, unless Run was never called
	}
	return f.infra.Close()
}

// checks are what readiness asks: whether this process could serve a message or a login now.
func (f *Farm) checks() []health.Check {
	return []health.Check{
		{Name: "listeners", Ask: func(context.Context) error {
			if want := f.cfg.listeners(); f.listening.Load() < int64(len(want)) {
				return fmt.Errorf("%d of %d are open", f.listening.Load(), len(want))
			}
			return nil
		}},
		{Name: "bus", Ask: func(context.Context) error { return f.infra.Bus.Ready() }},
		{Name: "store", Ask: func(ctx context.Context) error {
			_, err := f.clients().mailboxes.Counters(ctx, &storev1.CountersRequest{})
			return err
		}},
		{Name: "directory", Ask: func(ctx context.Context) error {
			_, err := f.clients().directory.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{"postmaster"}})
			return err
		}},
	}
}
