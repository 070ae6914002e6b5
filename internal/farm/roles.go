package farm

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/run"
	"github.com/mailfarm/mailfarm/internal/trace"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	"github.com/mailfarm/mailfarm/services/delivery/local"
	"github.com/mailfarm/mailfarm/services/delivery/remote"
	"github.com/mailfarm/mailfarm/services/directory"
	"github.com/mailfarm/mailfarm/services/filter"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
	"github.com/mailfarm/mailfarm/services/ingress"
	pop3svc "github.com/mailfarm/mailfarm/services/pop3"
	"github.com/mailfarm/mailfarm/services/router"
	"github.com/mailfarm/mailfarm/services/store"
	"github.com/mailfarm/mailfarm/services/submission"
)

func (f *Farm) buildDirectory(_ clients, k kit) error {
	s, err := directory.New(f.cfg.Directory, directory.Deps{
		Store: f.infra.Accounts, Log: f.role("directory"), Metrics: f.infra.Metrics, Now: fault.Now, Failures: k.limits, Sessions: sessionEnder{f.infra.Bus},
	})
	if err != nil {
		return err
	}
	f.offer(s.Register)
	f.parts.base = append(f.parts.base, run.Part{Name: "directory", Run: s.Run})
	return nil
}

func (f *Farm) buildStore(c clients, k kit) error {
	s, err := store.New(f.cfg.Store, store.Deps{
		Mailboxes: f.infra.Mailboxes, Quotas: f.infra.Quotas, Domains: f.infra.Domains, Annotations: f.infra.Annotations, Imports: f.infra.Imports, Leases: f.infra.Leases, Blobs: f.infra.Blobs, Locate: f.infra.locator(), Notify: f.infra.Bus, Trace: k.spans,
		Sharing: f.infra.Sharing, Directory: c.identities, Log: f.role("store"), Metrics: f.infra.Metrics, Now: fault.Now,
	})
	if err != nil {
		return err
	}
	err = s.AddLedger(f.cfg.Ledger, store.LedgerDeps{
		Ledger: f.infra.Ledger, Leases: f.infra.Leases, Blobs: f.infra.Blobs, Bus: f.infra.Bus, Watch: f.infra.Bus, Maintain: f.maintain(),
		Log: f.role("store"), Metrics: f.infra.Metrics, Now: fault.Now, Holder: f.name, Notes: f.infra.Books, Referred: f.infra.referred(),
	})
	if err != nil {
		return err
	}
	if err := s.AddQuotaNotices(store.QuotaDeps{Leases: f.infra.Leases, Log: f.role("store"), Hostname: f.cfg.Hostname, Holder: f.name, Resolve: c.directory}); err != nil {
		return err
	}
	if err := f.addReclaim(s); err != nil {
		return err
	}
	if err := s.AddRetention(store.RetentionDeps{
		Retention: f.infra.Retention, Check: f.infra.Check, Removed: c.removed, Leases: f.infra.Leases, Log: f.role("store"), Now: time.Now, Holder: f.name, Lease: f.cfg.Ledger.Lease,
	}); err != nil {
		return err
	}
	if err := f.addFullText(s); err != nil {
		return err
	}
	s.AddBackups(store.BackupDeps{Whole: f.infra.Whole, Ledger: f.infra.Ledger, Blobs: f.infra.Blobs, Directory: c.identities, Now: fault.Now})
	f.offer(s.Register)
	f.parts.base = append(f.parts.base, run.Part{Name: "store", Run: s.Run})
	return nil
}

// maintain keeps up a bus that processes share; one of our own keeps itself.
func (f *Farm) maintain() func(context.Context) error {
	if f.infra.EmbeddedBus != nil {
		return nil
	}
	return f.infra.Bus.Maintain
}

// offer serves a role to this process, to others and to operators.
func (f *Farm) offer(register func(grpc.ServiceRegistrar)) {
	register(f.internal)
	onServer := func(r *grpc.Server) { register(r) }
	f.others = append(f.others, onServer)
	f.operators = append(f.operators, onServer)
}

func (f *Farm) buildFilter(_ clients, k kit) error {
	s, err := filter.New(f.cfg.Filter, filter.Deps{
		Bus: f.infra.Bus, Bodies: f.infra.Blobs, Resolve: f.infra.Resolver, Trace: trace.As(k.tracer, "filter"),
		Log: f.role("filter"), Metrics: f.infra.Metrics, Now: fault.Now,
	})
	if err != nil {
		return err
	}
	s.Register(f.internal)
	f.others = append(f.others, func(r *grpc.Server) { s.Register(r) })
	f.parts.work = append(f.parts.work, run.Part{Name: "filter", Run: s.Run})
	return nil
}

func (f *Farm) buildRouter(c clients, k kit) error {
	s, err := router.New(f.cfg.Router, router.Deps{
		Bus: f.infra.Bus, Frames: f.infra.Blobs, Directory: c.directory, Ledger: c.ledger, Bounces: k.dsn, Delivered: deliveredTo,
		Trace: trace.As(k.tracer, "router"), Log: f.role("router"), Metrics: f.infra.Metrics, Now: fault.Now,
	})
	if err != nil {
		return err
	}
	f.parts.work = append(f.parts.work, run.Part{Name: "router", Run: s.Run})
	return nil
}

