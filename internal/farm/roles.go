package farm

import (
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/bounce"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/run"
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

// holder names this process in leases and claims. The data folder's lock keeps other processes out, so that the next start
// may take over at once what this one held.
const holder = "all"

func (f *Farm) buildDirectory(clients, obs.Tracer, *bounce.Writer) error {
	s, err := directory.New(f.cfg.Directory, directory.Deps{
		Store: f.infra.Accounts, Log: f.role("directory"), Metrics: f.infra.Metrics, Now: time.Now,
	})
	if err != nil {
		return err
	}
	s.Register(f.internal)
	f.operators = append(f.operators, func(r *grpc.Server) { s.Register(r) })
	f.parts.base = append(f.parts.base, run.Part{Name: "directory", Run: s.Run})
	return nil
}

func (f *Farm) buildStore(clients, obs.Tracer, *bounce.Writer) error {
	s, err := store.New(f.cfg.Store, store.Deps{
		Mailboxes: f.infra.Index.Mailboxes(), Leases: f.infra.Index.Leases(), Blobs: f.infra.Blobs, Notify: f.infra.Bus,
		Log: f.role("store"), Metrics: f.infra.Metrics, Now: time.Now,
	})
	if err != nil {
		return err
	}
	err = s.AddLedger(f.cfg.Ledger, store.LedgerDeps{
		Ledger: f.infra.Index.Ledger(), Leases: f.infra.Index.Leases(), Blobs: f.infra.Blobs, Bus: f.infra.Bus,
		Log: f.role("store"), Metrics: f.infra.Metrics, Now: time.Now, Holder: holder,
	})
	if err != nil {
		return err
	}
	s.Register(f.internal)
	f.operators = append(f.operators, func(r *grpc.Server) { s.Register(r) })
	f.parts.base = append(f.parts.base, run.Part{Name: "store", Run: s.Run})
	return nil
}

func (f *Farm) buildFilter(_ clients, tracer obs.Tracer, _ *bounce.Writer) error {
	s, err := filter.New(f.cfg.Filter, filter.Deps{
		Bus: f.infra.Bus, Bodies: f.infra.Blobs, Resolve: f.infra.Resolver, Trace: tracer,
		Log: f.role("filter"), Metrics: f.infra.Metrics, Now: time.Now,
	})
	if err != nil {
		return err
	}
	s.Register(f.internal)
	f.parts.work = append(f.parts.work, run.Part{Name: "filter", Run: s.Run})
	return nil
}

func (f *Farm) buildRouter(c clients, tracer obs.Tracer, dsn *bounce.Writer) error {
	s, err := router.New(f.cfg.Router, router.Deps{
		Bus: f.infra.Bus, Frames: f.infra.Blobs, Directory: c.directory, Ledger: c.ledger, Bounces: dsn, Delivered: deliveredTo,
		Trace: tracer, Log: f.role("router"), Metrics: f.infra.Metrics, Now: time.Now,
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

func (f *Farm) buildLocal(c clients, tracer obs.Tracer, dsn *bounce.Writer) error {
	s, err := local.New(f.cfg.Local, local.Deps{
		Bus: f.infra.Bus, Mailboxes: c.mailboxes, Ledger: c.ledger, DSN: dsn, Trace: tracer,
		Log: f.role("delivery-local"), Metrics: f.infra.Metrics, Now: time.Now,
	})
	if err != nil {
		return err
	}
	f.parts.work = append(f.parts.work, run.Part{Name: "delivery-local", Run: s.Run})
	return nil
}

func (f *Farm) buildRemote(c clients, tracer obs.Tracer, dsn *bounce.Writer) error {
	s, err := remote.New(f.cfg.Remote, remote.Deps{
		Bus: f.infra.Bus, Ledger: c.ledger, Frames: f.infra.Blobs, DSN: dsn, Resolve: f.infra.Resolver, Dial: &net.Dialer{},
		Trace: tracer, Log: f.role("delivery-remote"), Metrics: f.infra.Metrics, Now: time.Now,
		// Unlike leases, claims of an earlier start may still be on their way to a peer's reply: each start is another owner.
		Owner: holder + "-" + f.started.UTC().Format("20060102T150405.000000000"),
	})
	if err != nil {
		return err
	}
	f.parts.work = append(f.parts.work, run.Part{Name: "delivery-remote", Run: s.Run})
	return nil
}

// acceptance is what ingress and submission pass messages on to.
func (f *Farm) acceptance(role string, c clients, tracer obs.Tracer) acceptance.Deps {
	return acceptance.Deps{
		Blobs: f.infra.Blobs, Filter: c.filter, Bus: f.infra.Bus, Trace: tracer,
		Log: f.role(role), Metrics: f.infra.Metrics, Now: time.Now,
	}
}

func (f *Farm) buildIngress(c clients, tracer obs.Tracer, _ *bounce.Writer) error {
	s, err := ingress.New(f.cfg.Ingress, ingress.Deps{
		Deps: f.acceptance("ingress", c, tracer), Directory: c.directory, TLS: f.infra.TLS, Listen: f.listen,
	})
	if err != nil {
		return err
	}
	f.parts.front = append(f.parts.front, run.Part{Name: "ingress", Run: s.Run})
	return nil
}

func (f *Farm) buildSubmission(c clients, tracer obs.Tracer, _ *bounce.Writer) error {
	s, err := submission.New(f.cfg.Submission, submission.Deps{
		Deps: f.acceptance("submission", c, tracer), Directory: c.directory, TLS: f.infra.TLS, Listen: f.listen,
	})
	if err != nil {
		return err
	}
	f.parts.front = append(f.parts.front, run.Part{Name: "submission", Run: s.Run})
	return nil
}

func (f *Farm) buildIMAP(c clients, _ obs.Tracer, _ *bounce.Writer) error {
	s, err := imapsvc.New(f.cfg.IMAP, imapsvc.Deps{
		Mailboxes: c.mailboxes, Bodies: c.bodies, Directory: c.directory, Notices: notices{f.infra.Bus}, TLS: f.infra.TLS,
		Log: f.log, Metrics: f.infra.Metrics, Listen: f.listen,
	})
	if err != nil {
		return err
	}
	f.parts.front = append(f.parts.front, run.Part{Name: "imap", Run: draining(s)})
	return nil
}

func (f *Farm) buildPOP3(c clients, _ obs.Tracer, _ *bounce.Writer) error {
	s, err := pop3svc.New(f.cfg.POP3, pop3svc.Deps{
		Mailboxes: c.mailboxes, Bodies: c.bodies, Leases: c.leases, Directory: c.directory, TLS: f.infra.TLS,
		Log: f.log, Metrics: f.infra.Metrics, Listen: f.listen,
	})
	if err != nil {
		return err
	}
	f.parts.front = append(f.parts.front, run.Part{Name: "pop3", Run: draining(s)})
	return nil
}

// notices are the change notices of the bus as the imap role takes them.
type notices struct{ bus *bus.Conn }

func (n notices) Subscribe(account uint64, changed func(*mailv1.MailboxChanged)) (cancel func()) {
	stop, err := n.bus.Listen(bus.Changed(account), func(_ string, payload []byte) {
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
