package store

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// quotaPage is how many accounts a page of ListQuotas, and a question of Full, has at most.
const quotaPage = 1000

// quotas serves storev1.Quotas.
type quotas struct {
	storev1.UnimplementedQuotasServer
	*Service
}

// GetQuota tells an account's quota roots.
func (s *quotas) GetQuota(ctx context.Context, req *storev1.GetQuotaRequest) (*storev1.GetQuotaResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	name := ""
	if req.GetMailbox() != "" {
		if name, err = boxName(req.GetMailbox()); err != nil {
			return nil, err
		}
	}
	if err := s.mayNamed(ctx, req, name, acl.Read); err != nil {
		return nil, err
	}
	roots, err := s.deps.Quotas.Quota(ctx, a, name)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.GetQuotaResponse{}
	for i := range roots {
		resp.Roots = append(resp.Roots, fromRoot(&roots[i]))
	}
	return resp, nil
}

func fromRoot(r *index.QuotaRoot) *storev1.QuotaRoot {
	return &storev1.QuotaRoot{
		Name: r.Name, Size: r.Size, Messages: r.Messages,
		Own:    &storev1.QuotaLimits{Size: r.Own.Size, Messages: r.Own.Messages},
		Limits: &storev1.QuotaLimits{Size: r.Limits.Size, Messages: r.Limits.Messages},
	}
}

// SetQuota sets limits.
func (s *quotas) SetQuota(ctx context.Context, req *storev1.SetQuotaRequest) (*storev1.SetQuotaResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	name := ""
	if req.GetMailbox() != "" {
		if name, err = boxName(req.GetMailbox()); err != nil {
			return nil, err
		}
	}
	limits := index.Limits{Size: req.GetLimits().GetSize(), Messages: req.GetLimits().GetMessages()}
	if limits.Size < -1 || limits.Messages < -1 {
		return nil, invalid("a limit is a number, 0 for the default, or -1 for none")
	}
	err = s.deps.Quotas.SetQuota(ctx, a, name, limits)
	if errors.Is(err, index.ErrRoots) {
		return nil, status.Errorf(codes.ResourceExhausted, "account has %d folders with limits already", index.MaxRoots)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.SetQuotaResponse{}, nil
}

// ListQuotas tells accounts, a page at a time.
func (s *quotas) ListQuotas(ctx context.Context, req *storev1.ListQuotasRequest) (*storev1.ListQuotasResponse, error) {
	limit := int(req.GetLimit())
	if limit == 0 || limit > quotaPage {
		limit = quotaPage
	}
	if req.GetAfter() >= 1<<63 {
		return &storev1.ListQuotasResponse{}, nil
	}
	list, err := s.deps.Quotas.AccountQuotas(ctx, mailbox.AccountID(req.GetAfter()), limit)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListQuotasResponse{}
	for i := range list {
		q := &list[i]
		resp.Accounts = append(resp.Accounts, &storev1.AccountQuota{Account: uint64(q.Account), Root: fromRoot(&q.QuotaRoot), Level: uint32(q.Level)})
	}
	return resp, nil
}

// Recount makes an account's counters right.
func (s *quotas) Recount(ctx context.Context, req *storev1.RecountRequest) (*storev1.RecountResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Quotas.Recount(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.RecountResponse{}
	for _, d := range list {
		resp.Differences = append(resp.Differences, &storev1.QuotaDifference{Mailbox: d.Name, Counter: d.Counter, Was: d.Was, Is: d.Is})
	}
	return resp, nil
}

// Full tells which accounts have no room for a message.
func (s *quotas) Full(ctx context.Context, req *storev1.FullRequest) (*storev1.FullResponse, error) {
	if len(req.GetAccounts()) > quotaPage {
		return nil, invalid("%d accounts, more than %d", len(req.GetAccounts()), quotaPage)
	}
	var ids []mailbox.AccountID
	for _, id := range req.GetAccounts() {
		a, err := account(id)
		if err != nil {
			return nil, err
		}
		ids = append(ids, a)
	}
	resp := &storev1.FullResponse{Full: make([]bool, len(ids))}
	if len(ids) == 0 {
		return resp, nil
	}
	s.domains.place(ctx, ids...)
	list, err := s.deps.Quotas.AccountQuotasOf(ctx, ids)
	if err != nil {
		return nil, toStatus(err)
	}
	domains, err := s.domains.full(ctx, list)
	if err != nil {
		return nil, toStatus(err)
	}
	full := make(map[mailbox.AccountID]bool, len(list))
	for i := range list {
		q := &list[i]
		full[q.Account] = domains[q.Domain] || q.Limits.Full(index.Limits{Size: q.Size, Messages: q.Messages})
	}
	for i, id := range ids {
		resp.Full[i] = full[id]
	}
	return resp, nil
}
