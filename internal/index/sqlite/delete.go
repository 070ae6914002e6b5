package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Delete is index.Mailboxes'.
func (m *Mailboxes) Delete(ctx context.Context, id mailbox.AccountID, name string) (mailbox.ModSeq, error) {
	if name == index.Inbox {
		return 0, fmt.Errorf("delete mailbox: %w", index.ErrRefused)
	}
	seq, err := write(ctx, m.d, func(u *unit) (mailbox.ModSeq, error) {
		a, err := u.account(id)
		if err != nil {
			return 0, err
		}
		b, err := u.boxNamed(a, name)
		if err != nil {
			return 0, err
		}
		// The tombstone outlives the mailbox: it names the emails that lost their entries.
		if _, err := u.remove(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}, true); err != nil {
			return 0, err
		}
		if _, err := u.tx.Exec("DELETE FROM mailbox WHERE account = ? AND mailbox = ?", int64(a.id), int64(b.ID)); err != nil {
			return 0, fmt.Errorf("remove row: %w", err)
		}
		b.gone = true
		return a.touch(), nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete mailbox: %w", err)
	}
	return seq, nil
}
