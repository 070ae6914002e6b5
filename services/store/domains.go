package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// limitedFor is for how long it is remembered whether any domain has limits.
	limitedFor = 5 * time.Second
	// maxPlaced bounds the accounts whose domain is known to stand in their rows.
	maxPlaced = 1 << 17
)

// domains knows which accounts' rows tell the domain that the directory knows them in. An address belongs to its account for
// good, so that this is asked once.
type domains struct {
	service *Service
	mu      sync.Mutex
	// Guarded by mu.
	placed  map[mailbox.AccountID]bool
	limited bool
	until   time.Time // limited is asked again then
}

// unplaced are those of accounts whose domain is to be asked for: none while no domain has limits.
func (d *domains) unplaced(ctx context.Context, ids []mailbox.AccountID) (list []mailbox.AccountID, err error) {
	now := d.service.deps.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !now.Before(d.until) {
		if d.limited, err = d.service.deps.Domains.Limited(ctx); err != nil {
			return nil, err
		}
		d.until = now.Add(limitedFor)
	}
	if !d.limited {
		return nil, nil
	}
	for _, id := range ids {
		if !d.placed[id] {
			list = append(list, id)
		}
	}
	return list, nil
}

// changed tells that limits were set.
func (d *domains) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Time{}
}

// place sees to it that the rows of accounts that are about to be written to tell their domains. Mail does not wait for it:
// where the directory cannot be asked, the limits of a domain do not hold for accounts that are new.
func (d *domains) place(ctx context.Context, ids ...mailbox.AccountID) {
	s := d.service
	if s.deps.Domains == nil || s.deps.Directory == nil {
		return
	}
	list, err := d.unplaced(ctx, ids)
	if err == nil && len(list) > 0 {
		err = d.ask(ctx, list)
	}
	if err != nil {
		s.deps.Log.WarnContext(ctx, "domains of accounts not found out: limits of domains do not count them yet", obs.Error(err))
	}
}

func (d *domains) ask(ctx context.Context, list []mailbox.AccountID) error {
	found, err := d.service.people.find(ctx, list...)
	if err != nil {
		return err
	}
	accounts := map[mailbox.AccountID]string{}
	for id, who := range found {
		if who.address != "" {
			accounts[id] = domainOf(who.address)
		}
	}
	if _, err := d.service.deps.Domains.Place(ctx, accounts); err != nil {
		return err
	}
	d.know(accounts)
	return nil
}

func (d *domains) know(accounts map[mailbox.AccountID]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.placed == nil || len(d.placed)+len(accounts) > maxPlaced {
		d.placed = map[mailbox.AccountID]bool{}
	}
	for id, domain := range accounts {
		if domain != "" {
			d.placed[id] = true
		}
	}
}

// placeAll asks for the domains of all accounts: one that was removed counts for none any more, one that came back does.
func (d *domains) placeAll(ctx context.Context) (accounts, changed int, err error) {
	s := d.service
	if s.deps.Directory == nil {
		return 0, 0, status.Error(codes.FailedPrecondition, errNoDirectory.Error())
	}
	for after := mailbox.AccountID(0); ; {
		list, err := s.deps.Quotas.AccountQuotas(ctx, after, peopleAsked)
		if err != nil || len(list) == 0 {
			return accounts, changed, err
		}
		ids := make([]uint64, len(list))
		for i := range list {
			ids[i] = uint64(list[i].Account)
		}
		resp, err := s.deps.Directory.Identify(ctx, &directoryv1.IdentifyRequest{Accounts: ids})
		if err != nil {
			return accounts, changed, fmt.Errorf("ask who %d accounts are: %w", len(ids), err)
		}
		if len(resp.GetByAccount()) != len(ids) {
			return accounts, changed, fmt.Errorf("the directory tells of %d accounts, not of %d", len(resp.GetByAccount()), len(ids))
		}
		place := map[mailbox.AccountID]string{}
		for i, who := range resp.GetByAccount() {
			if domain := domainOf(who.GetAddress()); domain != list[i].Domain {
				place[list[i].Account] = domain
			}
		}
		n, err := s.deps.Domains.Place(ctx, place)
		if changed += n; err != nil {
			return accounts, changed, err
		}
		d.know(place)
		accounts += len(list)
		after = list[len(list)-1].Account
	}
}

