package farm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	accountsqlite "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Infra is what the roles stand on. In one process all of it is here; in a farm it is servers elsewhere.
type Infra struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Bus     *bus.Conn
	// EmbeddedBus is nil where the bus is elsewhere.
	EmbeddedBus *embedded.Server
	Blobs       *dir.Store
	Index       *sqlite.DB
	Accounts    *accountsqlite.Store
	Resolver    *resolve.Resolver
	CA          *pki.Authority
	TLS         *tls.Config

	closers []func() error
}

// busCloseTime is how long the bus may take at the end to acknowledge what was published.
const busCloseTime = 2 * time.Second

// Open opens the infrastructure of one machine. Another process on the same data folder is refused.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (_ *Infra, err error) {
	in := &Infra{Log: log, Metrics: prometheus.NewRegistry()}
	in.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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

	for _, open := range []func(context.Context, Config) error{in.openTLS, in.openBlobs, in.openDatabases, in.openBus, in.openResolver} {
		if err := open(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return in, nil
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

func (in *Infra) openTLS(_ context.Context, cfg Config) (err error) {
	if in.CA, err = pki.Open(filepath.Join(cfg.Data, "tls")); err != nil {
		return err
	}
	var cert tls.Certificate
	if cfg.TLS.CertificateFile != "" {
		cert, err = tls.LoadX509KeyPair(cfg.TLS.CertificateFile, cfg.TLS.KeyFile)
	} else {
		cert, err = in.CA.Issue("server", pki.Server, cfg.Hostname, "localhost", "127.0.0.1", "::1")
	}
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	in.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return nil
}

func (in *Infra) openBlobs(ctx context.Context, cfg Config) (err error) {
	in.Blobs, err = dir.Open(ctx, filepath.Join(cfg.Data, "blob"), dir.Options{
		SegmentBytes: cfg.Blob.SegmentBytes, Log: in.Log, Registerer: in.Metrics,
	})
	if err != nil {
		return err
	}
	in.closers = append(in.closers, in.Blobs.Close)
	return nil
}

func (in *Infra) openDatabases(ctx context.Context, cfg Config) (err error) {
	if in.Index, err = sqlite.Open(ctx, filepath.Join(cfg.Data, "index.db"), sqlite.Options{}); err != nil {
		return err
	}
	in.closers = append(in.closers, in.Index.Close)
	if in.Accounts, err = accountsqlite.Open(ctx, filepath.Join(cfg.Data, "directory.db")); err != nil {
		return err
	}
	in.closers = append(in.closers, in.Accounts.Close)
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
