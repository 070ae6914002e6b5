package directory

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// AddDomain makes the farm responsible for a domain; the first one added is the primary one. A catch-all may name an
// account that is yet to come.
func (s *Service) AddDomain(ctx context.Context, req *directoryv1.AddDomainRequest) (*directoryv1.AddDomainResponse, error) {
	name, err := ownDomain(req.Domain.GetName())
	if err != nil {
		return nil, err
	}
	d := account.Domain{Name: name, Created: s.now()}
	if catchAll := req.Domain.GetCatchAll(); catchAll != "" {
		addr, err := account.ParseAddress(catchAll)
		if err != nil {
			return nil, invalid("catch-all %q: %v", cut(catchAll), err)
		}
		d.CatchAll = addr.String()
	}
	err = s.store.AddDomain(ctx, d)
	s.cache.drop()
	if errors.Is(err, account.ErrExists) {
		return nil, status.Errorf(codes.AlreadyExists, "domain %s exists already; to change its catch-all set the alias @%s", name, name)
	}
	if err != nil {
		return nil, err
	}
	return &directoryv1.AddDomainResponse{}, nil
}

// RemoveDomain ends the responsibility for a domain, with its aliases. FAILED_PRECONDITION while it has accounts.
func (s *Service) RemoveDomain(ctx context.Context, req *directoryv1.RemoveDomainRequest) (*directoryv1.RemoveDomainResponse, error) {
	name, err := ownDomain(req.Name)
	if err != nil {
		return nil, err
	}
	err = s.store.RemoveDomain(ctx, name)
	s.cache.drop()
	switch {
	case errors.Is(err, account.ErrInUse):
		return nil, status.Errorf(codes.FailedPrecondition, "domain %s still has accounts: list them by its name and remove them first", name)
	case errors.Is(err, account.ErrNotFound):
		return nil, noDomain(codes.NotFound, name)
	case err != nil:
		return nil, err
	}
	return &directoryv1.RemoveDomainResponse{}, nil
}

// ListDomains lists all, the primary one first.
func (s *Service) ListDomains(ctx context.Context, _ *directoryv1.ListDomainsRequest) (*directoryv1.ListDomainsResponse, error) {
	domains, err := s.store.Domains(ctx)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.ListDomainsResponse{}
	for _, d := range domains {
		resp.Domains = append(resp.Domains, &directoryv1.Domain{Name: d.Name, CatchAll: d.CatchAll})
	}
	return resp, nil
}

// ownDomain reads a domain that can be ours: no address literal.
func ownDomain(name string) (string, error) {
	domain, err := account.ParseDomain(name)
	if err != nil {
		return "", invalid("domain %q: %v", cut(name), err)
	}
	if domain[0] == '[' {
		return "", invalid("domain %q: an address literal cannot be a domain of ours", cut(name))
	}
	return domain, nil
}

// filterDomain reads what narrows a list; empty is all.
func filterDomain(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	return ownDomain(name)
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func noDomain(code codes.Code, name string) error {
	return status.Errorf(code, "domain %s is not served here: add it first, as in: mailfarm domain add %s", name, name)
}
