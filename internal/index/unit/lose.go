package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Lose removes the entries of emails that have no row. They are not kept for undelete: there is nothing to bring back.
func (u *Unit) Lose(id mailbox.AccountID, mbox mailbox.ID, emails []mailbox.EmailID) (r index.ExpungeResult, err error) {
	a, err := u.Account(id)
	if err != nil {
		return r, err
	}
	b, err := u.box(a, mbox)
	if err != nil {
		return r, err
	}
	have, err := u.Rows.HaveEmails(a, emails)
	if err != nil {
		return r, fmt.Errorf("look for emails: %w", err)
	}
	lost := map[mailbox.EmailID]bool{}
	for _, e := range emails {
		if !have[e] {
			lost[e] = true
		}
	}
	packed, err := u.chunksOf(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})
	if err != nil {
		return r, err
	}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			continue // of which nothing is known
		}
		before := chunk.Len()
		chunk.Keep(func(i int) bool {
			if !lost[chunk.Emails[i]] {
				return true
			}
			r.Expunged = r.Expunged.Add(chunk.UIDs[i])
			b.count(chunk.At(i), -1)
			return false
		})
		if chunk.Len() == before {
			continue
		}
		if err := u.shrink(b, chunk); err != nil {
			return r, err
		}
	}
	if r.ModSeq = a.ModSeq; len(r.Expunged) == 0 {
		return r, nil
	}
	r.ModSeq = b.changed()
	if err := u.Rows.PutTombstone(b, r.ModSeq, r.Expunged, nil); err != nil {
		return r, fmt.Errorf("write tombstone: %w", err)
	}
	return r, nil
}
