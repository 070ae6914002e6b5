package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// How far numbers jump on a new timeline: further than any account came in what was lost.
const (
	TimelineModSeqs       = 1 << 32
	TimelineUIDs          = 1 << 20
	TimelineUIDValidities = 1 << 12
)

// jump brings an account of an older timeline to the current one. A mailbox that has no room to jump gets a new
// UIDVALIDITY instead and begins anew with the UIDs behind its last.
func (u *Unit) jump(a *Account) error {
	a.ModSeq += TimelineModSeqs
	a.UIDValidity += TimelineUIDValidities
	a.touched = true
	if err := u.Rows.JumpAccount(a); err != nil {
		return fmt.Errorf("jump account %d: %w", a.ID, err)
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if b.UIDNext < mailbox.MaxUID-TimelineUIDs {
			b.UIDNext += TimelineUIDs
		} else {
			a.UIDValidity++
			b.UIDValidity = a.UIDValidity
		}
		b.HighestModSeq = a.ModSeq
		b.dirty = true
	}
	return nil
}

// BeginAt lets a new account begin where nothing can be that it had on an earlier timeline, and lost.
func (a *Account) BeginAt(timeline int64) {
	a.ModSeq = mailbox.ModSeq(timeline-1) * TimelineModSeqs
	a.UIDValidity = mailbox.UIDValidity(timeline-1) * TimelineUIDValidities
}
