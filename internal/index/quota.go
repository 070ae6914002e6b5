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

// levelBand is by how many percent the use must fall below a level before it counts as below: mail that comes and goes there
// must not make a notice each time.
const levelBand = 3

// Level is the highest of levels, percent, that what is used has passed, where it was told before.
func (l *Limits) Level(levels []int, told int, used Limits) (level int) {
	share := 0.0
	if l.Size > 0 {
		share = 100 * float64(used.Size) / float64(l.Size)
	}
	if l.Messages > 0 {
		share = max(share, 100*float64(used.Messages)/float64(l.Messages))
	}
	for _, at := range levels {
		if share >= float64(at) || at <= told && share >= float64(at-levelBand) {
			level = max(level, at)
		}
	}
	return level
}

// Full tells whether there is no room for anything.
func (l *Limits) Full(used Limits) bool {
	return l.Size > 0 && used.Size >= l.Size || l.Messages > 0 && used.Messages >= l.Messages
}

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
	// Domain is that of its address, empty where it was not placed.
	Domain string
}

// DomainQuota has the limits of a domain, and what its accounts use.
type DomainQuota struct {
	Domain string
	// Limits hold for the sum over all accounts; 0 is none. Each are for accounts without limits of their own: 0 is the farm's
	// default, -1 is none.
	Limits, Each Limits
	// Accounts were placed in the domain, and use Size and Messages in all.
	Accounts, Size, Messages int64
	// Level is the highest share of its limits, percent, that was told; 0 is none.
	Level int
}

// DomainQuotas keeps limits of domains. The store does not know where accounts belong: it is told by Place.
type DomainQuotas interface {
	// SetDomainQuota sets a domain's limits; without any it has none.
	SetDomainQuota(ctx context.Context, domain string, limits, each Limits) error
	// DomainQuotas tells the domains that have limits, by name, as they are now.
	DomainQuotas(ctx context.Context) ([]DomainQuota, error)
	// DomainSums tells domains as writes know them, whose use may be a second old; those without limits are left out.
	DomainSums(ctx context.Context, domains []string) ([]DomainQuota, error)
	// Limited tells whether any domain has limits.
	Limited(ctx context.Context) (bool, error)
	// Place notes which domains accounts belong to, "" for none, and tells for how many that is new. One that was never touched
	// is made; those that were dropped are passed over.
	Place(ctx context.Context, accounts map[mailbox.AccountID]string) (changed int, err error)
	// TellDomain files a message in an account's INBOX, whether or not there is room, and notes the level as told, in one
	// step; it tells false, and does nothing, where another level than q.Level was told meanwhile. Without an account the level
	// alone is noted.
	TellDomain(ctx context.Context, q DomainQuota, level int, account mailbox.AccountID, m Message) (AppendResult, bool, error)
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
