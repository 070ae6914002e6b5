// Package unit is what a write to mailboxes does, whatever database the rows are in: which UIDs, MODSEQs, chunks and
// counters come out of it. Rows are read once, changed in memory, and written by Flush.
package unit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Shared is what the writes of a database share.
type Shared struct {
	// QuotaSize and QuotaMessages are the defaults for accounts without a quota of their own; 0 is none.
	QuotaSize, QuotaMessages int64
	// QuotaLevels are the shares of an account's limits, percent, of which its owner is told when he passes them.
	QuotaLevels []int
	// Domains are what the accounts of domains use.
	Domains DomainSums
	// Fault, where it is set, is asked between the steps of a write; an error makes the write fail there. For tests.
	Fault func(step string) error
	ids   mailbox.IDs
	// chunks keeps the memory of unpacked chunks.
	chunks sync.Pool
}

// chunk gives an empty chunk.
func (s *Shared) chunk() *mailbox.Chunk {
	if c, ok := s.chunks.Get().(*mailbox.Chunk); ok {
		c.Reset()
		return c
	}
	return &mailbox.Chunk{}
}

// Step is a place between two steps of a write, where tests let the process die or the write fail.
func (s *Shared) Step(name string) error {
	fault.Point(name)
	if s.Fault != nil {
		if err := s.Fault(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Unit is one write and what it has read so far. It is used by one goroutine at a time, within one transaction.
type Unit struct {
	*Shared
	Rows Rows
	Now  time.Time
	// Began is when the call began, by the clock that sums of domains are read by.
	Began    time.Time
	accounts []*Account
	// stale are domains whose sums are to be read before the write can be done.
	stale []string
	// keys are the message ids of what is to be filed.
	keys map[*index.Message][]ThreadKey
}

// Account is an account's row within a unit.
type Account struct {
	ID          mailbox.AccountID
	ModSeq      mailbox.ModSeq
	UIDValidity mailbox.UIDValidity
	Messages    int64
	Size        int64
	QuotaSize   int64
	QuotaCount  int64
	// QuotaLevel is the highest of Shared.QuotaLevels that was passed; QuotaRoots is how many folders have limits.
	QuotaLevel, QuotaRoots int
	// Domain is that of its address.
	Domain Domain
	// before is what was used before the unit, and asked what it asked room for in the domain.
	before, asked index.Limits
	// touched tells that ModSeq was raised in this unit.
	touched bool
	// dirty tells that the row must be written although MODSEQ was not raised.
	dirty bool
	boxes []*Box
}

// Account reads an account's row once; an account that was never touched is made.
func (u *Unit) Account(id mailbox.AccountID) (*Account, error) {
	for _, a := range slices.Backward(u.accounts) { // a batch comes in their order
		if a.ID == id {
			return a, nil
		}
	}
	if id == 0 || id >= 1<<63 {
		return nil, index.ErrNoAccount
	}
	a := &Account{ID: id}
	current, err := u.Rows.ReadAccount(a)
	switch {
	case errors.Is(err, index.ErrDropped), errors.Is(err, index.ErrDropping):
		return nil, err
	case errors.Is(err, index.ErrNoAccount):
		return a, u.Begin(a)
	case err != nil:
		return nil, fmt.Errorf("read account %d: %w", id, err)
	}
	a.before = index.Limits{Size: a.Size, Messages: a.Messages}
	u.accounts = append(u.accounts, a)
	if !current {
		return a, u.jump(a)
	}
	return a, nil
}

// standard are the folders of a new account (RFC 6154).
var standard = [...]struct{ name, specialUse string }{
	{index.Inbox, ""}, {"Sent", `\Sent`}, {"Drafts", `\Drafts`}, {"Junk", `\Junk`}, {"Trash", `\Trash`}, {"Archive", `\Archive`},
}

// Begin makes the row and the folders of an account, which is there as far as its id.
func (u *Unit) Begin(a *Account) error {
	u.accounts = append(u.accounts, a)
	if err := u.Rows.MakeAccount(a); err != nil {
		return fmt.Errorf("make account %d: %w", a.ID, err)
	}
	var names []string
	for _, s := range standard {
		if _, err := u.create(a, s.name, s.specialUse); err != nil {
			return err
		}
		names = append(names, s.name)
	}
	if err := u.Rows.MakeSubscriptions(a, names); err != nil {
		return fmt.Errorf("write subscriptions: %w", err)
	}
	return nil
}

// touch raises the account's MODSEQ, once in a unit, and returns it.
func (a *Account) touch() mailbox.ModSeq {
	if !a.touched {
		a.touched = true
		a.ModSeq++
	}
	return a.ModSeq
}

// Flush writes what the unit changed: of every account, in the order of their ids, chunks, mailboxes, then its own row.
func (u *Unit) Flush() error {
	if len(u.stale) > 0 {
		return &staleSums{u.stale}
	}
	slices.SortFunc(u.accounts, func(a, b *Account) int { return cmp.Compare(a.ID, b.ID) })
	for _, a := range u.accounts {
		for _, b := range a.boxes {
			if err := u.flushBox(b); err != nil {
				return fmt.Errorf("write mailbox %d: %w", b.ID, err)
			}
		}
		if !a.touched && !a.dirty {
			continue
		}
		if err := u.watch(a); err != nil {
			return err
		}
		if err := u.Rows.SaveAccount(a); err != nil {
			return fmt.Errorf("write account %d: %w", a.ID, err)
		}
		a.touched, a.dirty = false, false
	}
	return nil
}
