package reclaim

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// maxFailing is how many accounts PurgeEach passes over: with more of them it is the database that fails, not its accounts.
const maxFailing = 64

// PurgeEach is Books.Purge over due, which tells at most so many accounts, and purge of one, after which it is not due any
// more. An account that fails keeps nobody from the others: they are done first, and err tells of all that failed.
func PurgeEach(ctx context.Context, limit int, due func(limit int) ([]mailbox.AccountID, error), purge func(mailbox.AccountID) (Purged, error)) (all Purged, more bool, err error) {
	failed := map[mailbox.AccountID]bool{}
	var errs []error
	for all.Accounts < limit && len(failed) <= maxFailing {
		ask, tried := limit-all.Accounts+len(failed), false
		list, err := due(ask)
		if err != nil {
			return all, false, errors.Join(append(errs, fmt.Errorf("find what was expunged long ago: %w", err))...)
		}
		for _, id := range list {
			if failed[id] {
				continue
			}
			tried = true
			p, err := purge(id)
			if err != nil {
				failed[id], errs = true, append(errs, fmt.Errorf("purge account %d: %w", id, err))
				if ctx.Err() != nil {
					return all, false, errors.Join(errs...)
				}
				continue
			}
			all.Accounts++
			all.Tombstones += p.Tombstones
			all.Emails += p.Emails
		}
		if !tried || len(list) < ask {
			break
		}
	}
	return all, all.Accounts >= limit, errors.Join(errs...)
}
