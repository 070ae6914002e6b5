package indextest

import (
	"fmt"
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
	t.Run("Given", func(t *testing.T) { givenNumbers(t, open) })
	t.Run("FarNumbers", func(t *testing.T) { farNumbers(t, open) })
	t.Run("Orphans", func(t *testing.T) { orphans(t, open(t)) })
	t.Run("Moved", func(t *testing.T) { movedOrphans(t, open(t)) })
	t.Run("Lose", func(t *testing.T) { lose(t, open(t)) })
	t.Run("LoseImported", func(t *testing.T) { loseImported(t, open(t)) })
	t.Run("Strays", func(t *testing.T) { strays(t, open(t)) })
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
	if list, _, more, err := s.Check.Orphans(ctx, 7, 0, 100, true); err != nil || len(list) != 0 || more {
		t.Errorf("Orphans of what is right: %+v, %v, %v", list, more, err)
	}
	s.spoil(t, "DELETE FROM chunk WHERE account = 7 AND emails = (SELECT c.emails FROM chunk c JOIN mailbox m ON m.account = c.account AND m.mailbox = c.mailbox WHERE m.account = 7 AND m.name = 'Archive')")
	var found []index.Email
	var after mailbox.EmailID
	for {
		list, last, more, err := s.Check.Orphans(ctx, 7, after, 2, true)
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
	if list, _, _, err := s.Check.Orphans(ctx, 7, 0, 100, true); err != nil || len(list) != 0 {
		t.Errorf("Orphans after it: %+v, %v", list, err)
	}
}

// movedOrphans takes the entries of what was moved away: nothing but having been moved names them.
func movedOrphans(t *testing.T, s CheckSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(500), newMessage(600), newMessage(700), newMessage(800)).Mailbox
	if _, err := s.Mailboxes.Move(ctx, 7, box, mailbox.UIDSet{{First: 1, Last: 3}}, "Archive"); err != nil {
		t.Fatal(err)
	}
	archive := s.find(t, 7, "Archive").ID
	s.expunge(t, 7, archive, one(1))
	lost := s.look(t, 7, archive).entries()
	s.spoil(t, fmt.Sprintf("DELETE FROM chunk WHERE account = 7 AND mailbox = %d", archive))
	if list, _, _, err := s.Check.Orphans(ctx, 7, 0, 100, true); err != nil || len(list) != 0 {
		t.Errorf("Orphans where having been moved counts: %+v, %v", list, err)
	}
	list, _, _, err := s.Check.Orphans(ctx, 7, 0, 100, false)
	if err != nil || len(list) != 2 || list[0].ID != lost[0].Email || list[1].ID != lost[1].Email {
		t.Errorf("Orphans: %+v, %v; want those of %+v", list, err, lost)
	}
	// The purge takes what was expunged, and leaves what should be in Archive, as long as entries are missing.
	s.Advance(40 * day)
	if p := s.purge(t, index.Rules{Keep: 30 * day}); p.Entries != 4 || p.Emails != 1 {
		t.Errorf("Purge: %+v, want 4 entries and the message that was expunged", p)
	}
	if list, _, _, err := s.Check.Orphans(ctx, 7, 0, 100, true); err != nil || len(list) != 2 {
		t.Errorf("Orphans after the purge: %+v, %v", list, err)
	}
}

