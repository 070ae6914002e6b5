package reclaim_test

import (
	"context"
	"errors"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

// TestPurgePassesOver has accounts fail that stand before all others, more of them than are purged at once.
func TestPurgePassesOver(t *testing.T) {
	damaged := errors.New("damaged")
	waiting := []mailbox.AccountID{1, 2, 3, 4, 5, 6, 7, 8}
	due := func(limit int) ([]mailbox.AccountID, error) {
		return append([]mailbox.AccountID{}, waiting[:min(limit, len(waiting))]...), nil
	}
	purge := func(id mailbox.AccountID) (reclaim.Purged, error) {
		if id <= 3 {
			return reclaim.Purged{}, damaged
		}
		for i := range waiting {
			if waiting[i] == id {
				waiting = append(waiting[:i], waiting[i+1:]...)
				break
			}
		}
		return reclaim.Purged{Tombstones: 2, Emails: 1}, nil
	}
	for _, want := range []struct {
		done int
		more bool
	}{{2, true}, {2, true}, {1, false}, {0, false}} {
		p, more, err := reclaim.PurgeEach(t.Context(), 2, due, purge)
		if p != (reclaim.Purged{Accounts: want.done, Tombstones: 2 * want.done, Emails: want.done}) || more != want.more || !errors.Is(err, damaged) {
			t.Errorf("%+v, %v, %v; want %d, %v and what failed", p, more, err, want.done, want.more)
		}
	}
	if len(waiting) != 3 {
		t.Errorf("%v wait", waiting)
	}
}

// TestPurgeStops does not try all accounts of a database that fails, nor any behind the end of its context.
func TestPurgeStops(t *testing.T) {
	tried, end := 0, func() {}
	try := func(ctx context.Context) {
		t.Helper()
		tried = 0
		_, more, err := reclaim.PurgeEach(ctx, 10, func(limit int) (list []mailbox.AccountID, _ error) {
			for i := range limit {
				list = append(list, mailbox.AccountID(i+1))
			}
			return list, nil
		}, func(mailbox.AccountID) (reclaim.Purged, error) {
			tried++
			end()
			return reclaim.Purged{}, errors.New("away")
		})
		if more || err == nil {
			t.Errorf("more: %v, %v", more, err)
		}
	}
	if try(t.Context()); tried < 10 || tried > 200 {
		t.Errorf("%d accounts were tried", tried)
	}
	ctx, cancel := context.WithCancel(t.Context())
	end = cancel
	if try(ctx); tried != 1 {
		t.Errorf("%d accounts were tried behind the end", tried)
	}
}
