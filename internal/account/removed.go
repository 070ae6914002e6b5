package account

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Removed is an account that was removed and can be brought back.
type Removed struct {
	Account
	Removed time.Time
}

// Remover removes accounts and brings them back. Until Forget, an account is kept with its id and credential: its mail is
// found by the id.
type Remover interface {
	// RemoveAccount removes an account as of now; aliases that name it stay. ErrNotFound.
	RemoveAccount(ctx context.Context, address string, now time.Time) error
	// RemovedAccounts lists what is kept, by address and then the latest first.
	RemovedAccounts(ctx context.Context) ([]Removed, error)
	// RestoreAccount makes an account again, under an address. ErrNotFound, ErrExists, ErrIsAlias, ErrNoDomain.
	RestoreAccount(ctx context.Context, id mailbox.AccountID, address string) error
	// ForgetAccount ends the time of one that was removed then. ErrKnown where it is there or was removed at
	// another time, and ErrNotFound only where neither is so.
	ForgetAccount(ctx context.Context, id mailbox.AccountID, removed time.Time) error
}