// full tells which domains of some accounts have no room.
func (d *domains) full(ctx context.Context, list []index.AccountQuota) (map[string]bool, error) {
	if d.service.deps.Domains == nil {
		return nil, nil
	}
	var names []string
	for i := range list {
		if list[i].Domain != "" {
			names = append(names, list[i].Domain)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	sums, err := d.service.deps.Domains.DomainSums(ctx, names)
	if err != nil {
		return nil, err
	}
	full := map[string]bool{}
	for i := range sums {
		q := &sums[i]
		full[q.Domain] = q.Limits.Full(index.Limits{Size: q.Size, Messages: q.Messages})
	}
	return full, nil
}

// SetDomainQuota sets the limits of a domain. They hold once it returns for all accounts that the directory knows.
func (s *quotas) SetDomainQuota(ctx context.Context, req *storev1.SetDomainQuotaRequest) (*storev1.SetDomainQuotaResponse, error) {
	domain := strings.ToLower(req.GetDomain())
	if domain == "" || len(domain) > 255 || strings.ContainsAny(domain, "@ ") {
		return nil, invalid("%q is no domain", req.GetDomain())
	}
	if s.deps.Domains == nil || s.deps.Directory == nil {
		return nil, status.Error(codes.FailedPrecondition, errNoDirectory.Error())
	}
	limits := index.Limits{Size: req.GetLimits().GetSize(), Messages: req.GetLimits().GetMessages()}
	each := index.Limits{Size: req.GetEach().GetSize(), Messages: req.GetEach().GetMessages()}
	if min(limits.Size, limits.Messages, each.Size, each.Messages) < -1 {
		return nil, invalid("a limit is a number, 0 for the default, or -1 for none")
	}
	limits = index.Limits{Size: max(0, limits.Size), Messages: max(0, limits.Messages)}
	if err := s.deps.Domains.SetDomainQuota(ctx, domain, limits, each); err != nil {
		return nil, toStatus(err)
	}
	s.domains.changed()
	_, placed, err := s.domains.placeAll(ctx)
	if err != nil {
		return nil, toStatus(fmt.Errorf("the limits are set, and not all accounts counted for the domain yet: %w", err))
	}
	return &storev1.SetDomainQuotaResponse{Placed: uint32(placed)}, nil
}

// ListDomainQuotas tells the domains that have limits.
func (s *quotas) ListDomainQuotas(ctx context.Context, _ *storev1.ListDomainQuotasRequest) (*storev1.ListDomainQuotasResponse, error) {
	resp := &storev1.ListDomainQuotasResponse{}
	if s.deps.Domains == nil {
		return resp, nil
	}
	list, err := s.deps.Domains.DomainQuotas(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	for i := range list {
		q := &list[i]
		resp.Domains = append(resp.Domains, &storev1.DomainQuota{
			Domain: q.Domain, Accounts: uint64(q.Accounts), Size: q.Size, Messages: q.Messages, Level: uint32(q.Level),
			Limits: &storev1.QuotaLimits{Size: q.Limits.Size, Messages: q.Limits.Messages},
			Each:   &storev1.QuotaLimits{Size: q.Each.Size, Messages: q.Each.Messages},
		})
	}
	return resp, nil
}

// PlaceAccounts asks the directory for the domains of all accounts.
func (s *quotas) PlaceAccounts(ctx context.Context, _ *storev1.PlaceAccountsRequest) (*storev1.PlaceAccountsResponse, error) {
	if s.deps.Domains == nil {
		return nil, status.Error(codes.FailedPrecondition, errNoDirectory.Error())
	}
	accounts, placed, err := s.domains.placeAll(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.PlaceAccountsResponse{Accounts: uint32(accounts), Placed: uint32(placed)}, nil
}

const (
	// domainsEvery is how often the use of domains is compared with the levels that are told, and placeEvery how often all
	// accounts are placed.
	domainsEvery = 15 * time.Second
	placeEvery   = 5 * time.Minute
	// maxAliases is how many aliases are followed to a postmaster's account.
	maxAliases = 10
)

// placeWork places all accounts while any domain has limits.
func (n *notifier) placeWork(ctx context.Context) (more bool, err error) {
	if limited, err := n.deps.Domains.Limited(ctx); err != nil || !limited {
		return false, err
	}
	_, placed, err := n.domains.placeAll(ctx)
	if placed > 0 {
		n.deps.Log.InfoContext(ctx, "accounts placed in their domains", slog.Int("accounts", placed))
	}
	return false, err
}

// tellDomains tells the postmasters of domains that have passed a level.
func (n *notifier) tellDomains(ctx context.Context) (more bool, err error) {
	list, err := n.deps.Domains.DomainQuotas(ctx)
	if err != nil {
		return false, err
	}
	var errs []error
	for i := range list {
		q := &list[i]
		level := q.Limits.Level(n.cfg.Quota.Levels(), q.Level, index.Limits{Size: q.Size, Messages: q.Messages})
		if level == q.Level {
			continue
		}
		if err := n.tellDomain(ctx, q, level); err != nil {
			errs = append(errs, err)
		}
	}
	return false, errors.Join(errs...)
}

func (n *notifier) tellDomain(ctx context.Context, q *index.DomainQuota, level int) error {
	account, err := n.postmaster(ctx, q.Domain)
	if err != nil {
		return fmt.Errorf("find the postmaster of %s: %w", q.Domain, err)
	}
	var m index.Message
	if account != 0 {
		if m, err = n.storeBody(ctx, n.domainLetter(q, level)); err != nil {
			return fmt.Errorf("quota of domain %s: %w", q.Domain, err)
		}
	}
	r, told, err := n.deps.Domains.TellDomain(ctx, *q, level, account, m)
	if err != nil || !told {
		return err
	}
	attrs := []any{slog.String("domain", q.Domain), slog.Int("level", level), slog.Int("previous", q.Level)}
	if account == 0 {
		n.deps.Log.WarnContext(ctx, "domain passed a level of its quota, and has no postmaster with a mailbox here", attrs...)
		return nil
	}
	n.changed(account, r.ModSeq, r.Mailbox)
	n.deps.Log.InfoContext(ctx, "told of a domain's quota", append(attrs, obs.Account(account))...)
	return nil
}

// postmaster is the first account here that postmaster of a domain leads to (RFC 5321 §4.5.1); 0 where there is none.
func (n *notifier) postmaster(ctx context.Context, domain string) (mailbox.AccountID, error) {
	if n.resolve == nil {
		return 0, nil
	}
	next := []string{"postmaster@" + domain}
	for range maxAliases {
		resp, err := n.resolve.Resolve(ctx, &directoryv1.ResolveRequest{Addresses: next})
		if err != nil {
			return 0, err
		}
		next = nil
		for _, r := range resp.GetResolutions() {
			if r.GetKind() == directoryv1.Kind_KIND_ACCOUNT {
				return mailbox.AccountID(r.GetAccount()), nil
			}
			next = append(next, r.GetTargets()...)
		}
		if len(next) == 0 || len(next) > peopleAsked {
			break
		}
	}
	return 0, nil
}

func (n *notifier) domainLetter(q *index.DomainQuota, level int) []byte {
	subject := fmt.Sprintf("The accounts of %s use %d %% of their room", q.Domain, level)
	text := fmt.Sprintf("The accounts of %s use more than %d %% of the room that they have in all.\r\n"+
		"When it is full, new mail for any of them is refused.\r\n", q.Domain, level)
	if level < q.Level {
		subject = fmt.Sprintf("The accounts of %s are below %d %% of their room again", q.Domain, q.Level)
		text = fmt.Sprintf("The accounts of %s are below %d %% of the room that they have in all again.\r\n", q.Domain, q.Level)
	}
	used := index.QuotaRoot{Limits: q.Limits, Size: q.Size, Messages: q.Messages}
	return n.notice(subject, text, fmt.Sprintf("%x.%d.%d", q.Domain, level, n.deps.Now().UnixNano()), &used)
}
