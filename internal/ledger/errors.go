package ledger

import "errors"

// Errors that callers branch on.
var (
	// ErrNotFound is a message or recipient that the ledger does not know.
	ErrNotFound = errors.New("not in the ledger")
	// ErrInvalid is a request that can never be right: an id of the wrong length, a queued row without a destination.
	ErrInvalid = errors.New("invalid ledger request")
)
