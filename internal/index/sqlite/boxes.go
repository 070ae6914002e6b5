package sqlite

import (
	"slices"
	"sync"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// boxesOctets is how much memory the rows of mailboxes take that are remembered, octets at most: some 20,000 rows, each of another
// account.
const boxesOctets = 16 << 20

// knownBoxCost and knownAccountCost are about what a row costs beside its texts, and an account beside its rows, octets;
// keywordCost is that of a keyword.
const (
	knownBoxCost     = 350
	knownAccountCost = 450
	keywordCost      = 16
)

// knownBoxes remembers the rows of mailboxes as they were read last: whoever asks whether something is new needs no question
// to the database where nothing is, which is what most ask.
//
// That is exact because this process alone writes to the file: a write tells which rows it saves, and of which accounts it changes
// more; the former are known, and the latter forgotten, before it returns. What is remembered is as of the last transaction that has returned, or later.
type knownBoxes struct {
	mu sync.Mutex
	// turns counts the transactions that changed something: what was read before the last one may be old.
	turns    uint64                              // guarded by mu
	accounts map[mailbox.AccountID]*knownAccount // guarded by mu
	octets   int64                               // of accounts, about; guarded by mu
}

// knownAccount is what is remembered of an account. Subscribed and Children are of other rows of the same account.
type knownAccount struct {
	boxes map[mailbox.ID]*knownBox
	names map[string]*knownBox
	// octets is what it costs, about.
	octets int64
}

// knownBox is the row of a mailbox. Nobody changes it.
type knownBox struct {
	index.Found
	purged mailbox.ModSeq
}

// cost is about what a row costs, octets.
func (b *knownBox) cost() int64 {
	n := knownBoxCost + int64(len(b.Name)+len(b.SpecialUse))
	for _, word := range b.Keywords {
		n += keywordCost + int64(len(word))
	}
	return n
}

// unchanged tells whether a snapshot has nothing but the row.
func (b *knownBox) unchanged(q index.SnapshotQuery) bool {
	return q.Since > 0 && q.Since == b.HighestModSeq && q.Since >= b.purged && q.Reader.Account == 0 && !(q.TakeRecent && b.RecentUID < b.UIDNext)
}

// now is the turn as of which what is read from now on may be kept.
func (k *knownBoxes) now() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.turns
}

// keep remembers a row that was read after turn, unless something was written meanwhile.
func (k *knownBoxes) keep(turn uint64, account mailbox.AccountID, b knownBox) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.turns != turn {
		return
	}
	if k.octets+knownAccountCost+b.cost() > boxesOctets {
		k.clear()
	}
	a := k.accounts[account]
	if a == nil {
		a = &knownAccount{map[mailbox.ID]*knownBox{}, map[string]*knownBox{}, knownAccountCost}
		if k.accounts == nil {
			k.accounts = map[mailbox.AccountID]*knownAccount{}
		}
		k.accounts[account] = a
		k.octets += a.octets
	}
	k.put(a, &b)
}

// put has a row in the place of the one of before; mu is held.
func (k *knownBoxes) put(a *knownAccount, b *knownBox) {
	more := b.cost()
	if old := a.boxes[b.ID]; old != nil {
		more -= old.cost()
	}
	a.boxes[b.ID], a.names[b.Name] = b, b
	a.octets += more
	k.octets += more
}

// box gives the row of a mailbox.
func (k *knownBoxes) box(account mailbox.AccountID, id mailbox.ID) (b knownBox, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.accounts[account]; a != nil && a.boxes[id] != nil {
		return a.boxes[id].copied(), true
	}
	return b, false
}

// found gives mailboxes by names and by ids, where all of them are known.
func (k *knownBoxes) found(account mailbox.AccountID, names []string, ids []mailbox.ID) ([]index.Found, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.accounts[account]
	if a == nil {
		return nil, false
	}
	list := make([]index.Found, 0, len(names)+len(ids))
	for _, name := range names {
		b := a.names[name]
		if b == nil {
			return nil, false
		}
		list = append(list, b.copied().Found)
	}
	for _, id := range ids {
		b := a.boxes[id]
		if b == nil {
			return nil, false
		}
		list = append(list, b.copied().Found)
	}
	return list, true
}

// copied is a row that its reader may do with what he likes.
func (b *knownBox) copied() knownBox {
	c := *b
	c.Keywords = slices.Clone(b.Keywords)
	return c
}

// changes are of what a write changes in the tables of mailboxes and subscriptions, in its order, as Tx.Tell has it.
type changes struct {
	list []change
	any  bool
}

// change is of an account; box is nil unless nothing but its row is saved, as it is there.
type change struct {
	account mailbox.AccountID
	box     *index.Mailbox
}

// of tells of an account that more is changed than is known.
func (c *changes) of(a mailbox.AccountID) { c.list = append(c.list, change{account: a}) }

// saved tells that a row is saved.
func (c *changes) saved(a mailbox.AccountID, b *index.Mailbox) {
	m := *b
	m.Keywords = slices.Clone(b.Keywords)
	c.list = append(c.list, change{a, &m})
}

// ofAny tells that it may be any account.
func (c *changes) ofAny() { c.any = true }

// ended takes what a transaction changed; all is forgotten where a write did not tell what that is.
func (k *knownBoxes) ended(told []any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	turned := false
	for _, t := range told {
		c, ok := t.(*changes)
		if !ok || c.any {
			k.clear()
			turned = true
			continue
		}
		for _, what := range c.list {
			k.change(what)
			turned = true
		}
	}
	if turned {
		k.turns++
	}
}

// change saves a row that is known, or forgets an account; mu is held.
func (k *knownBoxes) change(c change) {
	a := k.accounts[c.account]
	switch {
	case a == nil:
	case c.box == nil:
		k.octets -= a.octets
		delete(k.accounts, c.account)
	default:
		if old := a.boxes[c.box.ID]; old != nil {
			b := *old
			b.Mailbox = *c.box
			b.Subscribed = old.Subscribed
			if k.put(a, &b); k.octets > boxesOctets {
				k.clear()
			}
		}
	}
}

// clear forgets all; mu is held.
func (k *knownBoxes) clear() {
	clear(k.accounts)
	k.octets = 0
}
