package index

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Check is what looks for damage in the rows of accounts, beside what Mailboxes tells.
type Check interface {
	// Sums compares, in one snapshot, what rows of an account sum up with what they stand for.
	Sums(ctx context.Context, account mailbox.AccountID) (Sums, error)
	// Orphans tells emails behind one that nothing names: no entry, and nothing that is kept. They are at most limit, of so many
	// emails that were looked at; last is the last of those, and more tells that there are others. Their part indexes are
	// not read.
	Orphans(ctx context.Context, account mailbox.AccountID, after mailbox.EmailID, limit int) (orphans []Email, last mailbox.EmailID, more bool, err error)
	// Recount writes the counters of an account and its mailboxes as their entries are, raises UIDNEXT and MODSEQs that are
	// below those that were given, and tells what it changed.
	Recount(ctx context.Context, account mailbox.AccountID) (mended []string, err error)
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