// deliveredTo reads the addresses of Delivered-To fields from a part index; one that cannot be read tells of none.
func deliveredTo(partIndex []byte) []string {
	ix, err := message.Decode(partIndex)
	if err != nil {
		return nil
	}
	return ix.DeliveredTo
}

func (f *Farm) buildLocal(c clients, k kit) error {
	s, err := local.New(f.cfg.Local, local.Deps{
		Bus: f.infra.Bus, Mailboxes: c.mailboxes, Ledger: c.ledger, DSN: k.dsn, Trace: trace.As(k.tracer, "delivery-local"),
		Log: f.role("delivery-local"), Metrics: f.infra.Metrics, Now: fault.Now,
	})
	if err != nil {
		return err
	}
	f.parts.work = append(f.parts.work, run.Part{Name: "delivery-local", Run: s.Run})
	return nil
}

func (f *Farm) buildRemote(c clients, k kit) error {
	s, err := remote.New(f.cfg.Remote, remote.Deps{
		Bus: f.infra.Bus, Ledger: c.ledger, Frames: f.infra.Blobs, DSN: k.dsn, Resolve: f.infra.Resolver, Dial: &net.Dialer{},
		Trace: trace.As(k.tracer, "delivery-remote"), Log: f.role("delivery-remote"), Metrics: f.infra.Metrics, Now: fault.Now,
		// Unlike leases, claims of an earlier start may still be on their way to a peer's reply: each start is another owner.
		Owner: f.name + "-" + f.started.UTC().Format("20060102T150405.000000000"),
	})
	if err != nil {
		return err
	}
	f.parts.work = append(f.parts.work, run.Part{Name: "delivery-remote", Run: s.Run})
	return nil
}

// acceptance is what ingress and submission pass messages on to.
func (f *Farm) acceptance(role string, c clients, k kit) acceptance.Deps {
	return acceptance.Deps{
		Blobs: f.infra.Blobs, Filter: c.filter, Bus: f.infra.Bus, Trace: trace.As(k.tracer, role),
		Log: f.role(role), Metrics: f.infra.Metrics, Now: fault.Now,
	}
}

func (f *Farm) buildIngress(c clients, k kit) error {
	s, err := ingress.New(f.cfg.Ingress, ingress.Deps{
		Deps: f.acceptance("ingress", c, k), Directory: c.directory, Quotas: c.rooms(), TLS: f.infra.TLS, Listen: f.listen,
		Gate: k.limits, Limits: k.limits,
	})
	if err != nil {
		return err
	}
	f.drain.fronts["ingress"] = s.Sessions
	f.parts.front = append(f.parts.front, run.Part{Name: "ingress", Run: s.Run})
	return nil
}

func (f *Farm) buildSubmission(c clients, k kit) error {
	s, err := submission.New(f.cfg.Submission, submission.Deps{
		Deps: f.acceptance("submission", c, k), Directory: c.directory, Quotas: c.rooms(), TLS: f.infra.TLS, Listen: f.listen,
		Gate: k.limits, Limits: k.limits,
	})
	if err != nil {
		return err
	}
	f.drain.fronts["submission"] = s.Sessions
	f.parts.front = append(f.parts.front, run.Part{Name: "submission", Run: s.Run})
	return nil
}

func (f *Farm) buildIMAP(c clients, k kit) error {
	s, err := imapsvc.New(f.cfg.IMAP, imapsvc.Deps{
		Mailboxes: c.mailboxes, Guarded: c.guarded, Bodies: c.bodies, Quotas: c.quotas, Directory: c.directory, Notices: notices{f.infra.Bus.NewFan()}, TLS: f.infra.TLS,
		Sharing: c.sharing, Identities: c.identities, Annotations: c.annotations, Keys: c.keys, FullText: f.searchIndex(c),
		Log: f.log, Metrics: f.infra.Metrics, Listen: f.listen, Gate: k.limits,
	})
	if err != nil {
		return err
	}
	f.drain.fronts["imap"] = s.Sessions
	f.desk.Add(s.Clients)
	f.parts.front = append(f.parts.front, run.Part{Name: "imap", Run: s.Run})
	return nil
}

func (f *Farm) buildPOP3(c clients, k kit) error {
	s, err := pop3svc.New(f.cfg.POP3, pop3svc.Deps{
		Mailboxes: c.mailboxes, Bodies: c.bodies, Leases: c.leases, Imports: c.imports, Directory: c.directory, TLS: f.infra.TLS,
		Log: f.log, Metrics: f.infra.Metrics, Listen: f.listen, Gate: k.limits,
	})
	if err != nil {
		return err
	}
	f.drain.fronts["pop3"] = s.Sessions
	f.desk.Add(s.Clients)
	f.parts.front = append(f.parts.front, run.Part{Name: "pop3", Run: s.Run})
	return nil
}

// notices are the change notices of the bus as the imap role takes them.
type notices struct{ fan *bus.Fan }

func (n notices) Subscribe(account uint64, changed func(*mailv1.MailboxChanged)) (cancel func()) {
	stop, err := n.fan.Listen(bus.Changed(account), func(payload []byte) {
		m := &mailv1.MailboxChanged{}
		if proto.Unmarshal(payload, m) == nil {
			changed(m)
		}
	})
	if err != nil {
		// A hint less: the comparison of counters finds what is missed.
		return func() {}
	}
	return stop
}

// listen opens a front's listener and counts it for readiness.
func (f *Farm) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err == nil {
		f.listening.Add(1)
	}
	return l, err
}
