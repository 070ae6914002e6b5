package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Mend writes the counters of an account and its mailboxes as their entries are, and raises UIDNEXT and MODSEQs that are below
// those that were given.
func (u *Unit) Mend(id mailbox.AccountID) (mended []string, err error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return nil, err
	}
	var messages, size int64
	for _, b := range boxes {
		was := b.Mailbox
		if err := u.mend(b); err != nil {
			return nil, fmt.Errorf("mailbox %q: %w", b.Name, err)
		}
		messages, size = messages+int64(b.Messages), size+b.Size
		if now := &b.Mailbox; was.Messages != now.Messages || was.Unseen != now.Unseen || was.Deleted != now.Deleted || was.Size != now.Size ||
			was.UIDNext != now.UIDNext || was.HighestModSeq != now.HighestModSeq {
			mended = append(mended, fmt.Sprintf("%s: %d messages, %d unseen, %d deleted, %d octets, UIDNEXT %d, HIGHESTMODSEQ %d; was %d, %d, %d, %d, %d, %d",
				b.Name, now.Messages, now.Unseen, now.Deleted, now.Size, now.UIDNext, now.HighestModSeq,
				was.Messages, was.Unseen, was.Deleted, was.Size, was.UIDNext, was.HighestModSeq))
			b.changed() // whoever has seen the old ones asks again
		}
	}
	if a.Messages != messages || a.Size != size {
		mended = append(mended, fmt.Sprintf("account: %d messages, %d octets; was %d, %d", messages, size, a.Messages, a.Size))
		a.Messages, a.Size = messages, size
		a.touch()
	}
	return mended, u.Step("mend.before-commit")
}

func (u *Unit) mend(b *Box) error {
	packed, err := u.chunksOf(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})
	if err != nil {
		return err
	}
	m := index.Mailbox{UIDNext: b.UIDNext, HighestModSeq: b.HighestModSeq}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return err
		}
		for j := range chunk.Len() {
			e := chunk.At(j)
			m.Messages++
			m.Size += e.Size
			if e.Flags&mailbox.Seen == 0 {
				m.Unseen++
			}
			if e.Flags&mailbox.Deleted != 0 {
				m.Deleted++
			}
			m.UIDNext, m.HighestModSeq = max(m.UIDNext, e.UID+1), max(m.HighestModSeq, e.ModSeq)
		}
	}
	b.Messages, b.Unseen, b.Deleted, b.Size, b.UIDNext, b.HighestModSeq = m.Messages, m.Unseen, m.Deleted, m.Size, m.UIDNext, m.HighestModSeq
	b.Account.ModSeq = max(b.Account.ModSeq, m.HighestModSeq)
	return nil
}
