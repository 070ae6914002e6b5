package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// RetentionDeps is what keeping, bringing back and expiring needs.
type RetentionDeps struct {
	Retention index.Retention
	Check     index.Check
	// Removed is the directory; nil where it cannot be asked: accounts that were removed keep their mail then, and rules of
	// domains keep all.
	Removed directoryv1.RemovedAccountsClient
	Leases  index.Leases
	Log     *slog.Logger
	Now     func() time.Time
	// Holder names this process in leases, unlike any other, and Lease is how long a process that died keeps the others from
	// the work. Default 15s.
	Holder string
	Lease  time.Duration
}

const (
	// retentionEvery is how often it is looked for what is due, and retentionAccounts for how many accounts at once. An
	// account is looked at once a day.
	retentionEvery    = 10 * time.Minute
	retentionAccounts = 32
	retentionLook     = 24 * time.Hour
	// maxReason is the longest reason of a legal hold, octets.
	maxReason = 1024
)

// retention serves storev1.Retention.
type retention struct {
	storev1.UnimplementedRetentionServer
	*Service
	index.Retention
	deps    RetentionDeps
	metrics *retentionMetrics
}

// AddRetention adds the service that brings back what was removed, and the workers that end its time and expire folders. It is
// called before Register and Run.
func (s *Service) AddRetention(deps RetentionDeps) error {
	if deps.Holder == "" {
		return errors.New("configure store: no name for leases")
	}
	if deps.Lease == 0 {
		deps.Lease = 15 * time.Second
	}
	metrics, err := newRetentionMetrics(s.deps.Metrics)
	if err != nil {
		return err
	}
	r := &retention{Service: s, Retention: deps.Retention, deps: deps, metrics: metrics}
	part := &ledgerPart{cfg: LedgerConfig{Lease: deps.Lease}, deps: LedgerDeps{Leases: deps.Leases, Holder: deps.Holder, Log: deps.Log}}
	kept := r.watch("purge", part.task("retention", retentionEvery, r.purge))
	s.wakeRetention = kept.wakeUp
	tasks := []*task{kept}
	if deps.Removed != nil {
		tasks = append(tasks, r.watch("accounts", part.task("removed-accounts", retentionEvery, r.dropAccounts)))
	}
	tasks = append(tasks, r.watch("expire", part.task("expire", s.cfg.ExpireEvery, r.expireAll)))
	s.servers = append(s.servers, func(g grpc.ServiceRegistrar) {
		storev1.RegisterRetentionServer(g, r)
		storev1.RegisterChecksServer(g, &checks{mailboxes: &mailboxes{Service: s}, check: deps.Check, retention: r})
	})
	s.workers = append(s.workers, func(ctx context.Context) error {
		var wg sync.WaitGroup
		for _, t := range tasks {
			wg.Go(func() { t.run(ctx) })
		}
		wg.Wait()
		return nil
	})
	return nil
}

// rules are those of the configuration.
func (r *retention) rules() index.Rules {
	return index.Rules{
		Now: r.deps.Now(), Keep: r.cfg.ExpungedRetention, Folders: r.cfg.Retention.Folders, MaxOctets: r.cfg.Retention.MaxBytes,
		Every: min(retentionLook, max(r.cfg.ExpungedRetention/14, time.Second)), Domain: r.domain,
	}
}

// errNoDirectory keeps all of an account whose domain a rule may name.
var errNoDirectory = errors.New("there are rules of domains, and the directory cannot be asked: set rpc.targets.directory for the store")

// domain asks the directory; index.ErrNobody where it knows no such account.
func (r *retention) domain(ctx context.Context, id mailbox.AccountID) (string, error) {
	if r.deps.Removed == nil {
		return "", errNoDirectory
	}
	address, _, err := r.who(ctx, id)
	if err == nil && address == "" {
		err = index.ErrNobody
	}
	return domainOf(address), err
}

// who is an account's address; one that was removed is known too, with the time of it.
func (r *retention) who(ctx context.Context, id mailbox.AccountID) (address string, removed time.Time, err error) {
	if address, err = r.addressOf(ctx, id); err != nil || address != "" {
		return address, time.Time{}, err
	}
	list, err := r.deps.Removed.ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
	if err != nil {
		return "", time.Time{}, err
	}
	for _, a := range list.GetAccounts() {
		if a.GetId() == uint64(id) {
			return a.GetAddress(), time.Unix(0, a.GetRemovedNs()), nil
		}
	}
	// In neither: it may have been brought back between the two.
	address, err = r.addressOf(ctx, id)
	return address, time.Time{}, err
}

