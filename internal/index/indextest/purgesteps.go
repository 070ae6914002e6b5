package indextest

import (
	"errors"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// purgeInSteps: what takes several writes keeps an email until the last row that names it, wherever that is cut off, and
// whatever comes between.
func purgeInSteps(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	var list []index.Message
	for range 250 {
		list = append(list, newMessage(500))
	}
	if _, _, err := s.Mailboxes.Create(ctx, 7, "Work", ""); err != nil {
		t.Fatal(err)
	}
	work := s.append(t, 7, "Work", list...).Mailbox
	var ids []mailbox.EmailID
	for _, e := range s.look(t, 7, work).entries() {
		ids = append(ids, e.Email)
	}
	// 20,000 entries of 250 emails: 80 rows that name the same.
	part := mailbox.UIDSet{{First: 1, Last: 250}}
	for n := 250; n < 16_000; n *= 2 {
		part[0].Last = mailbox.UID(n)
		if _, err := s.Mailboxes.Copy(ctx, 7, work, part, "Work"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Mailboxes.Copy(ctx, 7, work, mailbox.UIDSet{{First: 1, Last: 3500}}, "Work"); err != nil {
		t.Fatal(err)
	}
	if n := s.expunge(t, 7, work, all).Expunged.Len(); n != 19_500 {
		t.Fatalf("%d expunged", n)
	}
	s.Advance(48 * time.Hour)
	s.append(t, 7, index.Inbox, newMessage(500)) // which is of now
	rules := index.Rules{Now: s.Now(), Keep: time.Hour}
	// The second write fails: the first one is done, and all emails are there.
	lost, writes := errors.New("lost"), 0
	s.FailAt(func(step string) error {
		if step == "purge.before-emails" {
			if writes++; writes == 2 {
				return lost
			}
		}
		return nil
	})
	if _, _, err := s.Retention.Purge(ctx, rules, 10); !errors.Is(err, lost) {
		t.Fatalf("Purge: %v", err)
	}
	s.FailAt(func(string) error { return nil })
	left := len(s.removed(t, index.RemovedQuery{Account: 7}))
	if left == 0 || left > 19_500-16_000 {
		t.Errorf("%d are left after the first write", left)
	}
	if n := s.there(t, 7, ids...); n != 250 {
		t.Errorf("%d emails are there, and all are named", n)
	}
	if k, err := s.Retention.Kept(ctx, 7); err != nil || int(k.Entries) != left {
		t.Errorf("Kept: %+v, %v; %d are left", k, err, left)
	}
	// One is brought back meanwhile: it stays.
	s.restore(t, index.Restore{Account: 7, Target: index.Inbox, Entries: []index.RestoreEntry{{Email: ids[3], Size: 500, Received: 1}}})
	s.Advance(2 * time.Hour) // since the account was put off
	if p := s.purge(t, index.Rules{Keep: time.Hour}); p.Entries != left || p.Emails != 249 || s.there(t, 7, ids...) != 1 || s.there(t, 7, ids[3]) != 1 {
		t.Errorf("purged %+v of %d; %d emails are there", p, left, s.there(t, 7, ids...))
	}
	if k, err := s.Retention.Kept(ctx, 7); err != nil || k != (index.Kept{}) {
		t.Errorf("Kept at last: %+v, %v", k, err)
	}
}
