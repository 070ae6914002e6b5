package unit

import (
	"errors"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// resolve finds the mailboxes of a delivery's placements, each once with the flags of all that name it.
func (u *Unit) resolve(d *delivery) ([]target, error) {
	if len(d.Placements) == 0 {
		b, err := u.inbox(d.account)
		return []target{{box: b}}, err
	}
	targets := make([]target, 0, len(d.Placements))
	for i := range d.Placements {
		p := &d.Placements[i]
		b, err := u.placement(d.account, p)
		if err != nil {
			return nil, err
		}
		// A keyword without room is left out: mail is not refused for it.
		flags, err := u.flags(b, p.Flags)
		if err != nil && !errors.Is(err, index.ErrKeywords) {
			return nil, err
		}
		targets = withTarget(targets, b, flags)
	}
	return targets, nil
}

func withTarget(targets []target, b *Box, flags mailbox.Flags) []target {
	for i := range targets {
		if targets[i].box == b {
			targets[i].flags |= flags
			return targets
		}
	}
	return append(targets, target{b, flags})
}

// inbox is there unless somebody took its row away by hand; then it is made again.
func (u *Unit) inbox(a *Account) (*Box, error) {
	b, err := u.boxNamed(a, index.Inbox)
	if errors.Is(err, index.ErrNoMailbox) {
		return u.create(a, index.Inbox, "")
	}
	return b, err
}

// placement finds or makes the mailbox of a placement; what may not be made is INBOX.
func (u *Unit) placement(a *Account, p *index.Placement) (b *Box, err error) {
	name := p.Name
	if p.SpecialUse != "" {
		if b, err = u.boxFor(a, p.SpecialUse); !errors.Is(err, index.ErrNoMailbox) {
			return b, err
		}
		if name == "" && p.Create {
			name = strings.TrimPrefix(p.SpecialUse, `\`)
		}
	}
	if name == "" || name == index.Inbox {
		return u.inbox(a)
	}
	if b, err = u.boxNamed(a, name); !errors.Is(err, index.ErrNoMailbox) {
		return b, err
	}
	if !p.Create {
		return u.inbox(a)
	}
	if b, err = u.createTree(a, name, p.SpecialUse); errors.Is(err, index.ErrMailboxes) {
		return u.inbox(a)
	}
	return b, err
}
