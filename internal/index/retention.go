package index

import (
	"context"
	"errors"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// ErrHeld is an account under legal hold: nothing of it is purged or dropped.
var ErrHeld = errors.New("account is under legal hold")

// ErrDropping is an account that the directory is forgetting or has forgotten: it is too late to hold it.
var ErrDropping = errors.New("account is being dropped")

// ErrNobody is an account that the directory does not know, as one that is being put back: a rule of its domain may keep what is in it.
var ErrNobody = errors.New("the directory does not know whose account it is")

// Kind is how an entry left its mailbox. The numbers are the database's.
type Kind uint8

// The kinds.
const (
	Expunged Kind = 1
	// Moved lies in another mailbox since.
	Moved Kind = 2
	// Deleted went with its mailbox.
	Deleted Kind = 3
)

// Retention keeps what was removed from mailboxes, brings it back, and ends its time. Entries that left a mailbox are kept
// with flags and times by the same step that takes them out; what is kept names its emails, so that neither they nor their
// bodies are freed. It does not count towards quota.
type Retention interface {
	// Removed tells what was taken out of an account's mailboxes, the latest first.
	Removed(ctx context.Context, q RemovedQuery) ([]RemovedRow, error)
	// RemovedMailboxes tells the mailboxes that were deleted and are kept, the latest first. Their access control lists are
	// kept as long, up to MaxKeptACL entries of an account in all.
	RemovedMailboxes(ctx context.Context, account mailbox.AccountID) ([]RemovedMailbox, error)
	// Placed tells which of emails have an entry in some mailbox of the account.
	Placed(ctx context.Context, account mailbox.AccountID, emails []mailbox.EmailID) (map[mailbox.EmailID]bool, error)
	// Restore puts entries into a mailbox that does not have their emails, making it where it is not there. Where emails lie
	// is looked up in the same step, so that neither a repeat nor two at once file one twice. All or nothing; ErrOverQuota,
	// ErrMailboxes, ErrCondemned.
	Restore(ctx context.Context, r Restore) (RestoreResult, error)

	// Kept sums up what is kept of an account.
	Kept(ctx context.Context, account mailbox.AccountID) (Kept, error)
	// Purge looks through at most limit accounts that are due, and ends the time of what rules no longer keep: emails go
	// that nothing names any more. Accounts under legal hold are passed over. more is true where it stopped at limit. An account that fails is
	// put off for an hour, and the others are done; the error tells of it.
	Purge(ctx context.Context, rules Rules, limit int) (purged Purged, more bool, err error)

	// Hold puts an account under legal hold, or with hold false lets go of it. ErrDropping from Forgetting on.
	Hold(ctx context.Context, account mailbox.AccountID, reason string, hold bool) error
	// Holds lists the accounts under legal hold; with account, whether that one is.
	Holds(ctx context.Context, account mailbox.AccountID) ([]Hold, error)
	// SetRule says for how long something is kept, or with a negative time that no rule of its own is.
	SetRule(ctx context.Context, rule RetentionRule) error
	// Rules lists all rules.
	Rules(ctx context.Context) ([]RetentionRule, error)

	// SetExpireRule sets the rule of a key. ErrExpireRules.
	SetExpireRule(ctx context.Context, rule ExpireRule) error
	// DropExpireRule removes a rule, and tells whether there was one.
	DropExpireRule(ctx context.Context, key ExpireKey) (found bool, err error)
	// ExpireRules lists all, in the order of their keys.
	ExpireRules(ctx context.Context) ([]ExpireRule, error)

	// Accounts lists accounts behind one, by id.
	Accounts(ctx context.Context, after mailbox.AccountID, limit int) ([]mailbox.AccountID, error)
	// Mark notes, where keep is set, that a mailbox's UIDNEXT is next now, and tells the highest one that was noted at or before a time:
	// entries with lower UIDs have been there since. 0 where nothing is known from so long ago.
	Mark(ctx context.Context, account mailbox.AccountID, mbox mailbox.ID, next mailbox.UID, before time.Time, keep bool) (mailbox.UID, error)

	// BeginDrop notes that an account is about to be dropped. ErrHeld.
	BeginDrop(ctx context.Context, account mailbox.AccountID, removed time.Time) error
	// Dropping lists those noted whose rows are not all gone.
	Dropping(ctx context.Context) ([]Dropping, error)
	// Forgetting notes that the directory is about to be told to forget an account that was noted: from then on it cannot
	// come under legal hold, and nothing is written to it (ErrDropping), unless Keep is called. ErrHeld.
	Forgetting(ctx context.Context, account mailbox.AccountID) error
	// Forgotten notes that the directory has forgotten an account after Forgetting; Keep that it is not to be
	// dropped after all, which it must not be once it was forgotten.
	Forgotten(ctx context.Context, account mailbox.AccountID) error
	Keep(ctx context.Context, account mailbox.AccountID) error
	// Drop removes some of the rows of an account that was forgotten, at most limit chunks of entries, and tells whether all are
	// gone. ErrHeld. From Forgotten on and for ever, what is written to the account fails with ErrDropped.
	Drop(ctx context.Context, account mailbox.AccountID, limit int) (done bool, err error)
}

// RemovedQuery asks for what was removed.
type RemovedQuery struct {
	Account mailbox.AccountID
	// Mailbox 0: of all.
	Mailbox mailbox.ID
	// Since and Until bound the time of removal where they are set: Since ≤ time < Until.
	Since, Until time.Time
	// After is the last row that was seen; the zero value begins.
	After RowID
	// Limit is how many rows are told.
	Limit int
	// NoMoved leaves out what was moved to another mailbox.
	NoMoved bool
}

// RowID names a row of what was removed within its account.
type RowID struct {
	ModSeq  mailbox.ModSeq
	Mailbox mailbox.ID
	Part    int
}

// RemovedRow is up to mailbox.ChunkSize entries that were taken out of a mailbox at once.
type RemovedRow struct {
	RowID
	Kind    Kind
	Removed time.Time
	// What the mailbox was then.
	Name       string
	SpecialUse string
	UIDNext    mailbox.UID
	Keywords   []string
	// Entries are as they were; MaxModSeq is not set.
	Entries mailbox.Packed
}

// RemovedMailbox is a mailbox that was deleted; UIDNEXT and the counters are those it had.
type RemovedMailbox struct {
	Mailbox
	Removed time.Time
}

// Restore is what is to be brought back.
type Restore struct {
	Account mailbox.AccountID
	// Target is a mailbox's name. Where it is made, it gets SpecialUse unless another mailbox has that, and Subscribed, and
	// the access control list and the annotations that the deleted mailbox From had; with From 0 it has none, whatever the one above has.
	Target     string
	From       mailbox.ID
	SpecialUse string
	Subscribed bool
	// Anyway: whatever the limits on messages and octets are.
	Anyway bool
	// Entries come in the order of their new UIDs. Without any, the mailbox alone is made.
	Entries []RestoreEntry
}

// RestoreEntry is one message.
type RestoreEntry struct {
	Email mailbox.EmailID
	// Beside tells that it is wanted in the mailbox though another one of the account has it too.
	Beside bool
	// Flags by name; \Deleted is left out, since the next EXPUNGE would take the message away again.
	Flags    []string
	Size     int64
	Received int64 // seconds since 1970 UTC
}

// RestoreResult tells what Restore did.
type RestoreResult struct {
	Mailbox  mailbox.ID
	ModSeq   mailbox.ModSeq
	Made     bool // the mailbox
	Restored []mailbox.EmailID
	// Present were in the mailbox already, or in another one and not wanted beside it, and Gone are not kept any more.
	Present, Gone []mailbox.EmailID
}

// Kept is what is kept of an account.
type Kept struct {
	Entries int64
	// Octets are those of expunged messages; what was moved elsewhere counts there.
	Octets int64
}

// Rules say for how long what was removed is kept. Of an account's rules the most special counts: those of the account
// before those of its domain, one of a folder before one of all folders, and the default last.
type Rules struct {
	// Now is the time that ages are told from.
	Now time.Time
	// Keep is the default, and Folders are defaults for folders by name or special use.
	Keep    time.Duration
	Folders map[string]time.Duration
	// Domain tells an account's domain, "" where it is known to have none; an error keeps all of that account's. ErrNobody is not
	// told by Purge: the account is looked at again later.
	Domain func(context.Context, mailbox.AccountID) (string, error)
	// MaxOctets bounds what is kept of one account: the oldest goes before its time beyond that. 0: no bound.
	MaxOctets int64
	// Every is how long an account is left alone after a look.
	Every time.Duration
}

// RetentionRule is one of an operator's.
type RetentionRule struct {
	// Account 0: Domain counts.
	Account mailbox.AccountID
	Domain  string
	// Folder is a name or a special use; empty: all.
	Folder string
	Keep   time.Duration
}

// KeepFor is how long what was removed from a folder is kept.
func (r *Rules) KeepFor(own []RetentionRule, account mailbox.AccountID, domain, folder, specialUse string) time.Duration {
	best, rank := r.Keep, 0
	consider := func(keep time.Duration, at int) {
		if at > rank || at == rank && keep > best {
			best, rank = keep, at
		}
	}
	for name, keep := range r.Folders {
		if matches(name, folder, specialUse) {
			consider(keep, 1)
		}
	}
	for i := range own {
		o := &own[i]
		at := 2
		switch {
		case o.Account == account:
			at = 4
		case o.Account != 0 || domain == "" || o.Domain != domain:
			continue
		}
		switch {
		case o.Folder == "":
			consider(o.Keep, at)
		case matches(o.Folder, folder, specialUse):
			consider(o.Keep, at+1)
		}
	}
	return best
}

// matches tells whether a rule's folder is one of this name or special use.
func matches(rule, folder, specialUse string) bool {
	return rule == folder || specialUse != "" && rule == specialUse
}

// Hold is an account under legal hold.
type Hold struct {
	Account mailbox.AccountID
	Set     time.Time
	Reason  string
}

// Purged is what Purge removed.
type Purged struct {
	Accounts, Rows, Entries, Emails int
}

// Dropping is an account that is about to be dropped.
type Dropping struct {
	Account   mailbox.AccountID
	Removed   time.Time
	Forgotten bool
}
