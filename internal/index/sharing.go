package index

import (
	"context"
	"errors"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// MaxACL is how many entries one access control list has.
const MaxACL = 256

// MaxKeptACL is how many entries an account has, in lists of mailboxes that are there or are kept, when a deleted mailbox's
// list is no longer kept with it.
const MaxKeptACL = 1 << 16

// ErrACL is a list that has MaxACL entries.
var ErrACL = errors.New("access control list is full")

// Sharing keeps who else than the owner may do what with mailboxes. Identifiers are as package acl stores them.
//
// Mailbox 0 stands for the whole account: what its list gives holds in every mailbox, also in those made later. A mailbox
// that is made below another begins with that one's list (RFC 4314 leaves it open; so do Dovecot and Cyrus). The list of
// one that was deleted is kept for Restore and gives nothing.
type Sharing interface {
	// ACL tells a mailbox's list, by identifiers. The mailbox is not looked for.
	ACL(ctx context.Context, account mailbox.AccountID, box mailbox.ID) ([]Grant, error)
	// SetACL writes entries of one list: an entry without rights goes. It tells the account's MODSEQ, which it does not
	// raise. ErrNoMailbox, ErrACL.
	SetACL(ctx context.Context, change ACLChange) (mailbox.ModSeq, error)
	// Access tells what identifiers have been given, or denied, in an account.
	Access(ctx context.Context, q AccessQuery) (Access, error)
	// Owners tells, by grantees' hints, which accounts have something for identifiers: in the order of their ids, those
	// above after, at most limit. One that is told may turn out to have nothing.
	Owners(ctx context.Context, identifiers []string, after mailbox.AccountID, limit int) ([]mailbox.AccountID, error)
	// Grantees tells all lists of an account, by mailbox and identifier.
	Grantees(ctx context.Context, account mailbox.AccountID) ([]Grant, error)
}

// Grant is one entry of a list.
type Grant struct {
	Mailbox    mailbox.ID
	Identifier string
	Rights     acl.Rights
}

// ACLMode is how an entry is changed.
type ACLMode uint8

// The modes; the numbers are mailfarm.store.v1.ACLMode's.
const (
	ReplaceRights ACLMode = 1
	AddRights     ACLMode = 2
	RemoveRights  ACLMode = 3
)

// ACLChange is a SETACL (RFC 4314 §3.1).
type ACLChange struct {
	Account mailbox.AccountID
	// Mailbox 0: the list of the whole account.
	Mailbox    mailbox.ID
	Identifier string
	Mode       ACLMode
	Rights     acl.Rights
}

// AccessQuery asks what identifiers have.
type AccessQuery struct {
	Account     mailbox.AccountID
	Identifiers []string
	// Box or Names narrow the answer, beside what holds for the whole account; neither asks for all mailboxes.
	Box   mailbox.ID
	Names []string
}

// Access is what was found: Named has those of the query's names that are mailboxes.
type Access struct {
	Grants []Grant
	Named  map[string]mailbox.ID
}

// Rights adds up what the grants give in a mailbox.
func (a *Access) Rights(box mailbox.ID) acl.Rights {
	var sum acl.Sum
	for _, g := range a.Grants {
		if g.Mailbox == 0 || g.Mailbox == box {
			sum.Add(g.Identifier, g.Rights)
		}
	}
	return sum.Rights()
}
