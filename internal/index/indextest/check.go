package indextest

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// CheckSubject is an index.Check over an empty database.
type CheckSubject struct {
	RetentionSubject
	Check  index.Check
	Survey index.Survey
	// Spoil changes rows behind everybody's back.
	Spoil func(statement string) error
}

// RunCheck runs the tests of index.Check.
func RunCheck(t *testing.T, open func(testing.TB) CheckSubject) {
	t.Run("Recount", func(t *testing.T) { mend(t, open(t)) })
	t.Run("Orphans", func(t *testing.T) { orphans(t, open(t)) })
	t.Run("Survey", func(t *testing.T) { survey(t, open(t)) })
}

func (s *CheckSubject) spoil(t *testing.T, statement string) {
	t.Helper()
	if err := s.Spoil(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (s *CheckSubject) right(t *testing.T, want bool) {
	t.Helper()
	sums, err := s.Check.Sums(t.Context(), 7)
	if err != nil || sums.Right() != want {
		t.Errorf("Sums: %+v, %v; want right: %v", sums, err, want)
	}
}

func mend(t *testing.T, s CheckSubject) {
	var list []index.Message
	for i := range 300 {
		list = append(list, newMessage(500, []string{`\Seen`, `\Deleted`}[i%2]))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	s.expunge(t, 7, box, mailbox.UIDSet{{First: 3, Last: 12}})
	before := s.find(t, 7, index.Inbox)
	s.right(t, true)
	if mended, err := s.Check.Recount(t.Context(), 7); err != nil || len(mended) != 0 {
		t.Errorf("Recount of what is right: %q, %v", mended, err)
	}
	if after := s.find(t, 7, index.Inbox); after.HighestModSeq != before.HighestModSeq {
		t.Errorf("it changed %+v to %+v", before, after)
	}
	for _, statement := range []string{
		"UPDATE mailbox SET messages = messages + 5, unseen = 0, deleted = 1, size = 7, uid_next = 40 WHERE account = 7 AND name = 'INBOX'",
		"UPDATE account SET size = size - 1 WHERE account = 7",
		"UPDATE kept SET octets = 3 WHERE account = 7",
	} {
		s.spoil(t, statement)
		s.right(t, false)
		if mended, err := s.Check.Recount(t.Context(), 7); err != nil || len(mended) == 0 {
			t.Errorf("%s: %q, %v", statement, mended, err)
		}
		s.right(t, true)
	}
	after := s.find(t, 7, index.Inbox)
	if after.Messages != before.Messages || after.Unseen != before.Unseen || after.Deleted != before.Deleted || after.Size != before.Size ||
		after.UIDNext != before.UIDNext || after.HighestModSeq <= before.HighestModSeq {
		t.Errorf("recounted: %+v, was %+v", after, before)
	}
	if r := s.append(t, 7, index.Inbox, newMessage(500)); r.UIDs[0] != 301 {
		t.Errorf("the next UID is %d", r.UIDs[0])
	}
}

func orphans(t *testing.T, s CheckSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(500), newMessage(600), newMessage(700)).Mailbox
	other := s.append(t, 7, "Archive", newMessage(800)).Mailbox
	s.append(t, 8, index.Inbox, newMessage(900))
	s.expunge(t, 7, box, one(2))
	want := s.look(t, 7, other).entries()[0].Email
	if list, _, more, err := s.Check.Orphans(ctx, 7, 0, 100); err != nil || len(list) != 0 || more {
		t.Errorf("Orphans of what is right: %+v, %v, %v", list, more, err)
	}
	s.spoil(t, "DELETE FROM chunk WHERE account = 7 AND emails = (SELECT c.emails FROM chunk c JOIN mailbox m ON m.account = c.account AND m.mailbox = c.mailbox WHERE m.account = 7 AND m.name = 'Archive')")
	var found []index.Email
	var after mailbox.EmailID
	for {
		list, last, more, err := s.Check.Orphans(ctx, 7, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, list...)
		if after = last; !more {
			break
		}
	}
	if len(found) != 1 || found[0].ID != want || found[0].Size != 700 || found[0].VisibleSize() != 800 {
		t.Errorf("Orphans: %+v, want email %d", found, want)
	}
	// They come back like what was removed.
	if r := s.restore(t, index.Restore{Account: 7, Target: "Recovered", Entries: []index.RestoreEntry{{Email: want, Size: 800}}}); len(r.Restored) != 1 {
		t.Errorf("Restore: %+v", r)
	}
	if list, _, _, err := s.Check.Orphans(ctx, 7, 0, 100); err != nil || len(list) != 0 {
		t.Errorf("Orphans after it: %+v, %v", list, err)
	}
}
