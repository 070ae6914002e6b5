package directory

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Bounds on following aliases for one address.
const (
	maxOwnsDepth   = 5
	maxOwnsTargets = 1000
)

// Owns tells which addresses an account may send as (RFC 6409 §6.1): its own, with any detail, every alias that leads to
// it, and what falls to it as catch-all. An account that is gone or disabled owns nothing.
func (s *Service) Owns(ctx context.Context, req *directoryv1.OwnsRequest) (*directoryv1.OwnsResponse, error) {
	if len(req.Addresses) > maxAddresses {
		return nil, status.Errorf(codes.InvalidArgument, "%d addresses in one request: at most %d", len(req.Addresses), maxAddresses)
	}
	owns := make([]bool, len(req.Addresses))
	a, err := s.cache.account(ctx, mailbox.AccountID(req.Account))
	if err != nil {
		return nil, fmt.Errorf("find account %d: %w", req.Account, err)
	}
	if a == nil || a.Disabled {
		return &directoryv1.OwnsResponse{Owns: owns}, nil
	}
	for i, address := range req.Addresses {
		if owns[i], err = s.owns(ctx, a, address); err != nil {
			return nil, err
		}
	}
	return &directoryv1.OwnsResponse{Owns: owns}, nil
}

// owns follows aliases level by level until one leads to a.
func (s *Service) owns(ctx context.Context, a *account.Account, address string) (bool, error) {
	level, asked := []string{address}, map[string]bool{address: true}
	for depth := 0; depth < maxOwnsDepth && len(level) > 0; depth++ {
		resolutions, err := s.resolve(ctx, level)
		if err != nil {
			return false, err
		}
		level = nil
		for _, r := range resolutions {
			switch r.Kind {
			case directoryv1.Kind_KIND_ACCOUNT:
				if mailbox.AccountID(r.Account) == a.ID {
					return true, nil
				}
			case directoryv1.Kind_KIND_ALIAS:
				for _, t := range r.Targets {
					if !asked[t] && len(asked) < maxOwnsTargets {
						asked[t] = true
						level = append(level, t)
					}
				}
			}
		}
	}
	return false, nil
}
