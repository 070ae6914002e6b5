package unit

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Append makes new emails and puts entries of them at the end of a mailbox.
func (u *Unit) Append(id mailbox.AccountID, name string, messages []index.Message) (index.AppendResult, error) {
	a, err := u.Account(id)
	if err != nil {
		return index.AppendResult{}, err
	}
	b, err := u.boxNamed(a, name)
	if err != nil {
		return index.AppendResult{}, err
	}
	return u.append(b, messages, true)
}

func (u *Unit) append(b *Box, messages []index.Message, needsRoom bool) (r index.AppendResult, err error) {
	r = index.AppendResult{Mailbox: b.ID, UIDValidity: b.UIDValidity}
	if needsRoom {
		var size int64
		for i := range messages {
			size += messages[i].VisibleSize()
		}
		if err := u.room(b.Account, int64(len(messages)), size); err != nil {
			return r, err
		}
		if err := u.roomIn([]*Box{b}, nil, int64(len(messages)), size); err != nil {
			return r, err
		}
	}
	condemned, err := u.anyCondemned()
	if err != nil {
		return r, err
	}
	for i := range messages {
		u.findThreads(b.Account.ID, &messages[i])
	}
	if err := u.loadThreads(); err != nil {
		return r, err
	}
	for i := range messages {
		m := &messages[i]
		if condemned {
			if err := u.checkCondemned(m); err != nil {
				return r, err
			}
		}
		flags, err := u.flags(b, m.Flags)
		if err != nil {
			return r, err
		}
		if err := u.Step("append.before-email"); err != nil {
			return r, err
		}
		email, err := u.putEmail(b.Account, m)
		if err != nil {
			return r, err
		}
		uid, err := u.add(b, entryOf(m, email, flags))
		if err != nil {
			return r, err
		}
		r.UIDs = append(r.UIDs, uid)
	}
	r.ModSeq = b.Account.ModSeq
	return r, u.Step("append.before-commit")
}

// entryOf is a message's entry; add gives it its UID and MODSEQ.
func entryOf(m *index.Message, email mailbox.EmailID, flags mailbox.Flags) mailbox.Entry {
	return mailbox.Entry{Email: email, Flags: flags, Size: m.VisibleSize(), Received: m.Received.Unix()}
}

// checkCondemned refuses a body that is about to be removed.
func (u *Unit) checkCondemned(m *index.Message) error {
	condemned, err := u.Rows.Condemned(m.Blob)
	if err != nil {
		return fmt.Errorf("look for condemned body: %w", err)
	}
	if condemned {
		return index.ErrCondemned
	}
	return nil
}

// putEmail makes the row of a message.
func (u *Unit) putEmail(a *Account, m *index.Message) (mailbox.EmailID, error) {
	overlay, err := proto.Marshal(m.Overlay)
	if err != nil {
		return 0, fmt.Errorf("encode overlay: %w", err)
	}
	id := mailbox.EmailID(u.ids.Next(u.Now))
	if err := u.Rows.PutEmail(a, id, u.thread(id, m), m, overlay); err != nil {
		return 0, fmt.Errorf("write email: %w", err)
	}
	return id, nil
}
