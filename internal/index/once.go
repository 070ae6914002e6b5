package index

import (
	"context"
	"errors"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// OperationAge is for how long an operation is remembered: longer than anybody repeats a call.
const OperationAge = 24 * time.Hour

// ErrNoMessage is a message that is not in its mailbox any more.
var ErrNoMessage = errors.New("no such message")

// Operation names a call, so that its repeat after a lost answer is known for one; the zero Operation names none.
type Operation [16]byte

// forgetEvery is how many operations there are to one that forgets those of its account that are too old: to look for them takes
// as long as there are rows of a day.
const forgetEvery = 64

// Forgets tells whether the note of this operation is when those of its account are forgotten that are older than OperationAge. Names
// are random, so that one in forgetEvery does.
func (op Operation) Forgets() bool { return op[len(op)-1]%forgetEvery == 0 }

// Once is what an append may be beside adding messages.
type Once struct {
	Operation Operation
	// Source, where it is set, are the UIDs in another account that the messages are copies of, in their order.
	Source mailbox.UIDSet
	// Replace and ReplaceUID, where they are set, are a message that goes as the new ones come (RFC 8508).
	Replace    mailbox.ID
	ReplaceUID mailbox.UID
	// Reader, where it is set, is who adds them: flags that are his own are his alone, and are so in the same step.
	Reader Reader
}

// OnceResult is where messages are, and which they are copies of.
type OnceResult struct {
	// Mailbox is 0 where an operation is told of whose mailbox is not there any more.
	AppendResult
	// Source is that of the call that was done.
	Source mailbox.UIDSet
}

// Appender adds messages once, however often a call is repeated.
type Appender interface {
	// AppendOnce is Append; a repeat of an operation changes nothing and tells the same mailbox and UIDs. What is replaced is
	// removed in the same step. The errors are Append's, ErrNoMailbox also for the mailbox of what is replaced, and ErrNoMessage.
	AppendOnce(ctx context.Context, account mailbox.AccountID, name string, messages []Message, once Once) (OnceResult, error)
	// Done tells the outcome of an operation without MODSEQ, and whether it was done.
	Done(ctx context.Context, account mailbox.AccountID, op Operation) (OnceResult, bool, error)
}
