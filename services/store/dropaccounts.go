package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// dropChunks is how many chunks of entries one write drops.
const dropChunks = 64

// dropAccounts drops the mail of accounts that were removed from the directory long ago. The store notes what it is about
// to drop, has the directory forget the account, which then cannot be brought back any more, and drops it in small steps.
// Wherever that is cut off, the next round goes on.
func (r *retention) dropAccounts(ctx context.Context) (more bool, err error) {
	noted, err := r.Dropping(ctx)
	if err != nil {
		return false, err
	}
	for _, d := range noted {
		if more, err := r.dropAccount(ctx, d); err != nil || more {
			return more, err
		}
	}
	resp, err := r.deps.Removed.ListRemoved(ctx, &directoryv1.ListRemovedRequest{})
	if err != nil {
		return false, err
	}
	for _, a := range resp.GetAccounts() {
		removed := time.Unix(0, a.GetRemovedNs())
		if r.deps.Now().Sub(removed) < r.cfg.Retention.Accounts {
			continue
		}
		err := r.BeginDrop(ctx, mailbox.AccountID(a.GetId()), removed)
		if errors.Is(err, index.ErrHeld) {
			continue
		}
		return err == nil, err
	}
	return false, nil
}

// dropAccount does the next step with an account that was noted.
func (r *retention) dropAccount(ctx context.Context, d index.Dropping) (more bool, err error) {
	if d.Forgotten {
		done, err := r.Drop(ctx, d.Account, dropChunks)
		if errors.Is(err, index.ErrHeld) {
			return false, nil
		}
		if done {
			r.deps.Log.InfoContext(ctx, "mail of a removed account dropped", obs.Account(d.Account))
		}
		return err == nil, err
	}
	// Noted before the directory is told: who puts the account under legal hold now learns that it is too late.
	if err := r.Forgetting(ctx, d.Account); errors.Is(err, index.ErrHeld) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	fault.Point("drop.before-forget")
	_, err = r.deps.Removed.Forget(ctx, &directoryv1.ForgetRequest{Id: uint64(d.Account), RemovedNs: d.Removed.UnixNano()})
	switch status.Code(err) {
	case codes.OK:
	case codes.FailedPrecondition:
		r.deps.Log.InfoContext(ctx, "account was brought back", obs.Account(d.Account))
		return true, r.Keep(ctx, d.Account)
	case codes.NotFound:
		// Forgotten by a call whose answer was lost. Directories of before said so too of what was brought back.
		address, again, err := r.who(ctx, d.Account)
		if err != nil {
			return false, err
		}
		if address != "" {
			r.deps.Log.InfoContext(ctx, "account was brought back", obs.Account(d.Account), slog.Time("removed_again", again))
			return true, r.Keep(ctx, d.Account)
		}
	default:
		return false, err
	}
	fault.Point("drop.before-forgotten")
	return true, r.Forgotten(ctx, d.Account)
}
