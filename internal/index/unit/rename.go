package unit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Rename moves a mailbox and its inferiors to another name.
func (u *Unit) Rename(id mailbox.AccountID, from, to string) (mailbox.ModSeq, error) {
	a, err := u.Account(id)
	if err != nil {
		return 0, err
	}
	if from == index.Inbox {
		err = u.renameInbox(a, to)
	} else {
		err = u.rename(a, from, to)
	}
	return a.ModSeq, err
}

// renameInbox moves INBOX's entries to a new mailbox; its inferiors stay (RFC 9051 §6.3.6). What is noted about INBOX is copied
// (RFC 5464 §4.1).
func (u *Unit) renameInbox(a *Account, to string) error {
	if _, err := u.boxNamed(a, to); !errors.Is(err, index.ErrNoMailbox) {
		return orExists(err)
	}
	inbox, err := u.boxNamed(a, index.Inbox)
	if err != nil {
		return err
	}
	target, err := u.createTree(a, to, "")
	if err != nil {
		return err
	}
	if err := u.Rows.CopyAnnotations(target, inbox.ID); err != nil {
		return fmt.Errorf("copy annotations: %w", err)
	}
	_, err = u.move(inbox, target, &index.Copying{UIDs: mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}, Move: true})
	return err
}

func (u *Unit) rename(a *Account, from, to string) error {
	boxes, err := u.allBoxes(a)
	if err != nil {
		return err
	}
	var moving []*Box
	names := make(map[string]bool, len(boxes))
	for _, b := range boxes {
		if b.Name == from || below(b.Name, from) {
			moving = append(moving, b)
		} else {
			names[b.Name] = true
		}
	}
	switch {
	case len(moving) == 0:
		return index.ErrNoMailbox
	case from == to || names[to]:
		return index.ErrExists
	case below(to, from):
		return index.ErrRefused
	}
	roots, err := u.rootsBefore(a, boxes)
	if err != nil {
		return err
	}
	// Those above come first, so that a name which one of them gives up is free for one below it.
	slices.SortFunc(moving, func(a, b *Box) int { return cmp.Compare(a.Name, b.Name) })
	for _, b := range moving {
		name := to + strings.TrimPrefix(b.Name, from)
		if names[name] {
			return index.ErrExists
		}
		if strings.Count(name, "/") >= index.MaxLevels {
			return index.ErrRefused
		}
		if err := u.Rows.RenameBox(b, name); err != nil {
			return fmt.Errorf("write name: %w", err)
		}
		b.Name = name
	}
	if err := roots.grown(boxes); err != nil {
		return err
	}
	a.touch()
	return u.createAbove(a, to)
}

// createAbove makes the levels above a name that are not there.
func (u *Unit) createAbove(a *Account, name string) error {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return nil
	}
	if _, err := u.boxNamed(a, name[:i]); !errors.Is(err, index.ErrNoMailbox) {
		return err
	}
	_, err := u.createTree(a, name[:i], "")
	return err
}
