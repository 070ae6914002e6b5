// Package account holds the nouns of the directory, domains, accounts and aliases, and the interface of what stores them.
//
// Addresses come in many spellings; those with which this package deals are canonical: ParseAddress makes them.
package account

import (
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Domain is one that the farm is responsible for.
type Domain struct {
	// Name is as ParseDomain makes it.
	Name string
	// CatchAll is the canonical address that receives what has no account or alias; empty: refused.
	CatchAll string
	Created  time.Time
}

// Account is the owner of mailboxes.
type Account struct {
	ID mailbox.AccountID
	// Address is canonical.
	Address string
	// Credential is credential.Credential's text form.
	Credential string
	// Version grows whenever the account or its credential changes; no two states of an account share one.
	Version  uint64
	Created  time.Time
	Disabled bool
}

// Domain is the part of the address behind the @.
func (a *Account) Domain() string { return domainOf(a.Address) }

// Alias is an address that stands for others.
type Alias struct {
	// Address is canonical, or a bare local-part (BareAlias) that holds in every domain.
	Address string
	// Targets are canonical addresses, here or elsewhere.
	Targets []string
}

// Domain is the part of the address behind the @; empty for an alias that holds in every domain.
func (a *Alias) Domain() string { return domainOf(a.Address) }

// domainOf is what follows the last "@" of a canonical address; a bare quoted local-part ends in a quote and has none.
func domainOf(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || strings.HasSuffix(address, `"`) {
		return ""
	}
	return address[at+1:]
}

// Key names what to look up; make one by DomainKey, AddressKey or BareKey.
type Key string

// PrimaryDomain finds the domain that was added first: what "postmaster" without a domain belongs to (RFC 5321 §4.5.1).
const PrimaryDomain Key = "@"

// DomainKey finds a domain by its canonical name.
func DomainKey(name string) Key { return Key("@" + name) }

// AddressKey finds an account or alias.
func AddressKey(a Address) Key { return Key(a.String()) }

// BareKey finds an alias that holds in every domain.
func BareKey(local string) Key { return Key(BareAlias(local)) }

// BareAlias is the address of an alias that holds in every domain; local is as ParseLocal makes it.
func BareAlias(local string) string { return quoteLocal(local) }

// IsDomain tells whether the key finds domains.
func (k Key) IsDomain() bool { return strings.HasPrefix(string(k), "@") }

// Record is what a key finds: at most one of the three.
type Record struct {
	Domain  *Domain
	Account *Account
	Alias   *Alias
}