// addressOf is the address of an account that is there, or empty.
func (r *retention) addressOf(ctx context.Context, id mailbox.AccountID) (string, error) {
	resp, err := r.deps.Removed.Who(ctx, &directoryv1.WhoRequest{Ids: []uint64{uint64(id)}})
	if err != nil || len(resp.GetAddresses()) != 1 {
		return "", errors.Join(err, errIf(err == nil, "the directory tells of another number of accounts"))
	}
	return resp.GetAddresses()[0], nil
}

func errIf(is bool, text string) error {
	if is {
		return errors.New(text)
	}
	return nil
}

// domainOf is what follows the last @.
func domainOf(address string) string {
	for i := len(address) - 1; i >= 0; i-- {
		if address[i] == '@' {
			return address[i+1:]
		}
	}
	return ""
}

// purge ends the time of what was removed long ago, of some accounts.
func (r *retention) purge(ctx context.Context) (more bool, err error) {
	p, more, err := r.Purge(ctx, r.rules(), retentionAccounts)
	if p.Entries > 0 {
		r.deps.Log.DebugContext(ctx, "removed messages purged", slog.Int("accounts", p.Accounts), slog.Int("entries", p.Entries), slog.Int("emails", p.Emails))
	}
	if more && p.Accounts > 0 && err != nil {
		r.deps.Log.ErrorContext(ctx, "accounts put off: what was removed of them stays", obs.Error(err))
		return true, nil
	}
	return more, err
}

// Hold puts an account under legal hold, or lets go of it.
func (r *retention) Hold(ctx context.Context, req *storev1.HoldRequest) (*storev1.HoldResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if len(req.GetReason()) > maxReason {
		return nil, invalid("reason of %d octets, more than %d", len(req.GetReason()), maxReason)
	}
	if err := r.Retention.Hold(ctx, a, req.GetReason(), !req.GetClear()); err != nil {
		return nil, toStatus(err)
	}
	r.deps.Log.InfoContext(ctx, "legal hold changed", slog.Uint64("account", uint64(a)), slog.Bool("held", !req.GetClear()))
	return &storev1.HoldResponse{}, nil
}

// ListHolds lists the accounts under legal hold.
func (r *retention) ListHolds(ctx context.Context, req *storev1.ListHoldsRequest) (*storev1.ListHoldsResponse, error) {
	list, err := r.Holds(ctx, mailbox.AccountID(req.GetAccount()&(1<<63-1)))
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListHoldsResponse{}
	for _, h := range list {
		resp.Holds = append(resp.Holds, &storev1.LegalHold{Account: uint64(h.Account), SetNs: h.Set.UnixNano(), Reason: h.Reason})
	}
	return resp, nil
}

// SetRetention says for how long something is kept.
func (r *retention) SetRetention(ctx context.Context, req *storev1.SetRetentionRequest) (*storev1.SetRetentionResponse, error) {
	rule := index.RetentionRule{Account: mailbox.AccountID(req.GetRule().GetAccount()), Domain: req.GetRule().GetDomain(), Keep: time.Duration(req.GetRule().GetKeepNs())}
	var err error
	switch {
	case rule.Account >= 1<<63 || (rule.Account == 0) == (rule.Domain == ""):
		return nil, invalid("a rule is for an account or a domain")
	case len(rule.Domain) > 255:
		return nil, invalid("domain of %d octets", len(rule.Domain))
	}
	if rule.Folder, err = ruleFolder(req.GetRule().GetFolder()); err != nil {
		return nil, err
	}
	if rule.Domain != "" && r.deps.Removed == nil && rule.Keep >= 0 {
		return nil, status.Error(codes.FailedPrecondition, errNoDirectory.Error())
	}
	if err := r.SetRule(ctx, rule); err != nil {
		return nil, toStatus(err)
	}
	return &storev1.SetRetentionResponse{}, nil
}

// ruleFolder checks a folder as rules name it: empty, a special use, or a name.
func ruleFolder(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	if folder[0] == '\\' {
		return specialUse(folder)
	}
	return boxName(folder)
}

// ListRetention lists all rules.
func (r *retention) ListRetention(ctx context.Context, _ *storev1.ListRetentionRequest) (*storev1.ListRetentionResponse, error) {
	list, err := r.Rules(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListRetentionResponse{DefaultKeepNs: int64(r.cfg.ExpungedRetention)}
	for _, o := range list {
		resp.Rules = append(resp.Rules, &storev1.RetentionRule{Account: uint64(o.Account), Domain: o.Domain, Folder: o.Folder, KeepNs: int64(o.Keep)})
	}
	for _, name := range sortedKeys(r.cfg.Retention.Folders) {
		resp.Folders = append(resp.Folders, &storev1.RetentionRule{Folder: name, KeepNs: int64(r.cfg.Retention.Folders[name])})
	}
	return resp, nil
}
