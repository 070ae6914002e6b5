package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Mend writes the counters of an account and its mailboxes as their entries are, and raises UIDNEXT and MODSEQs that are below
// those that were given. spent are UIDVALIDITYs that mailboxes had before.
func (u *Unit) Mend(id mailbox.AccountID, given *index.Given) (mended []string, spent []mailbox.UIDValidity, err error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, nil, err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return nil, nil, err
	}
	m := &mending{account: a, given: given, known: max(a.ModSeq, given.ModSeq)}
	was := make([]index.Mailbox, len(boxes))
	for i, b := range boxes {
		was[i] = b.Mailbox
		if err := u.mend(m, b); err != nil {
			return nil, nil, fmt.Errorf("mailbox %q: %w", b.Name, err)
		}
	}
	m.lacking = m.lacking || m.messages < a.Messages
	m.numbers()
	for i, b := range boxes {
		m.told(b, &was[i])
	}
	if a.Messages != m.messages || a.Size != m.size {
		m.mended = append(m.mended, fmt.Sprintf("account: %d messages, %d octets; was %d, %d", m.messages, m.size, a.Messages, a.Size))
		a.Messages, a.Size = m.messages, m.size
		a.touch()
	}
	return m.mended, m.spent, u.Step("mend.before-commit")
}

// mending is a Mend under way.
type mending struct {
	account        *Account
	given          *index.Given
	messages, size int64
	// lacking tells that entries are missing, of which nothing says what UIDs they had.
	lacking bool
	// known is the greatest MODSEQ that is known to have been given.
	known  mailbox.ModSeq
	mended []string
	spent  []mailbox.UIDValidity
}

// counted is a mailbox as its entries are.
type counted struct{ index.Mailbox }

// near raises numbers to those of an entry, where these are to be believed.
func (c *counted) near(next mailbox.UID, seq mailbox.ModSeq) {
	if index.NearUID(c.UIDNext, next) {
		c.UIDNext = max(c.UIDNext, next)
	}
	if index.NearModSeq(c.HighestModSeq, seq) {
		c.HighestModSeq = max(c.HighestModSeq, seq)
	}
}

// mend counts a mailbox.
func (u *Unit) mend(m *mending, b *Box) error {
	packed, err := u.chunksOf(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})
	if err != nil {
		return err
	}
	given := m.given.Boxes[b.ID]
	c := counted{index.Mailbox{UIDNext: max(b.UIDNext, given.UIDNext), HighestModSeq: max(b.HighestModSeq, given.ModSeq)}}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return err
		}
		c.near(0, chunk.MaxModSeq)
		for j := range chunk.Len() {
			e := chunk.At(j)
			c.Messages++
			c.Size += e.Size
			if e.Flags&mailbox.Seen == 0 {
				c.Unseen++
			}
			if e.Flags&mailbox.Deleted != 0 {
				c.Deleted++
			}
			c.near(e.UID+1, e.ModSeq)
		}
	}
	m.lacking = m.lacking || c.Messages < b.Messages
	m.messages, m.size = m.messages+int64(c.Messages), m.size+c.Size
	if index.NearModSeq(m.known, c.HighestModSeq) {
		m.known = max(m.known, c.HighestModSeq)
	}
	b.Messages, b.Unseen, b.Deleted, b.Size, b.UIDNext, b.HighestModSeq = c.Messages, c.Unseen, c.Deleted, c.Size, c.UIDNext, c.HighestModSeq
	return nil
}

// numbers raises those of the account. What it has given behind the last MODSEQ that is known, nobody knows: it jumps further than
// that can have been.
func (m *mending) numbers() {
	a := m.account
	if a.ModSeq < m.known {
		m.mended = append(m.mended, fmt.Sprintf("account: MODSEQ %d; was %d", m.known+TimelineModSeqs, a.ModSeq))
		a.ModSeq = m.known + TimelineModSeqs
		a.touch()
	}
	if a.UIDValidity < m.given.UIDValidity {
		a.UIDValidity = m.given.UIDValidity
		a.dirty = true
	}
}

// told notes what was changed of a mailbox.
func (m *mending) told(b *Box, was *index.Mailbox) {
	now := &b.Mailbox
	if was.Messages == now.Messages && was.Unseen == now.Unseen && was.Deleted == now.Deleted && was.Size == now.Size &&
		was.UIDNext == now.UIDNext && was.HighestModSeq == now.HighestModSeq {
		return
	}
	text := fmt.Sprintf("%s: %d messages, %d unseen, %d deleted, %d octets, UIDNEXT %d, HIGHESTMODSEQ %d; was %d, %d, %d, %d, %d, %d",
		b.Name, now.Messages, now.Unseen, now.Deleted, now.Size, now.UIDNext, now.HighestModSeq,
		was.Messages, was.Unseen, was.Deleted, was.Size, was.UIDNext, was.HighestModSeq)
	if was.UIDNext != now.UIDNext && (m.lacking || !m.given.Boxes[b.ID].All) {
		// UIDs behind those that are known may have been given to messages that clients remember.
		m.spent = append(m.spent, b.UIDValidity)
		m.account.UIDValidity++
		b.UIDValidity = m.account.UIDValidity
		text += fmt.Sprintf("; UIDVALIDITY %d, was %d", now.UIDValidity, was.UIDValidity)
	}
	m.mended = append(m.mended, text)
	b.changed() // whoever has seen the old ones asks again
}

// Uncount takes entries of mailboxes that are not there off the counters of an account, as far as those have more than its
// mailboxes: where they were counted anew meanwhile, the entries are in none.
func (u *Unit) Uncount(id mailbox.AccountID, messages, size int64) error {
	a, err := u.Account(id)
	if err != nil {
		return err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return err
	}
	moreMessages, moreSize := a.Messages, a.Size
	for _, b := range boxes {
		moreMessages, moreSize = moreMessages-int64(b.Messages), moreSize-b.Size
	}
	a.Messages -= max(min(messages, moreMessages), 0)
	a.Size -= max(min(size, moreSize), 0)
	a.dirty = true
	return nil
}
