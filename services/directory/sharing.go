package directory

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Identify tells who accounts are. What is no address or no group's name is nobody.
func (s *Service) Identify(ctx context.Context, req *directoryv1.IdentifyRequest) (*directoryv1.IdentifyResponse, error) {
	if n := len(req.Addresses) + len(req.Accounts) + len(req.Groups); n > maxAddresses {
		return nil, invalid("%d names in one request: at most %d", n, maxAddresses)
	}
	ids := make([]mailbox.AccountID, 0, len(req.Addresses)+len(req.Accounts))
	for _, text := range req.Addresses {
		id, err := s.accountID(ctx, text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	for _, id := range req.Accounts {
		ids = append(ids, mailbox.AccountID(id))
	}
	found, err := s.store.Identities(ctx, ids)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.IdentifyResponse{}
	for i := range found {
		v := &directoryv1.Identity{Account: uint64(found[i].Account), Address: found[i].Address, Shared: found[i].Shared, Groups: found[i].Groups}
		if i < len(req.Addresses) {
			resp.ByAddress = append(resp.ByAddress, v)
		} else {
			resp.ByAccount = append(resp.ByAccount, v)
		}
	}
	for _, text := range req.Groups {
		name, err := account.ParseGroup(text)
		has := false
		if err == nil {
			if has, err = s.store.HasGroup(ctx, name); err != nil {
				return nil, err
			}
		}
		if !has {
			name = ""
		}
		resp.Groups = append(resp.Groups, name)
	}
	return resp, nil
}

// accountID is the account of an address, 0 where there is none.
func (s *Service) accountID(ctx context.Context, text string) (mailbox.AccountID, error) {
	addr, err := account.ParseAddress(text)
	if err != nil {
		return 0, nil
	}
	r, err := s.cache.lookup(ctx, account.AddressKey(addr))
	if err != nil || r.Account == nil {
		return 0, err
	}
	return r.Account.ID, nil
}

// AddToGroup makes a group and adds members.
func (s *Service) AddToGroup(ctx context.Context, req *directoryv1.AddToGroupRequest) (*directoryv1.AddToGroupResponse, error) {
	name, members, err := groupRequest(req)
	if err != nil {
		return nil, err
	}
	if err := s.store.AddToGroup(ctx, name, members); err != nil {
		return nil, groupError(name, err)
	}
	s.log.InfoContext(ctx, "members added to group", obs.Reason(name), obs.Count(len(members)))
	return &directoryv1.AddToGroupResponse{}, nil
}

// RemoveFromGroup takes members out, or removes the group.
func (s *Service) RemoveFromGroup(ctx context.Context, req *directoryv1.RemoveFromGroupRequest) (*directoryv1.RemoveFromGroupResponse, error) {
	name, members, err := groupRequest(req)
	if err != nil {
		return nil, err
	}
	if err := s.store.RemoveFromGroup(ctx, name, members); err != nil {
		return nil, groupError(name, err)
	}
	s.log.InfoContext(ctx, "members removed from group", obs.Reason(name), obs.Count(len(members)))
	return &directoryv1.RemoveFromGroupResponse{}, nil
}

// ListGroups lists all groups by name.
func (s *Service) ListGroups(ctx context.Context, _ *directoryv1.ListGroupsRequest) (*directoryv1.ListGroupsResponse, error) {
	groups, err := s.store.ListGroups(ctx)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.ListGroupsResponse{}
	for _, g := range groups {
		resp.Groups = append(resp.Groups, &directoryv1.Group{Name: g.Name, Members: g.Members})
	}
	return resp, nil
}

// SetShared marks an account as shared, or takes the mark away.
func (s *Service) SetShared(ctx context.Context, req *directoryv1.SetSharedRequest) (*directoryv1.SetSharedResponse, error) {
	addr, err := account.ParseAddress(req.Address)
	if err != nil {
		return nil, invalid("account %q: %v", cut(req.Address), err)
	}
	err = s.store.SetShared(ctx, addr.String(), req.Shared)
	if errors.Is(err, account.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no account %s", addr)
	}
	return &directoryv1.SetSharedResponse{}, err
}

// groupRequest checks the name of a group and the addresses of its members.
func groupRequest(req interface {
	GetName() string
	GetMembers() []string
}) (name string, members []string, err error) {
	if name, err = account.ParseGroup(req.GetName()); err != nil {
		return "", nil, invalid("%v", err)
	}
	if n := len(req.GetMembers()); n > account.MaxMembers {
		return "", nil, invalid("%d members at once: at most %d", n, account.MaxMembers)
	}
	for _, text := range req.GetMembers() {
		addr, err := account.ParseAddress(text)
		if err != nil {
			return "", nil, invalid("member %q: %v", cut(text), err)
		}
		members = append(members, addr.String())
	}
	return name, members, nil
}

// groupError tells an operator what was not found.
func groupError(name string, err error) error {
	if errors.Is(err, account.ErrNotFound) {
		return status.Errorf(codes.NotFound, "group %s: %v; see: mailfarm group list", name, err)
	}
	return fmt.Errorf("group %s: %w", name, err)
}
