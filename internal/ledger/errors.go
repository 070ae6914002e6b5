package ledger

import "errors"

// Errors that callers branch on.
var (
	// ErrNotFound is a message or recipient that the ledger does not know.
	ErrNotFound = errors.New("not in the ledger")
	// ErrInvalid is a request that can never be right: an id of the wrong length, a queued row without a destination.
	ErrInvalid = errors.New("invalid ledger request")
	// ErrFull is a ledger without room on its disk. Nothing was written: 452 4.3.1.
	ErrFull = errors.New("ledger is full")
)
