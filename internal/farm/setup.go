package farm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountpostgres "github.com/mailfarm/mailfarm/internal/account/postgres"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/directory"
)

// First is what a new farm begins with. What is there already stays as it is.
type First struct {
	Domains []string
	// Accounts are addresses, all with Password.
	Accounts []string
	Password string
	// Aliases are addresses with their targets.
	Aliases map[string][]string
	// Restored says that the database was restored, and from what: numbers that clients have seen are not given again.
	Restored string
}

// SetUp prepares what the processes of a farm share: schemas, bucket, streams, and the first domains and accounts. Doing it
// again changes nothing but what a newer version needs. say is told of each step that is done.
func SetUp(ctx context.Context, cfg Config, first First, log *slog.Logger, say func(format string, args ...any)) (err error) {
	if cfg.Database.URL == "" || len(cfg.Bus.Servers) == 0 || cfg.Blob.S3.Endpoint == "" {
		return errors.New("set up a farm: database.url, bus.servers and blob.s3.endpoint say where its servers are; `mailfarm run all` without them needs no set-up")
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	in := &Infra{Log: log, Metrics: prometheus.NewRegistry()}
	defer func() { err = errors.Join(err, in.Close()) }()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"schema of the index", func() error { return postgres.Migrate(ctx, cfg.Database) }},
		{"schema of the directory", func() error { return accountpostgres.Migrate(ctx, cfg.Database) }},
		{"schema of the full-text index", func() error { return migrateFullText(ctx, cfg) }},
		{"timeline", func() error { return beginTimeline(ctx, cfg, first.Restored, log) }},
		{"bucket", func() error { return prepareBucket(ctx, cfg, say) }},
		{"streams", func() error {
			if in.Bus == nil {
				if err := in.openBus(ctx, cfg); err != nil {
					return err
				}
			}
			return in.Bus.Maintain(ctx)
		}},
		{"first accounts", func() error { return in.seed(ctx, cfg, first) }},
	} {
		if err := in.await(ctx, step.name, step.do); err != nil {
			return fmt.Errorf("set up the %s: %w", step.name, err)
		}
		say("%s: ready", step.name)
	}
	return nil
}

// beginTimeline makes UIDs and MODSEQs jump where the database was restored; a fail-over is noticed without that.
func beginTimeline(ctx context.Context, cfg Config, restored string, log *slog.Logger) (err error) {
	if restored == "" {
		return nil
	}
	db, err := postgres.Open(ctx, cfg.Database, postgres.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.BeginTimeline(ctx, restored)
}

// prepareBucket makes the bucket and tells what the server cannot do.
func prepareBucket(ctx context.Context, cfg Config, say func(format string, args ...any)) error {
	if err := s3.Prepare(ctx, cfg.Blob.S3); err != nil {
		return err
	}
	report, err := s3.Probe(ctx, cfg.Blob.S3)
	if err != nil {
		return err
	}
	if !report.OK() {
		return errors.New(report.String())
	}
	say("%s", report)
	return nil
}

// seed makes the first domains, accounts and aliases, through a directory of its own.
func (in *Infra) seed(ctx context.Context, cfg Config, first First) error {
	if in.Accounts == nil {
		if err := in.openAccounts(ctx, cfg); err != nil {
			return err
		}
	}
	cfg.refuseDevPassword()
	service, err := directory.New(cfg.Directory, directory.Deps{Store: in.Accounts, Log: in.Log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		return err
	}
	conn := rpc.NewInside(in.Log, nil)
	service.Register(conn)
	conn.Serve()
	defer conn.Close()
	c := directoryv1.NewAccountsClient(conn)
	for _, name := range first.Domains {
		_, err := c.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: name}})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("domain %s: %w", name, err)
		}
	}
	for _, address := range first.Accounts {
		_, err := c.AddAccount(ctx, &directoryv1.AddAccountRequest{Address: address, Password: first.Password})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("account %s: %w", address, err)
		}
	}
	for address, targets := range first.Aliases {
		if _, err := c.SetAlias(ctx, &directoryv1.SetAliasRequest{Alias: &directoryv1.Alias{Address: address, Targets: targets}}); err != nil {
			return fmt.Errorf("alias %s: %w", address, err)
		}
	}
	return nil
}
