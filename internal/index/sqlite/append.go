package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Append is index.Mailboxes'.
func (m *Mailboxes) Append(ctx context.Context, id mailbox.AccountID, name string, messages []index.Message) (index.AppendResult, error) {
	r, err := write(ctx, m.d, func(u *unit) (index.AppendResult, error) {
		a, err := u.account(id)
		if err != nil {
			return index.AppendResult{}, err
		}
		b, err := u.boxNamed(a, name)
		if err != nil {
			return index.AppendResult{}, err
		}
		return u.append(b, messages)
	})
	if err != nil {
		return index.AppendResult{}, fmt.Errorf("append: %w", err)
	}
	return r, nil
}

func (u *unit) append(b *box, messages []index.Message) (r index.AppendResult, err error) {
	r = index.AppendResult{Mailbox: b.ID, UIDValidity: b.UIDValidity}
	var size int64
	for i := range messages {
		size += messages[i].VisibleSize()
	}
	if err := u.room(b.account, int64(len(messages)), size); err != nil {
		return r, err
	}
	condemned, err := u.anyCondemned()
	if err != nil {
		return r, err
	}
	for i := range messages {
		m := &messages[i]
		if condemned {
			if err := u.checkCondemned(m); err != nil {
				return r, err
			}
		}
		flags, err := b.flags(m.Flags)
		if err != nil {
			return r, err
		}
		if err := u.step("append.before-email"); err != nil {
			return r, err
		}
		email, err := u.putEmail(b.account, m)
		if err != nil {
			return r, err
		}
		uid, err := u.add(b, entryOf(m, email, flags))
		if err != nil {
			return r, err
		}
		r.UIDs = append(r.UIDs, uid)
	}
	r.ModSeq = b.account.modSeq
	return r, u.step("append.before-commit")
}

// entryOf is a message's entry; add gives it its UID and MODSEQ.
func entryOf(m *index.Message, email mailbox.EmailID, flags mailbox.Flags) mailbox.Entry {
	return mailbox.Entry{Email: email, Flags: flags, Size: m.VisibleSize(), Received: m.Received.Unix()}
}

// checkCondemned refuses a body that is about to be removed.
func (u *unit) checkCondemned(m *index.Message) error {
	var n int
	if err := u.tx.QueryRow("SELECT COUNT(*) FROM condemned WHERE blob_id = ?", m.Blob.Bytes()).Scan(&n); err != nil {
		return fmt.Errorf("look for condemned body: %w", err)
	}
	if n > 0 {
		return index.ErrCondemned
	}
	return nil
}
