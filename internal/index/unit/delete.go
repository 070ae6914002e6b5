package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Delete removes a mailbox with its entries.
func (u *Unit) Delete(id mailbox.AccountID, name string) (mailbox.ModSeq, error) {
	if name == index.Inbox {
		return 0, index.ErrRefused
	}
	a, err := u.Account(id)
	if err != nil {
		return 0, err
	}
	b, err := u.boxNamed(a, name)
	if err != nil {
		return 0, err
	}
	// What is kept outlives the mailbox.
	if _, err := u.remove(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}, true, index.Deleted); err != nil {
		return 0, err
	}
	if err := u.dropRoot(b); err != nil {
		return 0, err
	}
	if err := u.Rows.PutRemovedBox(b); err != nil {
		return 0, fmt.Errorf("keep mailbox: %w", err)
	}
	if err := u.Rows.DropBox(b); err != nil {
		return 0, fmt.Errorf("remove row: %w", err)
	}
	b.gone = true
	return a.touch(), nil
}
