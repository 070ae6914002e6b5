package acl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Identifiers as they are stored. People are stored by their account's id: who gets an address anew inherits nothing.
const (
	// Anyone is everybody; we have no anonymous logins, so Authenticated is the same people.
	Anyone        = "anyone"
	Authenticated = "authenticated"
	userPrefix    = "user:"
	groupPrefix   = "group:"
	// negative takes rights away that others give (RFC 4314 §2).
	negative = "-"
)

// User is the identifier of an account.
func User(id mailbox.AccountID) string { return userPrefix + strconv.FormatUint(uint64(id), 16) }

// Group is the identifier of a group by its name.
func Group(name string) string { return groupPrefix + name }

// Negative is the identifier that takes away what identifier has.
func Negative(identifier string) string { return negative + identifier }

// Split tells a negative identifier's sign apart.
func Split(identifier string) (bare string, isNegative bool) {
	return strings.CutPrefix(identifier, negative)
}

// UserOf is the account that an identifier names, 0 where it names another kind.
func UserOf(identifier string) mailbox.AccountID {
	bare, _ := Split(identifier)
	hex, ok := strings.CutPrefix(bare, userPrefix)
	if !ok {
		return 0
	}
	id, err := strconv.ParseUint(hex, 16, 63)
	if err != nil {
		return 0
	}
	return mailbox.AccountID(id)
}

// GroupOf is the group that an identifier names, empty where it names another kind.
func GroupOf(identifier string) string {
	bare, _ := Split(identifier)
	name, _ := strings.CutPrefix(bare, groupPrefix)
	if name == bare {
		return ""
	}
	return name
}

// Kind is what a text that a user wrote for an identifier means; address and group are to be looked up.
type Kind uint8

// The kinds.
const (
	KindAnyone Kind = iota
	KindAuthenticated
	KindGroup
	KindUser
)

// ReadIdentifier takes apart an identifier as users write it: "bob@example.org", "anyone", "authenticated", "$staff", "group:staff",
// each with "-" before it to take rights away. name is the address or the group.
func ReadIdentifier(text string) (kind Kind, name string, isNegative bool, err error) {
	text, isNegative = Split(text)
	lower := strings.ToLower(text)
	switch {
	case text == "" || len(text) > 512:
		return 0, "", false, fmt.Errorf("%q is no identifier", text)
	case lower == Anyone:
		return KindAnyone, "", isNegative, nil
	case lower == Authenticated:
		return KindAuthenticated, "", isNegative, nil
	case strings.HasPrefix(text, "$"):
		return KindGroup, text[1:], isNegative, nil
	case strings.HasPrefix(lower, groupPrefix):
		return KindGroup, text[len(groupPrefix):], isNegative, nil
	}
	return KindUser, text, isNegative, nil
}

// Of are all identifiers by which lists name somebody, negative ones too.
func Of(id mailbox.AccountID, groups []string) []string {
	out := make([]string, 0, 2*(len(groups)+3))
	out = append(out, User(id), Anyone, Authenticated)
	for _, g := range groups {
		out = append(out, Group(g))
	}
	for _, one := range out {
		out = append(out, Negative(one))
	}
	return out
}

// Sum adds up what identifiers of one person have: all that is given, less all that is taken away.
type Sum struct{ Given, Taken Rights }

// Add counts one entry of a list.
func (s *Sum) Add(identifier string, r Rights) {
	if _, negative := Split(identifier); negative {
		s.Taken |= r
	} else {
		s.Given |= r
	}
}

// Rights is what is left.
func (s Sum) Rights() Rights { return s.Given &^ s.Taken }
