package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// made is a mailbox and the account's MODSEQ.
type made struct {
	mailbox index.Mailbox
	modSeq  mailbox.ModSeq
}

// Create is index.Mailboxes'.
func (m *Mailboxes) Create(ctx context.Context, id mailbox.AccountID, name, specialUse string) (index.Mailbox, mailbox.ModSeq, error) {
	v, err := write(ctx, m.d, func(u *unit) (made, error) {
		a, err := u.account(id)
		if err != nil {
			return made{}, err
		}
		if specialUse != "" {
			if _, err := u.boxFor(a, specialUse); !errors.Is(err, index.ErrNoMailbox) {
				return made{}, orExists(err)
			}
		}
		if _, err := u.boxNamed(a, name); !errors.Is(err, index.ErrNoMailbox) {
			return made{}, orExists(err)
		}
		b, err := u.createTree(a, name, specialUse)
		if err != nil {
			return made{}, err
		}
		return made{b.Mailbox, a.modSeq}, nil
	})
	if err != nil {
		return index.Mailbox{}, 0, fmt.Errorf("create mailbox: %w", err)
	}
	return v.mailbox, v.modSeq, nil
}

// orExists is the outcome of looking for what must not be there.
func orExists(err error) error {
	if err == nil {
		return index.ErrExists
	}
	return err
}

// createTree makes a mailbox that is not there and those of the levels above it that are not.
func (u *unit) createTree(a *account, name, specialUse string) (*box, error) {
	boxes, err := u.allBoxes(a)
	if err != nil {
		return nil, err
	}
	have := make(map[string]bool, len(boxes))
	for _, b := range boxes {
		have[b.Name] = true
	}
	for i, c := range name {
		if above := name[:i]; c == '/' && !have[above] {
			if err := u.hasRoom(len(have)); err != nil {
				return nil, err
			}
			if _, err := u.create(a, above, ""); err != nil {
				return nil, err
			}
			have[above] = true
		}
	}
	if err := u.hasRoom(len(have)); err != nil {
		return nil, err
	}
	return u.create(a, name, specialUse)
}

func (u *unit) hasRoom(mailboxes int) error {
	if mailboxes >= index.MaxMailboxes {
		return index.ErrMailboxes
	}
	return nil
}

// create makes one mailbox that is not there.
func (u *unit) create(a *account, name, specialUse string) (*box, error) {
	a.uidValidity++
	b := &box{Mailbox: index.Mailbox{
		ID:            mailbox.ID(u.d.ids.next(u.now)),
		Name:          name,
		SpecialUse:    specialUse,
		UIDValidity:   a.uidValidity,
		UIDNext:       1,
		HighestModSeq: a.touch(),
		RecentUID:     1,
	}}
	b = a.adopt(b)
	_, err := u.tx.Exec(`INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq,
		messages, unseen, deleted, size, recent_uid, keywords) VALUES (?, ?, ?, ?, ?, 1, ?, ?, 0, 0, 0, 0, 1, '')`,
		int64(a.id), int64(b.ID), name, specialUse, int64(b.UIDValidity), int64(b.HighestModSeq), int64(b.HighestModSeq))
	if err != nil {
		return nil, fmt.Errorf("make mailbox %q: %w", name, err)
	}
	return b, nil
}

// Subscribe is index.Mailboxes'.
func (m *Mailboxes) Subscribe(ctx context.Context, id mailbox.AccountID, name string, subscribed bool) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, func(u *unit) (mailbox.ModSeq, error) {
		a, err := u.account(id)
		if err != nil {
			return 0, err
		}
		if subscribed {
			err = u.subscribe(a, name)
		} else {
			err = u.unsubscribe(a, name)
		}
		return a.modSeq, err
	})
	if err != nil {
		return 0, fmt.Errorf("subscribe: %w", err)
	}
	return seq, nil
}

func (u *unit) subscribe(a *account, name string) error {
	n, err := u.tx.Exec("INSERT INTO subscription (account, name) VALUES (?, ?) ON CONFLICT DO NOTHING", int64(a.id), name)
	if err != nil {
		return fmt.Errorf("write subscription: %w", err)
	}
	if n == 0 {
		return nil
	}
	a.touch()
	var count int
	if err := u.tx.QueryRow("SELECT COUNT(*) FROM subscription WHERE account = ?", int64(a.id)).Scan(&count); err != nil {
		return fmt.Errorf("count subscriptions: %w", err)
	}
	return u.hasRoom(count - 1)
}

func (u *unit) unsubscribe(a *account, name string) error {
	n, err := u.tx.Exec("DELETE FROM subscription WHERE account = ? AND name = ?", int64(a.id), name)
	if err != nil {
		return fmt.Errorf("remove subscription: %w", err)
	}
	if n > 0 {
		a.touch()
	}
	return nil
}

// below tells whether name is an inferior of parent.
func below(name, parent string) bool {
	return len(name) > len(parent) && name[len(parent)] == '/' && strings.HasPrefix(name, parent)
}