// strays takes the row of a mailbox away, whose messages are then filed elsewhere.
func strays(t *testing.T, s CheckSubject) {
	ctx := t.Context()
	var list []index.Message
	for i := range 600 {
		list = append(list, newMessage(500, []string{`\Seen`, `\Deleted`}[i%2], "$Work"))
	}
	box := s.append(t, 7, "Archive", list...).Mailbox
	kept := s.append(t, 7, index.Inbox, newMessage(500)).Mailbox
	if _, err := s.Mailboxes.Copy(ctx, 7, kept, all, "Archive"); err != nil {
		t.Fatal(err)
	}
	want := s.look(t, 7, box).entries()
	s.spoil(t, "DELETE FROM mailbox WHERE account = 7 AND name = 'Archive'")
	ids := []mailbox.EmailID{want[0].Email}
	if placed, err := s.Retention.Placed(ctx, 7, ids); err != nil || len(placed) != 0 {
		t.Errorf("Placed: %v, %v", placed, err)
	}
	found, err := s.Check.Strays(ctx, 7)
	if err != nil || len(found) != 1 || found[0] != (index.Stray{Mailbox: box, Messages: 601}) {
		t.Errorf("Strays: %+v, %v", found, err)
	}
	if orphans, _, _, err := s.Check.Orphans(ctx, 7, 0, 1000, true); err != nil || len(orphans) != 600 {
		t.Errorf("%d orphans, %v; one of 601 is in INBOX", len(orphans), err)
	}
	s.right(t, false)
	var after index.ChunkID
	restored := 0
	for more := true; more; {
		r, err := s.Check.Refile(ctx, 7, "Recovered", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		restored += len(r.Restored)
		after, more = r.Last, r.More
	}
	got := s.look(t, 7, s.find(t, 7, "Recovered").ID).entries()
	if restored != 601 || len(got) != 601 {
		t.Fatalf("%d restored, %d entries", restored, len(got))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Email != w.Email || g.Size != w.Size || g.Received != w.Received || g.Flags != w.Flags&mailbox.Seen {
			t.Errorf("entry %d: %+v, was %+v", i, g, w)
		}
	}
	if found, err := s.Check.Strays(ctx, 7); err != nil || len(found) != 0 {
		t.Errorf("Strays after it: %+v, %v", found, err)
	}
	if orphans, _, _, err := s.Check.Orphans(ctx, 7, 0, 1000, false); err != nil || len(orphans) != 0 {
		t.Errorf("Orphans after it: %+v, %v", orphans, err)
	}
	s.right(t, true) // they are counted once

	// What was counted anew before has none of them.
	s.spoil(t, "DELETE FROM mailbox WHERE account = 7 AND name = 'Recovered'")
	if _, err := s.Check.Recount(ctx, 7); err != nil {
		t.Fatal(err)
	}
	s.right(t, true)
	for after, more := (index.ChunkID{}), true; more; {
		r, err := s.Check.Refile(ctx, 7, "Recovered", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		s.right(t, true)
		after, more = r.Last, r.More
	}
}

// givenNumbers takes the numbers of mailboxes back to before what was removed: none is given again.
func givenNumbers(t *testing.T, open func(testing.TB) CheckSubject) {
	const inbox = " WHERE account = 7 AND name = 'INBOX'"
	for _, tt := range []struct {
		name   string
		spoil  []string
		anew   bool        // the UIDVALIDITY
		next   mailbox.UID // at least
		jumped bool        // MODSEQ
	}{
		{"kept", []string{"UPDATE mailbox SET uid_next = 4" + inbox, "DELETE FROM tombstone WHERE account = 7"}, false, 11, false},
		{"tombstones", []string{"UPDATE mailbox SET uid_next = 4" + inbox, "DELETE FROM removed WHERE account = 7", "UPDATE kept SET entries = 0, octets = 0 WHERE account = 7"}, true, 11, false},
		{"nothing", []string{"UPDATE mailbox SET uid_next = 2" + inbox, "DELETE FROM removed WHERE account = 7", "DELETE FROM tombstone WHERE account = 7"}, true, 4, false},
		{"purged", []string{"UPDATE mailbox SET uid_next = 4, purged_mod_seq = highest_mod_seq" + inbox}, true, 11, false},
		{"chunk", []string{"UPDATE mailbox SET uid_next = 2" + inbox, "DELETE FROM chunk WHERE account = 7"}, true, 11, false},
		{"highest", []string{"UPDATE mailbox SET highest_mod_seq = 1" + inbox}, false, 11, false},
		{"all", []string{"UPDATE mailbox SET highest_mod_seq = 1 WHERE account = 7", "UPDATE account SET mod_seq = 1 WHERE account = 7"}, false, 11, true},
		{"account", []string{"UPDATE account SET mod_seq = 1, uid_validity = 1 WHERE account = 7"}, false, 11, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			var list []index.Message
			for range 10 {
				list = append(list, newMessage(500))
			}
			box := s.append(t, 7, index.Inbox, list...).Mailbox
			s.expunge(t, 7, box, mailbox.UIDSet{{First: 4, Last: 10}})
			before := s.find(t, 7, index.Inbox)
			_, seq, err := s.Mailboxes.List(t.Context(), 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, statement := range tt.spoil {
				s.spoil(t, statement)
			}
			if mended, err := s.Check.Recount(t.Context(), 7); err != nil || len(mended) == 0 {
				t.Errorf("Recount: %q, %v", mended, err)
			}
			after := s.find(t, 7, index.Inbox)
			if anew := after.UIDValidity > before.UIDValidity; anew != tt.anew || after.UIDNext < tt.next {
				t.Errorf("UIDVALIDITY %d, UIDNEXT %d; were %d, %d", after.UIDValidity, after.UIDNext, before.UIDValidity, before.UIDNext)
			}
			r := s.append(t, 7, index.Inbox, newMessage(500))
			if r.UIDs[0] < tt.next || r.ModSeq <= seq || tt.jumped != (r.ModSeq > seq+1<<31) {
				t.Errorf("the next UID is %d, and MODSEQ %d was %d", r.UIDs[0], r.ModSeq, seq)
			}
			if m, _, err := s.Mailboxes.Create(t.Context(), 7, "New", ""); err != nil || m.UIDValidity <= before.UIDValidity || m.UIDValidity == after.UIDValidity {
				t.Errorf("a new mailbox has %+v, %v", m, err)
			}
			if mended, err := s.Check.Recount(t.Context(), 7); err != nil || len(mended) != 0 {
				t.Errorf("Recount again: %q, %v", mended, err)
			}
			g, err := s.Check.Given(t.Context(), 7)
			if now := s.find(t, 7, index.Inbox); err != nil || g.Boxes[box].UIDNext > now.UIDNext || g.Boxes[box].ModSeq > now.HighestModSeq {
				t.Errorf("Given: %+v, %v; %+v", g, err, now)
			}
		})
	}
}

// lose takes rows of emails away: their entries go, and whoever has seen them is told.
func lose(t *testing.T, s CheckSubject) {
	var list []index.Message
	for range 300 {
		list = append(list, newMessage(500))
	}
	r := s.append(t, 7, index.Inbox, list...)
	all := s.look(t, 7, r.Mailbox).entries()
	ids := []mailbox.EmailID{all[1].Email, all[3].Email, all[299].Email}
	for _, id := range ids[:2] {
		s.spoil(t, fmt.Sprintf("DELETE FROM email WHERE account = 7 AND email = %d", id))
	}
	lost, err := s.Check.Lose(t.Context(), 7, r.Mailbox, ids)
	if err != nil || lost.Expunged.Len() != 2 || !lost.Expunged.Contains(2) || !lost.Expunged.Contains(4) || lost.ModSeq <= r.ModSeq {
		t.Errorf("Lose: %+v, %v", lost, err)
	}
	var v view
	if err := s.update(t.Context(), 7, r.Mailbox, r.ModSeq, &v); err != nil || v.expunged.Len() != 2 {
		t.Errorf("who has seen them is told %+v, %v", v.expunged, err)
	}
	if m := s.find(t, 7, index.Inbox); m.Messages != 298 || len(s.removed(t, index.RemovedQuery{Account: 7})) != 0 {
		t.Errorf("left: %+v", m)
	}
	s.right(t, true)
	if again, err := s.Check.Lose(t.Context(), 7, r.Mailbox, ids); err != nil || len(again.Expunged) != 0 {
		t.Errorf("Lose again: %+v, %v", again, err)
	}
}

// loseImported imports again what is lost, and what was removed: that stays removed.
func loseImported(t *testing.T, s CheckSubject) {
	q := index.Import{Account: 7, Name: "Old", Create: true, Messages: []index.ImportMessage{imported("a", 0), imported("b", 0), imported("c", 0)}}
	r := s.imports(t, q)
	id := s.look(t, 7, r.Mailbox).entries()[1].Email
	s.expunge(t, 7, r.Mailbox, one(3))
	s.spoil(t, fmt.Sprintf("DELETE FROM email WHERE account = 7 AND email = %d", id))
	if lost, err := s.Check.Lose(t.Context(), 7, r.Mailbox, []mailbox.EmailID{id}); err != nil || lost.Expunged.Len() != 1 {
		t.Fatalf("Lose: %+v, %v", lost, err)
	}
	again := s.imports(t, q)
	for i, want := range []index.ImportStatus{index.ImportPresent, index.ImportFiled, index.ImportGone} {
		if again.Messages[i].Status != want {
			t.Errorf("message %d has status %d, want %d", i, again.Messages[i].Status, want)
		}
	}
}

// farNumbers damages single rows, which tell numbers that nobody gave: the mailbox has room for mail still, also where something
// else of it is mended.
func farNumbers(t *testing.T, open func(testing.TB) CheckSubject) {
	for _, tt := range []struct {
		name, spoil string
		account     bool
	}{
		{"removed", "UPDATE removed SET uid_next = 4294967295 WHERE account = 7", false},
		{"tombstone", "UPDATE tombstone SET mod_seq = 9223372036854775000 WHERE account = 7", false},
		{"chunk", "UPDATE chunk SET max_mod_seq = 9223372036854775000 WHERE account = 7", false},
		{"validity", "INSERT INTO spent_validity (account, uid_validity) VALUES (7, 4294967295)", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			var list []index.Message
			for range 10 {
				list = append(list, newMessage(500))
			}
			box := s.append(t, 7, index.Inbox, list...).Mailbox
			s.expunge(t, 7, box, mailbox.UIDSet{{First: 4, Last: 10}})
			before := s.find(t, 7, index.Inbox)
			s.spoil(t, tt.spoil)
			s.spoil(t, "UPDATE mailbox SET uid_next = 5, unseen = unseen + 1 WHERE account = 7 AND name = 'INBOX'")
			g, err := s.Check.Given(t.Context(), 7)
			if err != nil || g.Boxes[box].Far == 0 != tt.account {
				t.Errorf("Given: %+v, %v", g, err)
			}
			if mended, err := s.Check.Recount(t.Context(), 7); err != nil || len(mended) == 0 {
				t.Errorf("Recount: %q, %v", mended, err)
			}
			after := s.find(t, 7, index.Inbox)
			if after.UIDNext != before.UIDNext || after.HighestModSeq > 1000 || after.UIDValidity > 1000 || after.Unseen != before.Unseen {
				t.Errorf("mended: %+v, was %+v", after, before)
			}
			if r := s.append(t, 7, index.Inbox, newMessage(500)); r.UIDs[0] != 11 || r.ModSeq > 1000 {
				t.Errorf("Append: %+v", r)
			}
			if m, _, err := s.Mailboxes.Create(t.Context(), 7, "New", ""); err != nil || m.UIDValidity > 1000 {
				t.Errorf("a new mailbox has %+v, %v", m, err)
			}
		})
	}
}
