package indextest

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// RetentionSubject is an index.Retention over an empty database, with its mailboxes.
type RetentionSubject struct {
	Subject
	Retention index.Retention
	// Now is the database's clock.
	Now func() time.Time
}

// RunRetention runs the tests of index.Retention.
func RunRetention(t *testing.T, open func(testing.TB) RetentionSubject) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, RetentionSubject)
	}{
		{"ExpungedIsKept", expungedIsKept},
		{"ExpireRules", expireRules},
		{"DeletedMailboxIsKept", deletedMailboxIsKept},
		{"RestoredIsPrivate", restoredIsPrivate},
		{"RestoredIsShared", restoredIsShared},
		{"AnnotationsRestored", annotationsRestored},
		{"RestoreTwice", restoreTwice},
		{"RestoreBeside", restoreBeside},
		{"RestoreIsAllOrNothing", restoreFails},
		{"Pages", retentionPages},
		{"PurgeByRule", purgeByRule},
		{"PurgePassesOver", purgePassesOver},
		{"PurgeKeepsNobodys", purgeKeepsNobodys},
		{"PurgeSeesNewRules", purgeSeesNewRules},
		{"PurgeByOctets", purgeByOctets},
		{"PurgeInSteps", purgeInSteps},
		{"HoldKeepsAll", holdKeepsAll},
		{"CopiesKeepEmails", copiesKeepEmails},
		{"DropAccount", dropAccount},
		{"DroppedStaysGone", droppedStaysGone},
		{"DroppingIsRefused", droppingIsRefused},
		{"DroppedAtOnce", droppedAtOnce},
		{"AtOnce", retentionAtOnce},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// kept is a message that was removed, with the row that it is in.
type kept struct {
	row   index.RemovedRow
	entry mailbox.Entry
}

// removed lists all that was removed of an account, the latest rows first.
func (s *RetentionSubject) removed(t tester, q index.RemovedQuery) (list []kept) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	rows, err := s.Retention.Removed(t.Context(), q)
	if err != nil {
		t.Fatalf("Removed: %v", err)
	}
	for _, r := range rows {
		var c mailbox.Chunk
		if err := c.Unpack(&r.Entries); err != nil {
			t.Fatalf("row %+v: %v", r.RowID, err)
		}
		for i := range c.Len() {
			list = append(list, kept{r, c.At(i)})
		}
	}
	return list
}

func (s *RetentionSubject) restore(t tester, q index.Restore) index.RestoreResult {
	t.Helper()
	r, err := s.Retention.Restore(t.Context(), q)
	if err != nil {
		t.Fatalf("Restore: %v", err)
	}
	return r
}

func (s *RetentionSubject) expunge(t tester, account mailbox.AccountID, box mailbox.ID, uids mailbox.UIDSet) index.ExpungeResult {
	t.Helper()
	r, err := s.Mailboxes.Expunge(t.Context(), account, box, uids, true)
	if err != nil {
		t.Fatalf("Expunge: %v", err)
	}
	return r
}

func (s *RetentionSubject) purge(t tester, rules index.Rules) index.Purged {
	t.Helper()
	var all index.Purged
	rules.Now = s.Now()
	for {
		p, more, err := s.Retention.Purge(t.Context(), rules, 10)
		if err != nil {
			t.Fatalf("Purge: %v", err)
		}
		all.Rows, all.Entries, all.Emails = all.Rows+p.Rows, all.Entries+p.Entries, all.Emails+p.Emails
		if !more {
			return all
		}
	}
}

// there is how many of emails have a row.
func (s *RetentionSubject) there(t tester, account mailbox.AccountID, emails ...mailbox.EmailID) int {
	t.Helper()
	list, err := s.Mailboxes.Emails(t.Context(), account, emails, false)
	if err != nil {
		t.Fatalf("Emails: %v", err)
	}
	return len(list)
}

func entriesOf(list []kept) (out []index.RestoreEntry) {
	for _, k := range list {
		out = append(out, index.RestoreEntry{Email: k.entry.Email, Flags: k.entry.Flags.Names(k.row.Keywords), Size: k.entry.Size, Received: k.entry.Received})
	}
	return out
}

