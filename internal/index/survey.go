package index

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Survey tells what there is, for whoever keeps something of every email elsewhere and may have missed a notice.
type Survey interface {
	// ModSeqs tells accounts behind one, with their MODSEQ, in ascending order and at most limit.
	ModSeqs(ctx context.Context, after mailbox.AccountID, limit int) ([]SurveyedAccount, error)
	// EmailIDs tells an account's emails behind one, in ascending order and at most limit. What is kept for undelete is among
	// them.
	EmailIDs(ctx context.Context, account mailbox.AccountID, after mailbox.EmailID, limit int) ([]mailbox.EmailID, error)
	// CountEmails tells how many there are.
	CountEmails(ctx context.Context, account mailbox.AccountID) (int64, error)
}

// SurveyedAccount is an account as Survey tells it. ModSeq grows with whatever comes to it.
type SurveyedAccount struct {
	Account mailbox.AccountID
	ModSeq  mailbox.ModSeq
}
