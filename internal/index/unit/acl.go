package unit

import (
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// ACLRows are the rows of access control lists within one write. box 0 is the whole account's list.
type ACLRows interface {
	// ReadACL tells an entry, and how many the list has.
	ReadACL(a *Account, box mailbox.ID, identifier string) (rights string, entries int, err error)
	// PutACL writes an entry with its hint.
	PutACL(a *Account, box mailbox.ID, identifier, rights string) error
	// DropACL removes an entry, and the hint with the account's last one for the identifier.
	DropACL(a *Account, box mailbox.ID, identifier string) error
	// CopyACL gives a new mailbox the list of another one, with the hints. The other may be gone, as long as it is kept: its
	// list outlives it, and gives nobody anything meanwhile.
	CopyACL(b *Box, from mailbox.ID) error
}

// AnnotationRows are what people note about mailboxes.
type AnnotationRows interface {
	// MoveAnnotations gives a new mailbox the entries of one that is gone and kept.
	MoveAnnotations(b *Box, from mailbox.ID) error
	// CopyAnnotations gives a new mailbox the entries of another one, as far as there is room for them.
	CopyAnnotations(b *Box, from mailbox.ID) error
}

// SetACL changes one entry of a list.
func (u *Unit) SetACL(rows ACLRows, c index.ACLChange) (mailbox.ModSeq, error) {
	a, err := u.Account(c.Account)
	if err != nil {
		return 0, err
	}
	if c.Mailbox != 0 {
		if _, err := u.box(a, c.Mailbox); err != nil {
			return 0, err
		}
	}
	// A new account's folders are written before lists refer to them.
	if err := u.Flush(); err != nil {
		return 0, err
	}
	text, entries, err := rows.ReadACL(a, c.Mailbox, c.Identifier)
	if err != nil {
		return 0, fmt.Errorf("read list: %w", err)
	}
	had, err := acl.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("read list: %w", err)
	}
	rights := c.Rights
	switch c.Mode {
	case index.AddRights:
		rights |= had
	case index.RemoveRights:
		rights = had &^ rights
	}
	switch {
	case rights == had:
	case rights == acl.None:
		err = rows.DropACL(a, c.Mailbox, c.Identifier)
	case had == acl.None && entries >= index.MaxACL:
		return 0, index.ErrACL
	default:
		err = rows.PutACL(a, c.Mailbox, c.Identifier, rights.String())
	}
	if err != nil {
		return 0, fmt.Errorf("write list: %w", err)
	}
	return a.ModSeq, nil
}

// inherit gives a mailbox that was just made the list of the one above it, if there is one.
func (u *Unit) inherit(b *Box) error {
	i := strings.LastIndexByte(b.Name, '/')
	if i < 0 {
		return nil
	}
	for _, above := range b.Account.boxes {
		if above.Name == b.Name[:i] && !above.gone {
			if err := u.Rows.CopyACL(b, above.ID); err != nil {
				return fmt.Errorf("inherit list: %w", err)
			}
		}
	}
	return nil
}
