package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// tidyEvery is how often counts of failed logins that no longer matter are dropped.
const tidyEvery = time.Minute

// Service is the directory role.
type Service struct {
	directoryv1.UnimplementedDirectoryServer
	directoryv1.UnimplementedAccountsServer
	directoryv1.UnimplementedRemovedAccountsServer
	directoryv1.UnimplementedIdentitiesServer
	directoryv1.UnimplementedGroupsServer

	cfg      Config
	store    account.Store
	log      *slog.Logger
	now      func() time.Time
	ids      mailbox.IDs
	metrics  *metrics
	roles    map[string]bool // canonical local-parts that no account may have
	cache    *cache
	logins   *loginCache
	throttle *throttle
	failures Failures // may be nil
	sessions Sessions // may be nil
}

// New checks cfg. It does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if deps.Store == nil || deps.Log == nil {
		return nil, errors.New("directory: deps lack a store or a log")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &Service{cfg: cfg, store: deps.Store, log: deps.Log, now: deps.Now, roles: map[string]bool{}, failures: deps.Failures, sessions: deps.Sessions}
	for _, role := range cfg.RoleAddresses {
		local, err := account.ParseLocal(role)
		if err != nil {
			return nil, fmt.Errorf("directory: %w", err) // Validate looked already
		}
		s.roles[local] = true
	}
	s.cache = newCache(deps.Store, cfg.CacheEntries, cfg.CacheCheck, deps.Now)
	s.logins = newLoginCache(cfg.LoginCacheEntries, cfg.LoginCache)
	s.throttle = newThrottle(cfg.Slow, deps.Now)
	s.metrics = newMetrics(deps.Metrics, s)
	s.cache.missed = s.metrics.lookups.Inc
	return s, nil
}

// Register offers the services on r: Directory for the roles, the others for the operator and the store.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	directoryv1.RegisterDirectoryServer(r, s)
	directoryv1.RegisterAccountsServer(r, s)
	directoryv1.RegisterRemovedAccountsServer(r, s)
	directoryv1.RegisterIdentitiesServer(r, s)
	directoryv1.RegisterGroupsServer(r, s)
	directoryv1.RegisterBackupsServer(r, &backups{s: s})
}

// Run keeps the caches tidy until ctx ends. The services answer with or without it.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.throttle.tidy()
		}
	}
}
