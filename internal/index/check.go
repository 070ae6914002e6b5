package index

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Check is what looks for damage in the rows of accounts, beside what Mailboxes tells.
type Check interface {
	// Sums compares, in one snapshot, what rows of an account sum up with what they stand for.
	Sums(ctx context.Context, account mailbox.AccountID) (Sums, error)
	// Orphans tells emails behind one that nothing names: no entry of a mailbox that is there, and nothing that is kept. Whether
	// a message that was moved is named by having been moved is for moved to say: it should lie where it was moved to, or
	// have been removed from there. They are at most limit, of so many emails that were looked at; last is the last of
	// those, and more tells that there are others. Their part indexes are not read.
	Orphans(ctx context.Context, account mailbox.AccountID, after mailbox.EmailID, limit int, moved bool) (orphans []Email, last mailbox.EmailID, more bool, err error)
	// Strays tells the mailboxes that have entries and are not there themselves.
	Strays(ctx context.Context, account mailbox.AccountID) ([]Stray, error)
	// Refile takes entries away from mailboxes that are not there, of at most limit chunks behind one, and puts them at the end of
	// a mailbox that is made where it is not there, with their system flags and whatever the limits are. What cannot be read
	// stays. ErrMailboxes, ErrCondemned: nothing is changed.
	Refile(ctx context.Context, account mailbox.AccountID, target string, after ChunkID, limit int) (Refiled, error)
	// Lose removes the entries of emails from a mailbox that have no row, for which a reader is told that they were expunged,
	// and tells their UIDs. Nothing is kept of them, and an import brings them again. ErrNoMailbox.
	Lose(ctx context.Context, account mailbox.AccountID, box mailbox.ID, emails []mailbox.EmailID) (ExpungeResult, error)
	// Given tells which numbers an account is known to have given, beside those of its entries.
	Given(ctx context.Context, account mailbox.AccountID) (*Given, error)
	// Recount writes the counters of an account and its mailboxes as their entries are, raises UIDNEXT and MODSEQs that are
	// below those that were given, and tells what it changed. A mailbox that may have given UIDs of which nothing is known
	// any more gets a new UIDVALIDITY (RFC 9051 §2.3.1.1).
	Recount(ctx context.Context, account mailbox.AccountID) (mended []string, err error)
}

// Given are numbers that are not to be given again.
type Given struct {
	// ModSeq and UIDValidity are the greatest.
	ModSeq      mailbox.ModSeq
	UIDValidity mailbox.UIDValidity
	Boxes       map[mailbox.ID]BoxGiven
}

// BoxGiven are those of a mailbox: its UIDNEXT and HIGHESTMODSEQ are not below these.
type BoxGiven struct {
	UIDNext mailbox.UID
	ModSeq  mailbox.ModSeq
	// Far is how many rows tell numbers that are not to be believed (NearUID, NearModSeq).
	Far int
	// All tells that whatever UIDs it gave that its entries do not have are known, unless entries are missing.
	All bool
}

// Stray is a mailbox without a row. Messages are the entries that can be read, and Broken the chunks that cannot.
type Stray struct {
	Mailbox  mailbox.ID
	Messages int
	Broken   int
}

// ChunkID names a chunk within its account.
type ChunkID struct {
	Mailbox  mailbox.ID
	FirstUID mailbox.UID
}

// Refiled is what Refile did: Last is the last chunk that was looked at, and More tells that there may be others.
type Refiled struct {
	RestoreResult
	Last ChunkID
	More bool
}

// Sums are rows that sum others up, with what they should say.
type Sums struct {
	Messages, WantMessages int64
	Size, WantSize         int64
	Kept, WantKept         Kept
	// ModSeq is the account's, and Highest the greatest of its mailboxes.
	ModSeq, Highest mailbox.ModSeq
}

// Right tells whether all sums are.
func (s *Sums) Right() bool {
	return s.Messages == s.WantMessages && s.Size == s.WantSize && s.Kept == s.WantKept && s.Highest <= s.ModSeq
}

// How far behind what is known a number may be that a single row tells: further than restores jump, several of them too. A row
// that is damaged and can be read tells any, and no account is to lose its room for numbers by it.
const (
	maxUIDStep    = 1 << 24
	maxModSeqStep = 1 << 40
)

// NearUID tells whether a UIDNEXT is to be believed where known is known, and NearModSeq whether a MODSEQ is.
func NearUID(known, next mailbox.UID) bool {
	return next <= known || next-known <= maxUIDStep && next <= MaxKeptUID
}

// NearModSeq is NearUID of a MODSEQ.
func NearModSeq(known, seq mailbox.ModSeq) bool {
	return seq <= known || seq-known <= maxModSeqStep
}
