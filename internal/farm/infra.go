package farm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/mailfarm/mailfarm/internal/account"
	accountpostgres "github.com/mailfarm/mailfarm/internal/account/postgres"
	accountsqlite "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Infra is what the roles stand on. In one process all of it is here; in a farm it is servers elsewhere.
type Infra struct {
	Log     *slog.Logger
	Metrics Metrics
	Bus     *bus.Conn
	// EmbeddedBus is nil where the bus is elsewhere.
	EmbeddedBus *embedded.Server
	// What no role of the process needs is nil.
	Blobs       blob.Store
	Mailboxes   index.Mailboxes
	Quotas      index.Quotas
	Domains     index.DomainQuotas
	Ledger      ledger.Ledger
	Leases      index.Leases
	Retention   index.Retention
	Check       index.Check
	Sharing     index.Sharing
	Annotations index.Annotations
	Imports     index.Importer
	Survey      index.Survey
	// FullText is nil where it is off.
	FullText *fulltext.Index
	Whole    *whole.Store
	// Books are nil where the database keeps none: nothing is given back then.
	Books    reclaim.Books
	Accounts account.Store
	Resolver *resolve.Resolver
	CA       *pki.Authority
	// Certs are the certificates that clients see, and TLS the server's side with them.
	Certs *certs.Reloader
	TLS   *tls.Config

	closers []func() error
}

// busCloseTime is how long the bus may take at the end to acknowledge what was published.
const busCloseTime = 2 * time.Second

