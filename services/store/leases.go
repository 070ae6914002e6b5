package store

import (
	"context"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// MaxLeaseName is the longest name or holder of a lease, octets.
	MaxLeaseName = 255
	// MaxLease is the longest lease: a holder that dies keeps others out no longer.
	MaxLease = time.Hour
)

// leases serves storev1.Leases.
type leases struct {
	storev1.UnimplementedLeasesServer
	*Service
}

// Acquire takes or renews a lease.
func (s *leases) Acquire(ctx context.Context, req *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
	if err := checkLease(req.GetName(), req.GetHolder()); err != nil {
		return nil, err
	}
	if ms := req.GetDurationMs(); ms < 1 || ms > MaxLease.Milliseconds() {
		return nil, invalid("lease of %d ms: at most %d", ms, MaxLease.Milliseconds())
	}
	holder, err := s.deps.Leases.Acquire(ctx, req.GetName(), req.GetHolder(), time.Duration(req.GetDurationMs())*time.Millisecond)
	if err != nil {
		return nil, toStatus(err)
	}
	if holder == req.GetHolder() {
		return &storev1.AcquireResponse{Taken: true}, nil
	}
	return &storev1.AcquireResponse{Holder: holder}, nil
}

// Release gives a lease back; one that another holds stays.
func (s *leases) Release(ctx context.Context, req *storev1.ReleaseRequest) (*storev1.ReleaseResponse, error) {
	if err := checkLease(req.GetName(), req.GetHolder()); err != nil {
		return nil, err
	}
	if err := s.deps.Leases.Release(ctx, req.GetName(), req.GetHolder()); err != nil {
		return nil, toStatus(err)
	}
	return &storev1.ReleaseResponse{}, nil
}

func checkLease(name, holder string) error {
	if name == "" || holder == "" || len(name) > MaxLeaseName || len(holder) > MaxLeaseName {
		return invalid("lease: name and holder have 1 to %d octets", MaxLeaseName)
	}
	return nil
}
