package index

import (
	"context"
	"errors"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// MaxRoots is how many folders of an account can have limits of their own.
const MaxRoots = 100

// ErrRoots is an account with MaxRoots folders that have limits.
var ErrRoots = errors.New("account has no room for another quota root")

// Limits of a quota root (RFC 9208 §5): octets and messages. 0 is the default, which folders do not have; -1 is none.
type Limits struct{ Size, Messages int64 }

// QuotaRoot is a quota root and what is used of it: the whole account, or a mailbox with all below it.
type QuotaRoot struct {
	// Root is 0 for the whole account; Name is the mailbox's.
	Root mailbox.ID
	Name string
	// Own are the limits as they were set, and Limits what holds: 0 is none.
	Own, Limits Limits
	// Size and Messages are used.
	Size, Messages int64
}

// AccountQuota is an account's use of its own root, for lists.
type AccountQuota struct {
	Account mailbox.AccountID
	QuotaRoot
	// Level is the highest of the levels told to the owner that it has passed, percent; 0 is none.
	Level int
}

// Difference is a counter that was not what the entries say. Mailbox 0 is the account's own.
type Difference struct {
	Mailbox mailbox.ID
	Name    string
	// Counter is messages, unseen, deleted or size.
	Counter string
	Was, Is int64
}

// QuotaNotice is an account whose owner is to be told that it has passed a level, or is below it again.
type QuotaNotice struct {
	AccountQuota
	// Previous is the level that the owner knows of.
	Previous int
	At       time.Time
}

// Quotas keeps limits and tells of their use. What Mailboxes adds is measured by them.
type Quotas interface {
	// Quota tells an account's roots, the account's own first, then by name; with a name only those that hold for that
	// mailbox. ErrNoMailbox.
	Quota(ctx context.Context, account mailbox.AccountID, name string) ([]QuotaRoot, error)
	// SetQuota sets the limits of an account, or with a name those of a mailbox and all below it; no limits remove the root.
	// ErrNoMailbox, ErrRoots.
	SetQuota(ctx context.Context, account mailbox.AccountID, name string, limits Limits) error
	// AccountQuotas tells accounts behind one, in the order of their ids, at most limit; Quota has their folders.
	AccountQuotas(ctx context.Context, after mailbox.AccountID, limit int) ([]AccountQuota, error)
	// AccountQuotasOf tells some accounts; those that were never touched are left out.
	AccountQuotasOf(ctx context.Context, accounts []mailbox.AccountID) ([]AccountQuota, error)
	// Recount makes the counters of an account and its mailboxes what the entries say, and tells the differences.
	Recount(ctx context.Context, account mailbox.AccountID) ([]Difference, error)
	// QuotaNotices tells at most limit notices, the oldest first.
	QuotaNotices(ctx context.Context, limit int) ([]QuotaNotice, error)
	// TellQuota files a message in INBOX whether or not there is room, and removes the notice, in one step. It tells false,
	// and does nothing, where the notice is not there any more or is of another level.
	TellQuota(ctx context.Context, n QuotaNotice, m Message) (AppendResult, bool, error)
}
