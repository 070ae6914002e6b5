package directory

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// maxWho is how many accounts one Who may ask for.
const maxWho = 1000

// ListRemoved lists the accounts that can be brought back.
func (s *Service) ListRemoved(ctx context.Context, _ *directoryv1.ListRemovedRequest) (*directoryv1.ListRemovedResponse, error) {
	list, err := s.store.RemovedAccounts(ctx)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.ListRemovedResponse{}
	for _, r := range list {
		resp.Accounts = append(resp.Accounts, &directoryv1.RemovedAccount{
			Id: uint64(r.ID), Address: r.Address, CreatedNs: r.Created.UnixNano(), RemovedNs: r.Removed.UnixNano()})
	}
	return resp, nil
}

// RestoreAccount brings an account back.
func (s *Service) RestoreAccount(ctx context.Context, req *directoryv1.RestoreAccountRequest) (*directoryv1.RestoreAccountResponse, error) {
	id, text := mailbox.AccountID(req.Id), req.Address
	list, err := s.store.RemovedAccounts(ctx)
	if err != nil {
		return nil, err
	}
	there := false
	for _, r := range list {
		if r.ID == id {
			there = true
			if text == "" {
				text = r.Address
			}
		}
	}
	if !there {
		return nil, status.Errorf(codes.NotFound, "no removed account has the id %d: see `mailfarm undelete accounts`", req.Id)
	}
	addr, err := s.accountAddress(text)
	if err != nil {
		return nil, err
	}
	err = s.store.RestoreAccount(ctx, id, addr.String())
	s.cache.drop()
	switch {
	case errors.Is(err, account.ErrExists):
		return nil, status.Errorf(codes.AlreadyExists, "there is another account %s: bring this one back under another address by --as", addr)
	case errors.Is(err, account.ErrNotFound):
		return nil, status.Errorf(codes.NotFound, "account %s was brought back or dropped meanwhile", addr)
	case err != nil:
		for _, known := range []error{account.ErrNoDomain, account.ErrIsAlias} {
			if errors.Is(err, known) {
				return nil, explain(addr, known)
			}
		}
		return nil, err
	}
	s.log.InfoContext(ctx, "account restored", obs.User(addr.String()), obs.Account(id))
	return &directoryv1.RestoreAccountResponse{Address: addr.String()}, nil
}

// Forget ends the time of an account that was removed.
func (s *Service) Forget(ctx context.Context, req *directoryv1.ForgetRequest) (*directoryv1.ForgetResponse, error) {
	err := s.store.ForgetAccount(ctx, mailbox.AccountID(req.Id), time.Unix(0, req.RemovedNs))
	switch {
	case errors.Is(err, account.ErrKnown):
		return nil, status.Errorf(codes.FailedPrecondition, "account %d was not removed then", req.Id)
	case errors.Is(err, account.ErrNotFound):
		return nil, status.Errorf(codes.NotFound, "account %d is not known", req.Id)
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "removed account forgotten", obs.Account(mailbox.AccountID(req.Id)))
	return &directoryv1.ForgetResponse{}, nil
}

// Who tells the addresses of accounts.
func (s *Service) Who(ctx context.Context, req *directoryv1.WhoRequest) (*directoryv1.WhoResponse, error) {
	if len(req.Ids) > maxWho {
		return nil, invalid("%d accounts, more than %d", len(req.Ids), maxWho)
	}
	ids := make([]mailbox.AccountID, len(req.Ids))
	for i, id := range req.Ids {
		ids[i] = mailbox.AccountID(id)
	}
	accounts, err := s.store.Accounts(ctx, ids)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.WhoResponse{Addresses: make([]string, len(ids))}
	for i, a := range accounts {
		if a != nil {
			resp.Addresses[i] = a.Address
		}
	}
	return resp, nil
}
