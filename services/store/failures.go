package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// maxFailures is how many accounts a worker passes over: with more of them it is the database that fails, not its accounts.
const maxFailures = 64

// failures are accounts that a worker could not do, and that keep nobody from the others.
type failures struct {
	accounts map[mailbox.AccountID]bool
	errs     []error
}

// passOver notes an account's failure, and tells whether to go on with the others.
func (f *failures) passOver(ctx context.Context, a mailbox.AccountID, err error) bool {
	if f.accounts == nil {
		f.accounts = map[mailbox.AccountID]bool{}
	}
	f.accounts[a] = true
	f.errs = append(f.errs, fmt.Errorf("account %d: %w", a, err))
	return ctx.Err() == nil && len(f.accounts) < maxFailures
}

// with is what failed, and err.
func (f *failures) with(err error) error { return errors.Join(append(f.errs, err)...) }