func expungedIsKept(t *testing.T, s RetentionSubject) {
	var list []index.Message
	for i := range 600 {
		list = append(list, newMessage(500, []string{`\Seen`, "work", `\Flagged`}[i%3]))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	before := s.look(t, 7, box).entries()
	names := s.find(t, 7, index.Inbox).Keywords
	at := s.Now()
	r := s.expunge(t, 7, box, mailbox.UIDSet{{First: 5, Last: 5}, {First: 200, Last: 599}})
	list2 := s.removed(t, index.RemovedQuery{Account: 7})
	if len(list2) != 401 {
		t.Fatalf("%d messages are kept, want 401", len(list2))
	}
	slices.SortFunc(list2, func(a, b kept) int { return int(a.entry.UID) - int(b.entry.UID) })
	for i, k := range list2 {
		want := before[4]
		if i > 0 {
			want = before[198+i]
		}
		want.Saved = want.Received // what comes back is saved anew
		if k.entry != want || !reflect.DeepEqual(k.entry.Flags.Names(k.row.Keywords), want.Flags.Names(names)) {
			t.Fatalf("kept %+v, want %+v", k.entry, want)
		}
		if k.row.ModSeq != r.ModSeq || k.row.Kind != index.Expunged || k.row.Name != index.Inbox || k.row.Mailbox != box || k.row.UIDNext != 601 {
			t.Fatalf("row %+v", k.row.RowID)
		}
		if d := k.row.Removed.Sub(at); d < 0 || d > time.Minute {
			t.Fatalf("removed at %v, it was %v", k.row.Removed, at)
		}
	}
	sum, err := s.Retention.Kept(t.Context(), 7)
	if err != nil || sum.Entries != 401 || sum.Octets != 401*500 {
		t.Errorf("Kept: %+v, %v", sum, err)
	}
	// Kept messages do not count towards quota.
	if m := s.find(t, 7, index.Inbox); m.Messages != 199 || m.Size != 199*500 {
		t.Errorf("left: %+v", m)
	}
	// What is moved is told too, unless nobody wants to know.
	if _, err := s.Mailboxes.Move(t.Context(), 7, box, one(6), "Archive"); err != nil {
		t.Fatal(err)
	}
	if got := s.removed(t, index.RemovedQuery{Account: 7, Limit: 1}); len(got) != 1 || got[0].row.Kind != index.Moved || got[0].entry.UID != 6 {
		t.Errorf("moved: %+v", got)
	}
	if got := s.removed(t, index.RemovedQuery{Account: 7, NoMoved: true}); len(got) != 401 {
		t.Errorf("without what was moved: %d", len(got))
	}
	placed, err := s.Retention.Placed(t.Context(), 7, []mailbox.EmailID{before[5].Email, before[4].Email, before[0].Email})
	if err != nil || !reflect.DeepEqual(placed, map[mailbox.EmailID]bool{before[5].Email: true, before[0].Email: true}) {
		t.Errorf("Placed: %v, %v", placed, err)
	}
	if sum, err := s.Retention.Kept(t.Context(), 7); err != nil || sum.Entries != 402 || sum.Octets != 401*500 {
		t.Errorf("Kept with a move: %+v, %v", sum, err)
	}
}

func deletedMailboxIsKept(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	made, _, err := s.Mailboxes.Create(ctx, 7, "Work/2026", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Subscribe(ctx, 7, "Work/2026", true); err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, "Work/2026", newMessage(500, "later"), newMessage(600, `\Deleted`))
	if _, err := s.Mailboxes.Delete(ctx, 7, "Work/2026"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Retention.RemovedMailboxes(ctx, 7)
	if err != nil || len(list) != 1 {
		t.Fatalf("RemovedMailboxes: %+v, %v", list, err)
	}
	m := list[0]
	if m.ID != made.ID || m.Name != "Work/2026" || m.UIDValidity != made.UIDValidity || m.UIDNext != 3 || !m.Subscribed || m.Messages != 2 || m.Size != 1100 ||
		!reflect.DeepEqual(m.Keywords, []string{"later"}) {
		t.Errorf("got %+v, made %+v", m, made)
	}
	k := s.removed(t, index.RemovedQuery{Account: 7, Mailbox: made.ID})
	if len(k) != 2 || k[0].row.Kind != index.Deleted {
		t.Fatalf("entries: %+v", k)
	}
	r := s.restore(t, index.Restore{Account: 7, Target: m.Name, Subscribed: true, Entries: entriesOf(k)})
	if !r.Made || len(r.Restored) != 2 {
		t.Errorf("Restore: %+v", r)
	}
	got := s.find(t, 7, "Work/2026")
	if got.Messages != 2 || got.Deleted != 0 || !got.Subscribed || got.UIDValidity <= made.UIDValidity {
		t.Errorf("restored: %+v", got)
	}
}

// restoredIsPrivate: who was taken out of a folder's list does not read it after it is brought back below one that he reads.
func restoredIsPrivate(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	set := func(box mailbox.ID, mode index.ACLMode) {
		t.Helper()
		if _, err := s.Sharing.SetACL(ctx, index.ACLChange{Account: 7, Mailbox: box, Identifier: acl.User(9), Mode: mode, Rights: acl.Lookup | acl.Read}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(name string) []index.Grant {
		t.Helper()
		l, err := s.Sharing.ACL(ctx, 7, s.find(t, 7, name).ID)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	team, _, err := s.Mailboxes.Create(ctx, 7, "Team", "")
	if err != nil {
		t.Fatal(err)
	}
	set(team.ID, index.ReplaceRights)
	own, _, err := s.Mailboxes.Create(ctx, 7, "Team/a/Own", "")
	if err != nil {
		t.Fatal(err)
	}
	if l := list("Team/a/Own"); len(l) != 1 {
		t.Fatalf("inherited: %+v", l)
	}
	set(own.ID, index.RemoveRights)
	s.append(t, 7, "Team/a/Own", newMessage(500))
	for _, name := range []string{"Team/a/Own", "Team/a"} {
		if _, err := s.Mailboxes.Delete(ctx, 7, name); err != nil {
			t.Fatal(err)
		}
	}
	r := s.restore(t, index.Restore{Account: 7, Target: "Team/a/Own", Entries: entriesOf(s.removed(t, index.RemovedQuery{Account: 7, Mailbox: own.ID}))})
	if !r.Made || len(r.Restored) != 1 {
		t.Errorf("Restore: %+v", r)
	}
	for _, name := range []string{"Team/a", "Team/a/Own"} {
		if l := list(name); len(l) != 0 {
			t.Errorf("%s has a list: %+v", name, l)
		}
	}
	if l := list("Team"); len(l) != 1 {
		t.Errorf("Team has %+v", l)
	}
}

func restoreTwice(t *testing.T, s RetentionSubject) {
	box := s.append(t, 7, index.Inbox, newMessage(500, `\Seen`, "x"), newMessage(600, `\Deleted`), newMessage(700)).Mailbox
	before := s.look(t, 7, box).entries()
	s.expunge(t, 7, box, mailbox.UIDSet{{First: 1, Last: 2}})
	q := index.Restore{Account: 7, Target: index.Inbox, Entries: entriesOf(s.removed(t, index.RemovedQuery{Account: 7}))}
	q.Entries = append(q.Entries, index.RestoreEntry{Email: 12345, Size: 1})
	r := s.restore(t, q)
	if len(r.Restored) != 2 || len(r.Present) != 0 || !reflect.DeepEqual(r.Gone, []mailbox.EmailID{12345}) {
		t.Errorf("first: %+v", r)
	}
	after := s.look(t, 7, box).entries()
	if len(after) != 3 || after[1].UID != 4 || after[1].Flags != before[0].Flags || after[2].Flags != 0 || after[1].Received != before[0].Received ||
		after[1].Size != 500 || after[1].ModSeq != r.ModSeq {
		t.Errorf("restored: %+v of %+v", after, before)
	}
	again := s.restore(t, q)
	if len(again.Restored) != 0 || len(again.Present) != 2 || again.ModSeq != r.ModSeq {
		t.Errorf("again: %+v", again)
	}
	if m := s.find(t, 7, index.Inbox); m.Messages != 3 || m.Size != 1800 || m.Unseen != 2 {
		t.Errorf("counters: %+v", m)
	}
	// Once removed again, it can be brought back again.
	s.expunge(t, 7, box, one(4))
	if r := s.restore(t, q); len(r.Restored) != 1 || len(r.Present) != 1 {
		t.Errorf("after another expunge: %+v", r)
	}
}

// restoreBeside: what another mailbox has comes back only where that is asked for, whatever the caller saw before.
func restoreBeside(t *testing.T, s RetentionSubject) {
	box := s.append(t, 7, index.Inbox, newMessage(500), newMessage(600)).Mailbox
	s.expunge(t, 7, box, all)
	q := index.Restore{Account: 7, Target: index.Inbox, Entries: entriesOf(s.removed(t, index.RemovedQuery{Account: 7}))}
	if r := s.restore(t, q); len(r.Restored) != 2 {
		t.Errorf("first: %+v", r)
	}
	if _, _, err := s.Mailboxes.Create(t.Context(), 7, "Work", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Move(t.Context(), 7, box, one(3), "Work"); err != nil {
		t.Fatal(err)
	}
	r := s.restore(t, q)
	if len(r.Restored) != 0 || len(r.Present) != 2 {
		t.Errorf("after a move: %+v", r)
	}
	q.Target = "Elsewhere"
	if r := s.restore(t, q); len(r.Restored) != 0 || len(r.Present) != 2 {
		t.Errorf("into another mailbox: %+v", r)
	}
	q.Entries[0].Beside = true
	if r := s.restore(t, q); len(r.Restored) != 1 || len(r.Present) != 1 || r.Restored[0] != q.Entries[0].Email {
		t.Errorf("beside: %+v", r)
	}
	if m := s.find(t, 7, "Elsewhere"); m.Messages != 1 {
		t.Errorf("Elsewhere: %+v", m)
	}
}

func restoreFails(t *testing.T, s RetentionSubject) {
	box := s.append(t, 7, index.Inbox, newMessage(500), newMessage(600)).Mailbox
	s.expunge(t, 7, box, all)
	q := index.Restore{Account: 7, Target: "Restored/INBOX", Entries: entriesOf(s.removed(t, index.RemovedQuery{Account: 7}))}
	for _, step := range []string{"restore.before-entries", "restore.before-commit"} {
		s.FailAt(func(at string) error {
			if at == step {
				return errors.New("lost")
			}
			return nil
		})
		if _, err := s.Retention.Restore(t.Context(), q); err == nil {
			t.Errorf("%s: no error", step)
		}
		list, _, err := s.Mailboxes.List(t.Context(), 7)
		if err != nil || slices.ContainsFunc(list, func(m index.Mailbox) bool { return m.Name == "Restored" || m.Messages > 0 }) {
			t.Errorf("%s: there is something: %v, %v", step, names(list), err)
		}
	}
	s.FailAt(func(string) error { return nil })
	if r := s.restore(t, q); len(r.Restored) != 2 || !r.Made {
		t.Errorf("Restore: %+v", r)
	}
	// An expunge that fails keeps nothing and removes nothing.
	box = s.find(t, 7, "Restored/INBOX").ID
	s.FailAt(func(at string) error {
		if at == "remove.before-tombstone" {
			return errors.New("lost")
		}
		return nil
	})
	if _, err := s.Mailboxes.Expunge(t.Context(), 7, box, all, true); err == nil {
		t.Error("Expunge did not fail")
	}
	s.FailAt(func(string) error { return nil })
	if got := s.removed(t, index.RemovedQuery{Account: 7, Mailbox: box}); len(got) != 0 {
		t.Errorf("kept of an expunge that failed: %+v", got)
	}
}

func retentionPages(t *testing.T, s RetentionSubject) {
	var list []index.Message
	for range 9 {
		list = append(list, newMessage(500))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	var times []time.Time
	for uid := mailbox.UID(1); uid <= 9; uid++ {
		s.Advance(time.Hour)
		times = append(times, s.Now())
		s.expunge(t, 7, box, one(uid))
	}
	var got []mailbox.UID
	var after index.RowID
	for {
		rows, err := s.Retention.Removed(t.Context(), index.RemovedQuery{Account: 7, After: after, Limit: 2})
		if err != nil || len(rows) > 2 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, r := range rows {
			got = append(got, r.Entries.FirstUID)
			if uids, err := mailbox.DecodeUIDSet(r.Entries.UIDs); err == nil {
				got[len(got)-1] = uids[0].First
			}
			after = r.RowID
		}
		if len(rows) < 2 {
			break
		}
	}
	if !reflect.DeepEqual(got, []mailbox.UID{9, 8, 7, 6, 5, 4, 3, 2, 1}) {
		t.Errorf("pages have %v", got)
	}
	some := s.removed(t, index.RemovedQuery{Account: 7, Since: times[2].Add(-time.Second), Until: times[5].Add(-time.Second)})
	if len(some) != 3 || some[0].entry.UID != 5 || some[2].entry.UID != 3 {
		t.Errorf("between two times: %+v", some)
	}
}

const day = 24 * time.Hour
