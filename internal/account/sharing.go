package account

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// MaxGroupName is the longest name of a group, octets; MaxMembers is how many accounts one call adds or removes.
const (
	MaxGroupName = 64
	MaxMembers   = 1000
)

// Group is accounts under a name, which access control lists refer to.
type Group struct {
	// Name is as ParseGroup makes it.
	Name string
	// Members are canonical addresses, in their order.
	Members []string
}

// Identity is what access control lists ask of an account.
type Identity struct {
	Account mailbox.AccountID
	Address string
	// Shared is a mark of the operator: nobody's own account, but one that several work in.
	Shared bool
	// Groups are the names of those that it is a member of, in their order.
	Groups []string
}

// Sharing is the part of the directory that sharing needs. Groups are of account ids, so that a new account does not inherit
// what one with the same address had.
type Sharing interface {
	// AddToGroup makes a group and adds members; those who are some already stay. ErrNotFound names an address that is no
	// account.
	AddToGroup(ctx context.Context, name string, addresses []string) error
	// RemoveFromGroup takes members out, or removes the group where none are given. ErrNotFound.
	RemoveFromGroup(ctx context.Context, name string, addresses []string) error
	// ListGroups lists all groups by name.
	ListGroups(ctx context.Context) ([]Group, error)
	// HasGroup tells whether there is a group.
	HasGroup(ctx context.Context, name string) (bool, error)
	// SetShared marks an account or takes the mark away. ErrNotFound.
	SetShared(ctx context.Context, address string, shared bool) error
	// Identities tells of accounts by their ids, in the order asked, in one snapshot; Account is 0 for what is not there.
	Identities(ctx context.Context, ids []mailbox.AccountID) ([]Identity, error)
}

// ParseGroup reads the name of a group: letters, digits, ".", "-" and "_", in lower case.
func ParseGroup(s string) (string, error) {
	s = fold(s)
	if s == "" || len(s) > MaxGroupName || !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is no name for a group: it has 1 to %d octets of UTF-8", s, MaxGroupName)
	}
	for _, c := range s {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(".-_", c) {
			return "", fmt.Errorf("%q is no name for a group: %q is no letter, digit, \".\", \"-\" or \"_\"", s, c)
		}
	}
	return s, nil
}

// InOrder gives what was found in the order in which it was asked for.
func InOrder(ids []mailbox.AccountID, found map[mailbox.AccountID]*Identity) []Identity {
	out := make([]Identity, len(ids))
	for i, id := range ids {
		if v := found[id]; v != nil {
			out[i] = *v
		}
	}
	return out
}
