package account

import (
	"context"
	"errors"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Errors that callers branch on.
var (
	// ErrExists is a domain, account or alias that is there already.
	ErrExists = errors.New("exists already")
	// ErrNotFound is one that is not.
	ErrNotFound = errors.New("not found")
	// ErrNoDomain is an address in a domain that is not ours.
	ErrNoDomain = errors.New("domain is not one of ours")
	// ErrIsAlias is an account whose address is an alias's.
	ErrIsAlias = errors.New("address is an alias")
	// ErrIsAccount is an alias whose address is an account's.
	ErrIsAccount = errors.New("address is an account")
	// ErrKnown is an account that cannot be forgotten: it is there, or was removed at another time.
	ErrKnown = errors.New("account is known")
	// ErrInUse is a domain that still has accounts.
	ErrInUse = errors.New("domain still has accounts")
)

// Mode tells what PutAccounts does with an account that exists, or does not.
type Mode uint8

// Modes.
const (
	// Add: ErrExists where it exists.
	Add Mode = iota
	// Update: ErrNotFound where it does not.
	Update
	// AddOrUpdate takes either way.
	AddOrUpdate
)

// Change is one account to be written.
type Change struct {
	Mode Mode
	// Account's ID and Created count for a new account only; Version is the store's. An update writes the credential.
	Account Account
}

// Outcome is what became of a Change.
type Outcome struct {
	// Account is as it stands now.
	Account Account
	Added   bool
	// Err is ErrExists, ErrNotFound, ErrNoDomain or ErrIsAlias; nothing was written for this change then.
	Err error
}

// Store keeps the directory. Its methods may be called at once from many goroutines; what they wrote is durable when they
// return without error, and visible to every look-up that begins afterwards.
//
// Names and addresses are canonical in both directions.
type Store interface {
	Remover

	// Version grows with every change, whoever makes it: a cache filled before it grew is stale.
	Version(ctx context.Context) (uint64, error)
	// Secret is 32 random octets, made once for the farm: salts of users who do not exist come from it.
	Secret(ctx context.Context) ([]byte, error)

	// Lookup finds keys in one snapshot; the records come in the order of the keys, empty ones for what is not there.
	Lookup(ctx context.Context, keys []Key) ([]Record, error)
	// Accounts finds accounts by id, in the order asked; nil for what is not there.
	Accounts(ctx context.Context, ids []mailbox.AccountID) ([]*Account, error)

	// AddDomain adds a domain. ErrExists.
	AddDomain(ctx context.Context, d Domain) error
	// SetCatchAll changes who receives what has no account or alias. ErrNotFound.
	SetCatchAll(ctx context.Context, domain, address string) error
	// RemoveDomain removes a domain with its aliases. ErrNotFound; ErrInUse while it has accounts.
	RemoveDomain(ctx context.Context, name string) error
	// Domains lists all, in the order they were added.
	Domains(ctx context.Context) ([]Domain, error)

	// PutAccounts writes accounts in one transaction, in order, and tells of each what became of it. An error means that
	// none was written.
	PutAccounts(ctx context.Context, changes []Change) ([]Outcome, error)
	// ListAccounts lists a domain's accounts, or all for an empty name, by address.
	ListAccounts(ctx context.Context, domain string) ([]Account, error)

	// SetAlias adds an alias or replaces its targets. ErrIsAccount, ErrNoDomain.
	SetAlias(ctx context.Context, a Alias) error
	// RemoveAlias removes one. ErrNotFound.
	RemoveAlias(ctx context.Context, address string) error
	// ListAliases lists a domain's aliases, or all, bare ones among them, for an empty name, by address.
	ListAliases(ctx context.Context, domain string) ([]Alias, error)

	Sharing
}
