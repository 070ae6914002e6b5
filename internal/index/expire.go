package index

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// MaxExpireRules bounds the rules that are kept.
	MaxExpireRules = 10_000
	// EveryFolder as the folder of a rule is all of them.
	EveryFolder = "*"
)

// ErrExpireRules are MaxExpireRules that are there already.
var ErrExpireRules = errors.New("no room for another rule of expiry")

// ExpireRule empties folders of what is old. A message goes when all that the rule asks holds of it.
type ExpireRule struct {
	ExpireKey
	// OlderThan is an age: of the message in this folder, or with Received by its INTERNALDATE.
	OlderThan time.Duration
	Received  bool
	// LargerThan is a size, octets.
	LargerThan int64
	// Flag must be set, and NoFlag must not.
	Flag, NoFlag string
	// Keep are so many of the latest messages of the folder, which stay in any case.
	Keep int
	// Never spares the folder: rules that are more general do not count for it.
	Never bool
	// Number is that of a rule of the configuration, from 1; 0 for those that are kept here.
	Number int
}

// ExpireKey names a rule.
type ExpireKey struct {
	// Account 0: Domain counts, and where that is empty the rule is for all.
	Account mailbox.AccountID
	Domain  string
	// Folder is a name, a special use or EveryFolder.
	Folder string
	// Name tells rules of one folder apart; it may be empty.
	Name string
}

// ExpireFor are the rules that count for a folder: of those that are for it the most special ones. Rules of an account come before those
// of its domain, those before rules for all, and the configuration's last; among them one of a folder before one of all folders.
func ExpireFor(rules []ExpireRule, account mailbox.AccountID, domain, folder, specialUse string) (list []*ExpireRule) {
	best := 0
	for i := range rules {
		r := &rules[i]
		rank := 5
		switch {
		case r.Number > 0:
			rank = 1
		case r.Account != 0 && r.Account == account:
			rank = 7
		case r.Account != 0:
			continue
		case r.Domain != "" && r.Domain != domain:
			continue
		case r.Domain == "":
			rank = 3
		}
		switch {
		case r.Folder == EveryFolder:
		case matches(r.Folder, folder, specialUse):
			rank++
		default:
			continue
		}
		if rank > best {
			best, list = rank, nil
		}
		if rank == best {
			list = append(list, r)
		}
	}
	if slices.ContainsFunc(list, func(r *ExpireRule) bool { return r.Never }) {
		return nil
	}
	return list
}

// Compare orders keys as lists tell them.
func (k ExpireKey) Compare(other ExpireKey) int {
	return cmp.Or(cmp.Compare(k.Account, other.Account), cmp.Compare(k.Domain, other.Domain), cmp.Compare(k.Folder, other.Folder), cmp.Compare(k.Name, other.Name))
}
