package farm

import (
	"fmt"
	"strings"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/internal/run"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// peers are the ways to the roles that others call: within the process where it runs them, and else to its targets.
type peers struct {
	conns map[string]grpc.ClientConnInterface // by role; none where the configuration does not say where it is
	away  map[string]*grpc.ClientConn         // those to other processes, by role
	certs *certs.Reloader                     // nil where this process calls and serves no other
}

// callable are the roles that others call, with their services.
var callable = map[string]string{"directory": "/mailfarm.directory.v1.", "store": "/mailfarm.store.v1.", "filter": "/mailfarm.filter.v1."}

func (f *Farm) connect() (err error) {
	f.peers.conns, f.peers.away = map[string]grpc.ClientConnInterface{}, map[string]*grpc.ClientConn{}
	if f.cfg.RPC.CertificateFile != "" {
		if f.peers.certs, err = f.cfg.RPC.Certificates(f.log, f.infra.Metrics); err != nil {
			return err
		}
		f.parts.base = append(f.parts.base, run.Part{Name: "rpc certificates", Run: f.peers.certs.Run})
	}
	for name := range callable {
		target := f.cfg.RPC.Targets.Of(name)
		switch {
		case f.shape.has(name):
			f.peers.conns[name] = f.internal
		case target != "":
			conn, err := rpc.Connect(target, f.peers.certs.Credentials(), f.calls.DialOptions()...)
			if err != nil {
				return fmt.Errorf("rpc.targets.%s: %w", name, err)
			}
			f.peers.conns[name] = conn
			f.peers.away[name] = conn
		}
	}
	return nil
}

// elsewhere is the way to a method that this process does not serve.
func (p *peers) elsewhere(method string) *grpc.ClientConn {
	for name, prefix := range callable {
		if conn := p.away[name]; conn != nil && strings.HasPrefix(method, prefix) {
			return conn
		}
	}
	return nil
}

func (p *peers) close() {
	for _, c := range p.away {
		c.Close()
	}
}

// clients are the connections that roles speak to each other by.
type clients struct {
	directory   directoryv1.DirectoryClient
	identities  directoryv1.IdentitiesClient
	filter      filterv1.FilterClient
	ledger      storev1.LedgerClient
	mailboxes   storev1.MailboxesClient
	bodies      storev1.BodiesClient
	leases      storev1.LeasesClient
	guarded     storev1.MailboxesClient
	sharing     storev1.SharingClient
	quotas      storev1.QuotasClient
	annotations storev1.AnnotationsClient
	keys        storev1.MailboxKeysClient
	imports     storev1.ImportsClient
	fullText    storev1.FullTextClient
	removed     directoryv1.RemovedAccountsClient
}

func (p *peers) clients() clients {
	var c clients
	if conn := p.conns["directory"]; conn != nil {
		c.directory, c.removed = directoryv1.NewDirectoryClient(conn), directoryv1.NewRemovedAccountsClient(conn)
		c.identities = directoryv1.NewIdentitiesClient(conn)
	}
	if conn := p.conns["filter"]; conn != nil {
		c.filter = filterv1.NewFilterClient(conn)
	}
	if conn := p.conns["store"]; conn != nil {
		c.sharing, c.fullText = storev1.NewSharingClient(conn), storev1.NewFullTextClient(conn)
		c.guarded = storev1.NewMailboxesClient(rpc.RenamedConn{ClientConnInterface: conn, Name: rpc.GuardedMailboxes})
		c.ledger, c.mailboxes, c.bodies, c.leases =
			storev1.NewLedgerClient(conn), storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn), storev1.NewLeasesClient(conn)
		c.imports = storev1.NewImportsClient(conn)
		c.quotas, c.annotations = storev1.NewQuotasClient(conn), storev1.NewAnnotationsClient(conn)
		c.keys = storev1.NewMailboxKeysClient(conn)
	}
	return c
}

// rooms is what tells fronts of full mailboxes: nothing where they were not told where the store is.
func (c clients) rooms() acceptance.Quotas {
	if c.quotas == nil {
		return nil
	}
	return c.quotas
}
