package limits

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

const (
	// listBatch is how many bans one message of a list holds.
	listBatch = 1000
	// maxReason bounds the text of an operator's reason, octets, and maxBan the time of a ban.
	maxReason = 500
	maxBan    = 100 * 365 * 24 * time.Hour
	// writeTries is how often a write is begun anew since another was faster.
	writeTries = 5
)

// Service is adminv1.Bans: the operator's side.
type Service struct {
	adminv1.UnimplementedBansServer
	limits *Limits
}

// Register offers the service on r.
func (l *Limits) Register(r grpc.ServiceRegistrar) {
	adminv1.RegisterBansServer(r, &Service{limits: l})
}

// List streams what is in force.
func (s *Service) List(_ *adminv1.BansListRequest, stream grpc.ServerStreamingServer[adminv1.BansListResponse]) error {
	if !s.limits.loaded.Load() {
		return errNotShared
	}
	all := s.limits.bans.list(s.limits.now())
	for len(all) > 0 {
		n := min(len(all), listBatch)
		if err := stream.Send(&adminv1.BansListResponse{Bans: all[:n]}); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// errNotShared is said while the bucket cannot be read.
var errNotShared = status.Error(codes.Unavailable, "the bus is away: bans are not known here now")

// Add bans a network; INVALID_ARGUMENT where that would change nothing, for the network is trusted.
func (s *Service) Add(ctx context.Context, req *adminv1.BansAddRequest) (*adminv1.BansAddResponse, error) {
	l := s.limits
	network, err := parseNetwork(req.Network)
	switch {
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case req.ForNs <= 0 || req.ForNs > int64(maxBan):
		return nil, status.Error(codes.InvalidArgument, "a ban lasts longer than nothing and at most 100 years")
	case len(req.Reason) > maxReason:
		return nil, status.Errorf(codes.InvalidArgument, "the reason is longer than %d octets", maxReason)
	}
	if network.Bits() == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "%s is everybody: to let nobody in end the fronts (mailfarm drain)", network)
	}
	if p, ok := l.trusts(network); ok {
		return nil, status.Errorf(codes.InvalidArgument, "%s is in limits.trusted (%s) and is not banned", network, p)
	}
	b, err := s.change(ctx, network, func(_ *adminv1.Ban, now time.Time) (*adminv1.Ban, error) {
		return &adminv1.Ban{
			Network: network.String(), Reason: req.Reason, SinceNs: now.UnixNano(), UntilNs: now.UnixNano() + req.ForNs, Owner: l.self,
		}, nil
	})
	if err != nil {
		return nil, err
	}
	l.log.InfoContext(ctx, "network banned by an operator", "network", b.Network, "until", time.Unix(0, b.UntilNs), "reason", b.Reason)
	return &adminv1.BansAddResponse{Ban: b}, nil
}

// Remove lets a network in again.
func (s *Service) Remove(ctx context.Context, req *adminv1.BansRemoveRequest) (*adminv1.BansRemoveResponse, error) {
	l := s.limits
	network, err := parseNetwork(req.Network)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := s.change(ctx, network, func(last *adminv1.Ban, now time.Time) (*adminv1.Ban, error) {
		if last == nil || !(&ban{Ban: last}).holds(now) {
			return nil, s.notBanned(network, now)
		}
		lifted := proto.CloneOf(last)
		lifted.RemovedNs, lifted.Owner = now.UnixNano(), l.self
		return lifted, nil
	})
	if err != nil {
		return nil, err
	}
	l.log.InfoContext(ctx, "ban lifted by an operator", "network", b.Network)
	return &adminv1.BansRemoveResponse{Ban: b}, nil
}

// notBanned tells that there is no ban of just this network, and which wider one there may be.
func (s *Service) notBanned(network netip.Prefix, now time.Time) error {
	b := s.limits.bans
	b.mu.RLock()
	defer b.mu.RUnlock()
	if wider := b.find(network.Addr(), now); wider != nil && wider.network.Bits() < network.Bits() {
		return status.Errorf(codes.NotFound, "%s is banned by the network %s: remove that", network, wider.network)
	}
	return status.Errorf(codes.NotFound, "%s is not banned", network)
}

// change writes what becomes of the last known ban of a network, into the bucket first.
func (s *Service) change(ctx context.Context, network netip.Prefix, next func(last *adminv1.Ban, now time.Time) (*adminv1.Ban, error)) (*adminv1.Ban, error) {
	l, key := s.limits, bucketKey(network)
	for range writeTries {
		e, err := l.bucket.Get(ctx, key)
		if err != nil {
			return nil, status.Errorf(codes.Unavailable, "%v: nothing was changed", err)
		}
		var last *adminv1.Ban
		if e.Value != nil {
			if x, err := decode(e); err == nil {
				last = x.Ban
			}
		}
		l.bans.mu.RLock()
		if have := l.bans.all[network]; have != nil && (last == nil || have.ChangedNs > last.ChangedNs) {
			last = have.Ban // not written yet, or lost
		}
		l.bans.mu.RUnlock()
		now := l.now()
		b, err := next(last, now)
		if err != nil {
			return nil, err
		}
		b.ChangedNs = max(now.UnixNano(), last.GetChangedNs()+1) // clocks may differ
		value, err := proto.Marshal(b)
		if err != nil {
			return nil, err
		}
		revision, err := l.bucket.Put(ctx, key, value, e.Revision)
		switch {
		case err == nil:
			l.changed(bus.BucketEntry{Key: key, Value: value, Revision: revision})
			return b, nil
		case !errors.Is(err, bus.ErrChanged):
			return nil, status.Errorf(codes.Unavailable, "%v: whether it was changed is not known", err)
		}
	}
	return nil, status.Error(codes.Aborted, "others change the same ban: try again")
}

// trusts finds the trusted network that holds all of a network.
func (l *Limits) trusts(network netip.Prefix) (netip.Prefix, bool) {
	for _, p := range l.trusted {
		if p.Bits() <= network.Bits() && p.Contains(network.Addr()) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
