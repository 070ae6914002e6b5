package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var (
	// errClaimLost is a claim that another process holds by now: nothing may be sent or reported.
	errClaimLost = errors.New("the claim is lost")
	// errUnsure is a claim that could not be renewed before the final dot: the message is not sent.
	errUnsure = errors.New("the claim could not be renewed")
	// errTooLong is an attempt that took longer than Timeouts.Attempt.
	errTooLong = errors.New("the attempt took too long")
)

// claim takes the work's recipients under a lease; false where the hint does not hold any more.
func (s *Service) claim(ctx context.Context, j *job) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	j.began = s.deps.Now()
	resp, err := s.deps.Ledger.Claim(ctx, s.claimRequest(j, false))
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", j.id, err)
	}
	if len(resp.Claims) != 1 || !resp.Claims[0].Claimed || len(resp.Claims[0].Recipients) == 0 {
		return false, nil
	}
	j.message, j.open = resp.Claims[0].Message, resp.Claims[0].Recipients
	if j.message.GetEnvelope() == nil {
		return false, status.Errorf(codes.InvalidArgument, "claim %s: the ledger gave no message", j.id)
	}
	fault.Point("remote.after-claim")
	return true, nil
}

func (s *Service) claimRequest(j *job, renew bool) *storev1.ClaimRequest {
	return &storev1.ClaimRequest{
		Work: []*mailv1.RemoteWork{j.work}, Owner: j.owner, LeaseMs: s.cfg.ClaimLease.Milliseconds(), Renew: renew,
	}
}

// keep renews the claim while the work goes on, so that the lease need not be as long as a peer may take. The context ends
// with errClaimLost as its cause when another has the claim. A renewal that fails changes nothing: renew asks before the
// final dot, and the ledger refuses a late report.
func (s *Service) keep(ctx context.Context, j *job) (claim context.Context, release func()) {
	claim, lost := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(s.cfg.ClaimLease / 4)
		defer tick.Stop()
		for {
			select {
			case <-claim.Done():
				return
			case <-tick.C:
			}
			err := s.renew(claim, j, nil)
			if errors.Is(err, errClaimLost) {
				lost(errClaimLost)
				return
			}
			if err != nil && claim.Err() == nil {
				s.deps.Log.WarnContext(ctx, "claim not renewed", obs.QueueID(j.id), obs.Error(err))
			}
		}
	})
	return claim, func() {
		lost(context.Canceled)
		renewing.Wait()
	}
}

// renew lengthens the claim and tells whether it still holds for all of rows.
func (s *Service) renew(ctx context.Context, j *job, rows []*storev1.RecipientRow) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Claim(ctx, s.claimRequest(j, true))
	if err != nil {
		return fmt.Errorf("renew the claim of %s: %w", j.id, err)
	}
	if len(resp.Claims) != 1 || !resp.Claims[0].Claimed {
		return errClaimLost
	}
	held := make(map[uint32]bool, len(resp.Claims[0].Recipients))
	for _, r := range resp.Claims[0].Recipients {
		held[r.Number] = true
	}
	for _, r := range rows {
		if !held[r.Number] {
			return errClaimLost
		}
	}
	return nil
}