// Open opens what the roles of a shape stand on. Another process on the same data folder is refused. Servers that are away
// are waited for as long as cfg.StartTimeout.
func Open(ctx context.Context, cfg Config, shape Shape, log *slog.Logger) (_ *Infra, err error) {
	in := &Infra{Metrics: newRegistry()}
	in.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in.Log = counted(log, in.Metrics)
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	// Mail and password hashes are nobody else's, whatever the folder's own mode is.
	syscall.Umask(0o077)
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := filelock.Take(filepath.Join(cfg.Data, "lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("data folder %s is in use by another mailfarm: %w: end that one first, or choose another folder with --data", cfg.Data, err)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	in.closers = append(in.closers, lock.Release)
	if !cfg.shared() && join.Begun(cfg.Data) {
		return nil, fmt.Errorf("data folder %s: its mail was moved to a farm, or is about to be, and would be sent twice: "+
			"end the move by `mailfarm join`; to go back instead, stop the farm and remove join.db there", cfg.Data)
	}

	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	for _, part := range []struct {
		name string
		need bool
		open func(context.Context, Config) error
	}{
		{"authority", true, in.openAuthority},
		{"certificates", shape.any(func(r role) bool { return r.fronts }), in.openTLS},
		{"blob store", shape.any(func(r role) bool { return r.blobs }), in.openBlobs},
		{"index", shape.has("store"), in.openIndex},
		{"full-text index", shape.has("store") && cfg.Search.on(), in.openFullText},
		{"directory", shape.has("directory"), in.openAccounts},
		{"bus", true, in.openBus},
		{"resolver", shape.any(func(r role) bool { return r.resolver }), in.openResolver},
	} {
		if !part.need {
			continue
		}
		if err := in.await(ctx, part.name, func() error { return part.open(ctx, cfg) }); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// startPause is the wait between two tries to reach a server at the start.
const startPause = 500 * time.Millisecond

// await opens a part; a server that is away is waited for, and that is said once.
func (in *Infra) await(ctx context.Context, name string, open func() error) error {
	for told := false; ; told = true {
		err := open()
		if err == nil || !isAway(err) {
			return err
		}
		if !told {
			in.Log.WarnContext(ctx, "waiting for a server", "part", name, obs.Error(err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-time.After(startPause):
		}
	}
}

// isAway tells whether an error says only that a server cannot be reached now.
func isAway(err error) bool {
	var network net.Error
	if errors.As(err, &network) {
		return true
	}
	return errors.Is(err, bus.ErrAway) || errors.Is(err, pgdb.ErrAway) || errors.Is(err, s3.ErrAway) || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout)
}

// Close closes everything, last opened first.
func (in *Infra) Close() error {
	var errs []error
	for i := len(in.closers) - 1; i >= 0; i-- {
		errs = append(errs, in.closers[i]())
	}
	in.closers = nil
	return errors.Join(errs...)
}

func (in *Infra) openAuthority(_ context.Context, cfg Config) (err error) {
	in.CA, err = pki.Open(filepath.Join(cfg.Data, "tls"))
	return err
}

// openTLS opens what clients see: only fronts need it.
func (in *Infra) openTLS(_ context.Context, cfg Config) (err error) {
	pair := certs.Pair{CertificateFile: cfg.TLS.CertificateFile, KeyFile: cfg.TLS.KeyFile}
	if pair.CertificateFile == "" {
		if _, err := in.CA.Issue("server", pki.Server, cfg.Hostname, "localhost", "127.0.0.1", "::1"); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		pair = certs.Pair{CertificateFile: in.CA.Certificate("server"), KeyFile: in.CA.Key("server")}
	}
	in.Certs, err = certs.Open(certs.Config{
		Name: "clients", Pairs: append([]certs.Pair{pair}, cfg.TLS.More...), Hangup: cfg.TLS.CertificateFile != "",
		Log: in.Log, Metrics: in.Metrics,
	})
	if err != nil {
		return err
	}
	in.TLS = in.Certs.ServerConfig()
	return nil
}

func (in *Infra) openBlobs(ctx context.Context, cfg Config) error {
	if cfg.Blob.S3.Endpoint != "" {
		store, err := s3.Open(ctx, cfg.Blob.S3, s3.Options{Now: fault.Now, Log: in.Log, Registerer: in.Metrics})
		if err != nil {
			return err
		}
		in.probeBucket(ctx, cfg)
		return in.keepBlobs(store)
	}
	store, err := dir.Open(ctx, filepath.Join(cfg.Data, "blob"), dir.Options{
		SegmentBytes: cfg.Blob.SegmentBytes, Log: in.Log, Registerer: in.Metrics,
	})
	if err != nil {
		return err
	}
	return in.keepBlobs(store)
}

// probeBucket tells in one line what the S3 server cannot do: it may have become another since it was set up.
func (in *Infra) probeBucket(ctx context.Context, cfg Config) {
	report, err := s3.Probe(ctx, cfg.Blob.S3)
	switch {
	case err != nil:
		in.Log.WarnContext(ctx, "S3 server was not probed", obs.Error(err))
	case report.OK():
		in.Log.InfoContext(ctx, report.String())
	default:
		in.Log.WarnContext(ctx, report.String())
	}
}

func (in *Infra) keepBlobs(store blob.Store) error {
	in.Blobs = store
	in.closers = append(in.closers, store.Close)
	return nil
}

func (in *Infra) openIndex(ctx context.Context, cfg Config) error {
	if cfg.Database.URL != "" {
		db, err := postgres.Open(ctx, cfg.Database, postgres.Options{
			QuotaSize: cfg.Store.Quota.Size, QuotaMessages: cfg.Store.Quota.Messages, QuotaLevels: cfg.Store.Quota.Levels(),
			Log: in.Log, Metrics: in.Metrics,
		})
		if err != nil {
			return err
		}
		in.Quotas, in.Annotations, in.Imports, in.Survey = db.Mailboxes(), db.Annotations(), db.Imports(), db.Retention()
		in.Mailboxes, in.Ledger, in.Leases, in.Books, in.Retention, in.Check, in.Sharing = db.Mailboxes(), db.Ledger(), db.Leases(), db.Books(), db.Retention(), db.Retention(), db.Sharing()
		in.Whole, in.Domains = db.Whole(), db.Domains()
		in.closers = append(in.closers, db.Close)
		return nil
	}
	db, err := sqlite.Open(ctx, filepath.Join(cfg.Data, "index.db"), sqlite.Options{
		QuotaSize: cfg.Store.Quota.Size, QuotaMessages: cfg.Store.Quota.Messages, QuotaLevels: cfg.Store.Quota.Levels(),
	})
	if err != nil {
		return err
	}
	in.Quotas, in.Annotations, in.Imports, in.Survey = db.Mailboxes(), db.Annotations(), db.Imports(), db.Retention()
	in.Mailboxes, in.Ledger, in.Leases, in.Books, in.Retention, in.Check, in.Sharing = db.Mailboxes(), db.Ledger(), db.Leases(), db.Books(), db.Retention(), db.Retention(), db.Sharing()
	in.Whole, in.Domains = db.Whole(), db.Domains()
	in.closers = append(in.closers, db.Close)
	return nil
}

func (in *Infra) openAccounts(ctx context.Context, cfg Config) error {
	if cfg.Database.URL != "" {
		store, err := accountpostgres.Open(ctx, cfg.Database, accountpostgres.Options{Log: in.Log, Metrics: in.Metrics})
		if err != nil {
			return err
		}
		in.Accounts = store
		in.closers = append(in.closers, store.Close)
		return nil
	}
	store, err := accountsqlite.Open(ctx, filepath.Join(cfg.Data, "directory.db"))
	if err != nil {
		return err
	}
	in.Accounts = store
	in.closers = append(in.closers, store.Close)
	return nil
}

func (in *Infra) openBus(ctx context.Context, cfg Config) error {
	var opts []nats.Option
	if len(cfg.Bus.Servers) == 0 {
		server, err := embedded.Start(filepath.Join(cfg.Data, "bus"), cfg.Bus.Listen)
		if err != nil {
			return err
		}
		in.closers = append(in.closers, func() error { server.Close(); return nil })
		in.EmbeddedBus = server
		opts = append(opts, server.Option())
	}
	conn, err := bus.Connect(ctx, cfg.Bus, in.Log, opts...)
	if err != nil {
		return err
	}
	in.Bus = conn
	in.closers = append(in.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), busCloseTime)
		defer cancel()
		conn.Close(ctx)
		return nil
	})
	return nil
}

func (in *Infra) openResolver(_ context.Context, cfg Config) (err error) {
	in.Resolver, err = resolve.New(cfg.DNS, resolve.Deps{Log: in.Log, Metrics: in.Metrics})
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	in.closers = append(in.closers, in.Resolver.Close)
	return nil
}
