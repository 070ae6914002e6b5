package index

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. Nothing was changed when one of them is returned. After any other error (a deadline,
// say) the outcome is unknown.
var (
	// ErrNoMailbox is a mailbox that is not there, by name or by id.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrExists is a mailbox of that name, or one of that special use, that is there already.
	ErrExists = errors.New("mailbox exists already")
	// ErrNoAccount is an account id that no account can have: 0, or 2^63 and above; and one that was dropped.
	ErrNoAccount = errors.New("no such account")
	// ErrDropped is ErrNoAccount for an account that the directory has forgotten for good. It never comes back.
	ErrDropped = fmt.Errorf("%w: it was removed for good", ErrNoAccount)
	// ErrOverQuota is an account without room for what is to be added.
	ErrOverQuota = errors.New("account is over its quota")
	// ErrKeywords is a mailbox whose keywords are all taken (mailbox.MaxKeywords).
	ErrKeywords = errors.New("mailbox has no room for another keyword")
	// ErrMailboxes is an account with MaxMailboxes mailboxes.
	ErrMailboxes = errors.New("account has no room for another mailbox")
	// ErrRefused is what may not be done with this mailbox: INBOX is never deleted, and no mailbox moves below itself.
	ErrRefused = errors.New("not allowed with this mailbox")
	// ErrCondemned is a body that is about to be removed from the blob store for good.
	ErrCondemned = errors.New("message is being removed")
	// ErrFull is a database without room on its disk; it works again once there is room.
	ErrFull = errors.New("index has no room left on its disk")
	// ErrUIDs is a mailbox that has given its last UID.
	ErrUIDs = errors.New("mailbox has no UID left")
)
