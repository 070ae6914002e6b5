package unit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Restore puts entries into a mailbox that does not have their emails.
func (u *Unit) Restore(q *index.Restore) (r index.RestoreResult, err error) {
	a, err := u.Account(q.Account)
	if err != nil {
		return r, err
	}
	b, err := u.restoreBox(a, q, &r)
	if err != nil {
		return r, err
	}
	r.Mailbox, r.ModSeq = b.ID, a.ModSeq
	add, size, err := u.missing(b, q, &r)
	if err != nil || len(add) == 0 {
		return r, err
	}
	if !q.Anyway {
		if err := u.room(a, int64(len(add)), size); err != nil {
			return r, err
		}
		if err := u.roomIn([]*Box{b}, nil, int64(len(add)), size); err != nil {
			return r, err
		}
	}
	if any, err := u.anyCondemned(); err != nil {
		return r, err
	} else if any {
		condemned, err := u.Rows.CondemnedEmails(a, r.Restored)
		if err != nil {
			return r, fmt.Errorf("look for condemned body: %w", err)
		}
		if condemned {
			return r, index.ErrCondemned
		}
	}
	if err := u.Step("restore.before-entries"); err != nil {
		return r, err
	}
	for _, e := range add {
		// A keyword without room is left out: the message counts for more.
		flags, err := u.flags(b, e.Flags)
		if err != nil && !errors.Is(err, index.ErrKeywords) {
			return r, err
		}
		if _, err := u.add(b, mailbox.Entry{Email: e.Email, Flags: flags &^ mailbox.Deleted, Size: e.Size, Received: e.Received}); err != nil {
			return r, err
		}
	}
	r.ModSeq = a.ModSeq
	return r, u.Step("restore.before-commit")
}

// restoreBox finds or makes the mailbox to restore into.
func (u *Unit) restoreBox(a *Account, q *index.Restore, r *index.RestoreResult) (*Box, error) {
	b, err := u.boxNamed(a, q.Target)
	if !errors.Is(err, index.ErrNoMailbox) {
		return b, err
	}
	use := q.SpecialUse
	if use != "" {
		if _, err := u.boxFor(a, use); err == nil {
			use = ""
		} else if !errors.Is(err, index.ErrNoMailbox) {
			return nil, err
		}
	}
	// Somebody may have been taken out of the old one's list: what is made again has that list, and none of the one above.
	if b, err = u.createPrivate(a, q.Target, use); err != nil {
		return nil, err
	}
	r.Made = true
	if q.From != 0 {
		if err := u.Rows.CopyACL(b, q.From); err != nil {
			return nil, fmt.Errorf("restore list: %w", err)
		}
		if err := u.Rows.MoveAnnotations(b, q.From); err != nil {
			return nil, fmt.Errorf("restore annotations: %w", err)
		}
	}
	if q.Subscribed {
		err = u.subscribe(a, q.Target)
	}
	return b, err
}

// missing are the entries whose email is kept and not where it was looked for; the others are told in r.
func (u *Unit) missing(b *Box, q *index.Restore, r *index.RestoreResult) (add []index.RestoreEntry, size int64, err error) {
	if len(q.Entries) == 0 {
		return nil, 0, nil
	}
	ids := make([]mailbox.EmailID, len(q.Entries))
	wanted := make(map[mailbox.EmailID]bool, len(q.Entries))
	for i := range q.Entries {
		ids[i] = q.Entries[i].Email
		wanted[ids[i]] = true
	}
	present, elsewhere := map[mailbox.EmailID]bool{}, map[mailbox.EmailID]bool{}
	found := func(in map[mailbox.EmailID]bool) func([]mailbox.EmailID) {
		return func(emails []mailbox.EmailID) {
			for _, e := range emails {
				if wanted[e] {
					in[e] = true
				}
			}
		}
	}
	if err := u.Rows.BoxEmails(b, found(present)); err != nil {
		return nil, 0, fmt.Errorf("read entries of %q: %w", b.Name, err)
	}
	if slices.ContainsFunc(q.Entries, func(e index.RestoreEntry) bool { return !e.Beside }) {
		if err := u.Rows.AccountEmails(b.Account, found(elsewhere)); err != nil {
			return nil, 0, fmt.Errorf("read entries of account %d: %w", b.Account.ID, err)
		}
	}
	have, err := u.Rows.HaveEmails(b.Account, ids)
	if err != nil {
		return nil, 0, fmt.Errorf("look for emails: %w", err)
	}
	for _, e := range q.Entries {
		switch {
		case present[e.Email] || elsewhere[e.Email] && !e.Beside:
			r.Present = append(r.Present, e.Email)
		case !have[e.Email]:
			r.Gone = append(r.Gone, e.Email)
		default:
			present[e.Email] = true // once, however often it is asked for
			r.Restored = append(r.Restored, e.Email)
			add, size = append(add, e), size+e.Size
		}
	}
	return add, size, nil
}

// KeywordsOf reads the column keywords.
func KeywordsOf(column string) []string {
	if column == "" {
		return nil
	}
	return strings.Split(column, " ")
}
