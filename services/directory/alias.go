package directory

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// maxTargets bounds what one alias stands for.
const maxTargets = 1000

// SetAlias adds an alias or replaces its targets. Its address is local-part@domain, a bare local-part that holds in every
// domain, or @domain: the domain's catch-all, which has one target.
func (s *Service) SetAlias(ctx context.Context, req *directoryv1.SetAliasRequest) (*directoryv1.SetAliasResponse, error) {
	address, domain, err := aliasAddress(req.Alias.GetAddress())
	if err != nil {
		return nil, err
	}
	targets, err := aliasTargets(address, req.Alias.GetTargets())
	if err != nil {
		return nil, err
	}
	if address == "@"+domain {
		if len(targets) != 1 {
			return nil, invalid("catch-all %s: give it one target; for several make an alias of them and name that", address)
		}
		err = s.store.SetCatchAll(ctx, domain, targets[0])
	} else {
		err = s.store.SetAlias(ctx, account.Alias{Address: address, Targets: targets})
	}
	s.cache.drop()
	switch {
	case errors.Is(err, account.ErrIsAccount):
		return nil, status.Errorf(codes.AlreadyExists, "%s is an account: remove it first, or choose another address", address)
	case errors.Is(err, account.ErrNoDomain), errors.Is(err, account.ErrNotFound):
		return nil, noDomain(codes.FailedPrecondition, domain)
	case err != nil:
		return nil, err
	}
	s.log.InfoContext(ctx, "alias set", obs.User(address), obs.Count(len(targets)))
	return &directoryv1.SetAliasResponse{}, nil
}

// RemoveAlias removes an alias, or a domain's catch-all.
func (s *Service) RemoveAlias(ctx context.Context, req *directoryv1.RemoveAliasRequest) (*directoryv1.RemoveAliasResponse, error) {
	address, domain, err := aliasAddress(req.Address)
	if err != nil {
		return nil, err
	}
	if address == "@"+domain {
		err = s.store.SetCatchAll(ctx, domain, "")
	} else {
		err = s.store.RemoveAlias(ctx, address)
	}
	s.cache.drop()
	if errors.Is(err, account.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no alias %s", address)
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "alias removed", obs.User(address))
	return &directoryv1.RemoveAliasResponse{}, nil
}

// ListAliases lists a domain's aliases, or all, bare ones among them, by address; catch-alls come first, as @domain.
func (s *Service) ListAliases(ctx context.Context, req *directoryv1.ListAliasesRequest) (*directoryv1.ListAliasesResponse, error) {
	domain, err := filterDomain(req.Domain)
	if err != nil {
		return nil, err
	}
	domains, err := s.store.Domains(ctx)
	if err != nil {
		return nil, err
	}
	aliases, err := s.store.ListAliases(ctx, domain)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.ListAliasesResponse{}
	for _, d := range domains {
		if d.CatchAll != "" && (domain == "" || domain == d.Name) {
			resp.Aliases = append(resp.Aliases, &directoryv1.Alias{Address: "@" + d.Name, Targets: []string{d.CatchAll}})
		}
	}
	for _, a := range aliases {
		resp.Aliases = append(resp.Aliases, &directoryv1.Alias{Address: a.Address, Targets: a.Targets})
	}
	return resp, nil
}

// aliasAddress reads an alias's address; domain is empty for one that holds in every domain.
func aliasAddress(text string) (address, domain string, err error) {
	if name, found := strings.CutPrefix(text, "@"); found {
		domain, err := ownDomain(name)
		return "@" + domain, domain, err
	}
	local, err := account.ParseLocal(text)
	if err == nil {
		address = account.BareAlias(local)
	} else {
		addr, err := account.ParseAddress(text)
		if err != nil {
			return "", "", invalid("alias %q: %v", cut(text), err)
		}
		local, address, domain = addr.Local, addr.String(), addr.Domain
	}
	if len(local) > account.MaxLocalLen {
		return "", "", invalid("alias %q: the local-part is longer than %d octets (RFC 5321 §4.5.3.1.1)", cut(text), account.MaxLocalLen)
	}
	return address, domain, nil
}

func aliasTargets(address string, texts []string) ([]string, error) {
	if len(texts) == 0 || len(texts) > maxTargets {
		return nil, invalid("alias %s: %d targets: give it 1 to %d", address, len(texts), maxTargets)
	}
	targets := make([]string, 0, len(texts))
	for _, text := range texts {
		addr, err := account.ParseAddress(text)
		if err != nil {
			return nil, invalid("alias %s: target %q: %v; targets are whole addresses", address, cut(text), err)
		}
		target := addr.String()
		if target == address {
			return nil, invalid("alias %s: it cannot be its own target", address)
		}
		if !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	return targets, nil
}
