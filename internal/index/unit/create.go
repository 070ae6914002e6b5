package unit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Create makes a mailbox and the levels above it; it gives the account's MODSEQ too.
func (u *Unit) Create(id mailbox.AccountID, name, specialUse string) (index.Mailbox, mailbox.ModSeq, error) {
	a, err := u.Account(id)
	if err != nil {
		return index.Mailbox{}, 0, err
	}
	if specialUse != "" {
		if _, err := u.boxFor(a, specialUse); !errors.Is(err, index.ErrNoMailbox) {
			return index.Mailbox{}, 0, orExists(err)
		}
	}
	if _, err := u.boxNamed(a, name); !errors.Is(err, index.ErrNoMailbox) {
		return index.Mailbox{}, 0, orExists(err)
	}
	b, err := u.createTree(a, name, specialUse)
	if err != nil {
		return index.Mailbox{}, 0, err
	}
	return b.Mailbox, a.ModSeq, nil
}

// orExists is the outcome of looking for what must not be there.
func orExists(err error) error {
	if err == nil {
		return index.ErrExists
	}
	return err
}

// createTree makes a mailbox that is not there and those of the levels above it that are not. Its cost does not depend on
// the mailboxes that are there, but for counting them.
func (u *Unit) createTree(a *Account, name, specialUse string) (*Box, error) {
	return u.makeTree(a, name, specialUse, u.create)
}

// createPrivate is createTree of mailboxes that begin without a list, whatever the one above has.
func (u *Unit) createPrivate(a *Account, name, specialUse string) (*Box, error) {
	return u.makeTree(a, name, specialUse, u.make)
}

func (u *Unit) makeTree(a *Account, name, specialUse string, create func(*Account, string, string) (*Box, error)) (*Box, error) {
	count, err := u.Rows.CountBoxes(a)
	if err != nil {
		return nil, fmt.Errorf("count mailboxes: %w", err)
	}
	for i, c := range name {
		if c != '/' {
			continue
		}
		if _, err := u.boxNamed(a, name[:i]); err == nil {
			continue
		} else if !errors.Is(err, index.ErrNoMailbox) {
			return nil, err
		}
		if err := u.hasRoom(count); err != nil {
			return nil, err
		}
		if _, err := create(a, name[:i], ""); err != nil {
			return nil, err
		}
		count++
	}
	if err := u.hasRoom(count); err != nil {
		return nil, err
	}
	return create(a, name, specialUse)
}

func (u *Unit) hasRoom(mailboxes int) error {
	if mailboxes >= index.MaxMailboxes {
		return index.ErrMailboxes
	}
	return nil
}

// create makes one mailbox that is not there, with the list of the one above it.
func (u *Unit) create(a *Account, name, specialUse string) (*Box, error) {
	b, err := u.make(a, name, specialUse)
	if err != nil {
		return nil, err
	}
	return b, u.inherit(b)
}

func (u *Unit) make(a *Account, name, specialUse string) (*Box, error) {
	a.UIDValidity++
	b := &Box{Mailbox: index.Mailbox{
		ID:            mailbox.ID(u.ids.Next(u.Now)),
		Name:          name,
		SpecialUse:    specialUse,
		UIDValidity:   a.UIDValidity,
		UIDNext:       1,
		HighestModSeq: a.touch(),
		RecentUID:     1,
	}}
	b = a.adopt(b)
	if err := u.Rows.MakeBox(b); err != nil {
		return nil, fmt.Errorf("make mailbox %q: %w", name, err)
	}
	return b, nil
}

// Subscribe puts a name on the list of subscriptions or takes it off.
func (u *Unit) Subscribe(id mailbox.AccountID, name string, subscribed bool) (mailbox.ModSeq, error) {
	a, err := u.Account(id)
	if err != nil {
		return 0, err
	}
	if subscribed {
		err = u.subscribe(a, name)
	} else {
		err = u.unsubscribe(a, name)
	}
	return a.ModSeq, err
}

func (u *Unit) subscribe(a *Account, name string) error {
	changed, err := u.Rows.Subscribe(a, name)
	if err != nil {
		return fmt.Errorf("write subscription: %w", err)
	}
	if !changed {
		return nil
	}
	a.touch()
	count, err := u.Rows.Subscriptions(a)
	if err != nil {
		return fmt.Errorf("count subscriptions: %w", err)
	}
	return u.hasRoom(count - 1)
}

func (u *Unit) unsubscribe(a *Account, name string) error {
	changed, err := u.Rows.Unsubscribe(a, name)
	if err != nil {
		return fmt.Errorf("remove subscription: %w", err)
	}
	if changed {
		a.touch()
	}
	return nil
}

// below tells whether name is an inferior of parent.
func below(name, parent string) bool {
	return len(name) > len(parent) && name[len(parent)] == '/' && strings.HasPrefix(name, parent)
}
