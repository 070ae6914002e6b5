package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// imported is a message that is imported by a key.
func imported(key string, uid mailbox.UID, flags ...string) index.ImportMessage {
	return index.ImportMessage{Message: newMessage(1000, flags...), Key: index.NewImportKey([]byte(key)), UID: uid}
}

func (s *Subject) imports(t tester, q index.Import) index.ImportResult {
	t.Helper()
	r, err := s.Imports.Import(t.Context(), q)
	if err != nil {
		t.Fatalf("Import: %v", err)
	}
	return r
}

func importOnce(t *testing.T, s Subject) {
	ctx := t.Context()
	q := index.Import{Account: 7, Name: "Old/2001", Messages: []index.ImportMessage{imported("a", 0, `\Seen`, "$Work"), imported("b", 0), imported("a", 0)}}
	if _, err := s.Imports.Import(ctx, q); !errors.Is(err, index.ErrNoMailbox) {
		t.Fatalf("without the mailbox: got %v, want ErrNoMailbox", err)
	}
	saved := time.Unix(1_600_000_000, 0)
	q.Messages[0].Saved, q.Messages[1].UIDL = saved, "x.1"
	q.Create, q.Subscribed, q.SpecialUse = true, true, `\Sent`
	r := s.imports(t, q)
	want := []index.Imported{{Status: index.ImportFiled, UID: 1}, {Status: index.ImportFiled, UID: 2}, {Status: index.ImportPresent, UID: 1}}
	if !r.Made || !r.Changed || r.Kept || r.Over || !reflect.DeepEqual(r.Messages, want) {
		t.Errorf("first: %+v", r)
	}
	box := s.find(t, 7, "Old/2001")
	if box.ID != r.Mailbox || box.UIDValidity != r.UIDValidity || !box.Subscribed || box.SpecialUse != "" || box.Messages != 2 || box.Unseen != 1 || box.Size != 2000 {
		t.Errorf("mailbox: %+v", box)
	}
	e := s.look(t, 7, box.ID).entries()
	if e[0].Saved != saved.Unix() || e[1].Saved != 1_800_000_000 || e[0].Received != q.Messages[0].Received.Unix() || e[0].Flags&mailbox.Seen == 0 || e[0].Flags == mailbox.Seen {
		t.Errorf("entries: %+v", e)
	}
	if above := s.find(t, 7, "Old"); above.ID == 0 || above.Subscribed {
		t.Errorf("above: %+v", above)
	}

	// A repeat files nothing, and what was removed is brought back only when it is asked for.
	again := s.imports(t, q)
	want[0].Status, want[1].Status = index.ImportPresent, index.ImportPresent
	if again.Made || again.Changed || again.ModSeq != r.ModSeq || !reflect.DeepEqual(again.Messages, want) {
		t.Errorf("repeat: %+v", again)
	}
	if _, err := s.Mailboxes.Expunge(ctx, 7, box.ID, one(1), true); err != nil {
		t.Fatal(err)
	}
	keys := []index.ImportKey{q.Messages[0].Key, index.NewImportKey([]byte("none")), q.Messages[1].Key}
	m, list, err := s.Imports.Imported(ctx, 7, "Old/2001", keys)
	if err != nil || m.ID != box.ID || m.UIDValidity != box.UIDValidity || m.Messages != 1 ||
		!reflect.DeepEqual(list, []index.Imported{{Status: index.ImportGone, UID: 1}, {}, {Status: index.ImportPresent, UID: 2}}) {
		t.Errorf("Imported: %+v, %+v, %v", m, list, err)
	}
	if r := s.imports(t, q); r.Changed || r.Messages[0].Status != index.ImportGone || r.Messages[1].Status != index.ImportPresent {
		t.Errorf("what was removed: %+v", r)
	}
	q.Again = true
	if r := s.imports(t, q); r.Messages[0] != (index.Imported{Status: index.ImportFiled, UID: 3}) || r.Messages[1].Status != index.ImportPresent {
		t.Errorf("again: %+v", r)
	}
	if r := s.imports(t, q); r.Changed || r.Messages[0] != (index.Imported{Status: index.ImportPresent, UID: 3}) {
		t.Errorf("repeat of again: %+v", r)
	}

	// Another mailbox has keys of its own, and one that goes takes them along.
	q.Name = "Drafts"
	if r := s.imports(t, q); r.Made || r.Messages[0] != (index.Imported{Status: index.ImportFiled, UID: 1}) {
		t.Errorf("another mailbox: %+v", r)
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "Old/2001"); err != nil {
		t.Fatal(err)
	}
	if m, list, err := s.Imports.Imported(ctx, 7, "Old/2001", keys); err != nil || m.ID != 0 || !reflect.DeepEqual(list, make([]index.Imported, 3)) {
		t.Errorf("Imported of no mailbox: %+v, %+v, %v", m, list, err)
	}
	q.Name, q.Again = "Old/2001", false
	if r := s.imports(t, q); !r.Made || r.Messages[0].Status != index.ImportFiled {
		t.Errorf("made again: %+v", r)
	}
}

func importNumbers(t *testing.T, s Subject) {
	ctx := t.Context()
	const v = 1_234_567_890
	q := index.Import{Account: 7, Name: index.Inbox, UIDValidity: v, UIDNext: 5000,
		Messages: []index.ImportMessage{imported("a", 17), imported("b", 400), imported("c", 399), imported("d", 4711)}}
	q.Messages[1].UIDL, q.Messages[3].UIDL = "b.400", "d.4711"
	s.append(t, 7, index.Inbox, newMessage(1000)) // that was here, and is gone
	if _, err := s.Mailboxes.Expunge(ctx, 7, s.find(t, 7, index.Inbox).ID, one(1), true); err != nil {
		t.Fatal(err)
	}
	before := s.find(t, 7, index.Inbox)
	r := s.imports(t, q)
	uids := func(r index.ImportResult) (list []mailbox.UID) {
		for _, m := range r.Messages {
			list = append(list, m.UID)
		}
		return list
	}
	if !r.Kept || r.UIDValidity != v || !slices.Equal(uids(r), []mailbox.UID{17, 400, 401, 4711}) {
		t.Errorf("new: %+v", r)
	}
	box := s.find(t, 7, index.Inbox)
	if box.ID != before.ID || box.UIDValidity != v || box.UIDNext != 5000 || !slices.Equal(s.look(t, 7, box.ID).uids(), uids(r)) {
		t.Errorf("mailbox: %+v, UIDs %v", box, s.look(t, 7, box.ID).uids())
	}
	for after, want := range map[mailbox.UID][]index.UIDL{0: {{UID: 400, UIDL: "b.400"}, {UID: 4711, UIDL: "d.4711"}}, 400: {{UID: 4711, UIDL: "d.4711"}}, 4711: nil} {
		if got, err := s.Imports.UIDLs(ctx, 7, box.ID, after, 2); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("UIDLs behind %d: %v, %v; want %v", after, got, err, want)
		}
	}
	if r := s.append(t, 7, index.Inbox, newMessage(1000)); r.UIDs[0] != 5000 || r.UIDValidity != v {
		t.Errorf("append: %+v", r)
	}
	// Numbers that the account gives come behind, also those of mailboxes.
	made, _, err := s.Mailboxes.Create(ctx, 7, "New", "")
	if err != nil || made.UIDValidity != v+1 {
		t.Errorf("Create: %+v, %v", made, err)
	}
	// The rest of an import that broke off goes on behind.
	if r := s.imports(t, index.Import{Account: 7, Name: index.Inbox, UIDValidity: v, Messages: []index.ImportMessage{imported("e", 4712), imported("f", 6000)}}); !r.Kept ||
		!slices.Equal(uids(r), []mailbox.UID{5001, 6000}) {
		t.Errorf("the rest: %+v", r)
	}

	for _, tt := range []struct {
		name, box string
		v         mailbox.UIDValidity
		want      bool
	}{
		{"that of another mailbox", "Junk", v, false},
		{"that another mailbox had", "Trash", before.UIDValidity, false},
		{"lower than others", "Sent", 1_000_000, true},
		{"none", "Drafts", 0, false},
		{"the last there is", "Drafts", 1<<32 - 1, false},
		{"of one with messages", "Sent", 2_000_000, false},
		{"the same", "Sent", 1_000_000, true},
	} {
		was := s.find(t, 7, tt.box)
		r := s.imports(t, index.Import{Account: 7, Name: tt.box, UIDValidity: tt.v, Messages: []index.ImportMessage{imported(tt.name, 90)}})
		if r.Kept != tt.want || tt.want && r.UIDValidity != tt.v || !tt.want && r.UIDValidity != was.UIDValidity {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if wantUID := max(was.UIDNext, 90); tt.want && r.Messages[0].UID != wantUID || !tt.want && r.Messages[0].UID != was.UIDNext {
			t.Errorf("%s: UID %d", tt.name, r.Messages[0].UID)
		}
	}
	// One of a mailbox that is gone does not come again.
	if _, err := s.Mailboxes.Delete(ctx, 7, "Sent"); err != nil {
		t.Fatal(err)
	}
	if r := s.imports(t, index.Import{Account: 7, Name: "Sent", Create: true, UIDValidity: 1_000_000}); r.Kept || !r.Made || len(r.Messages) != 0 {
		t.Errorf("of one that is gone: %+v", r)
	}
}

// importTree imports a tree from its leaf up, with numbers as low as those that a new account gives: each mailbox has its own again.
func importTree(t *testing.T, s Subject) {
	next := s.find(t, 7, "Junk").UIDValidity
	for _, name := range []string{"Archive", "Drafts", "Sent", "Trash"} {
		next = max(next, s.find(t, 7, name).UIDValidity)
	}
	tree := []struct {
		name string
		v    mailbox.UIDValidity
	}{{"B/x", next + 2}, {"B", next + 5}, {"A/b/c", next + 7}, {"A", next + 6}, {"Low", next + 1}, {"Next", next + 3}, {"A/b", next + 4}}
	for _, b := range tree {
		q := index.Import{Account: 7, Name: b.name, Create: true, UIDValidity: b.v, Messages: []index.ImportMessage{imported(b.name, 3)}}
		if r := s.imports(t, q); !r.Kept || r.UIDValidity != b.v || r.Messages[0].UID != 3 {
			t.Errorf("%s of UIDVALIDITY %d: %+v", b.name, b.v, r)
		}
	}
	seen := map[mailbox.UIDValidity]string{}
	for _, b := range tree {
		box := s.find(t, 7, b.name)
		if other := seen[box.UIDValidity]; other != "" {
			t.Errorf("%s and %s have UIDVALIDITY %d", b.name, other, box.UIDValidity)
		}
		seen[box.UIDValidity] = b.name
	}
}

func importQuota(t *testing.T, s Subject) {
	ctx := t.Context()
	s.setQuota(t, "", 2500, 0)
	q := index.Import{Account: 7, Name: index.Inbox}
	for i := range 3 {
		q.Messages = append(q.Messages, imported(fmt.Sprint(i), 0))
	}
	if _, err := s.Imports.Import(ctx, q); !errors.Is(err, index.ErrOverQuota) {
		t.Fatalf("got %v, want ErrOverQuota", err)
	}
	if box := s.find(t, 7, index.Inbox); box.Messages != 0 {
		t.Errorf("%d messages of a batch that was refused", box.Messages)
	}
	q.OverQuota = true
	if r := s.imports(t, q); !r.Over || r.Messages[2].Status != index.ImportFiled {
		t.Errorf("over quota: %+v", r)
	}
	// What is there needs no room.
	q.OverQuota = false
	if r := s.imports(t, q); !r.Over || r.Messages[2].Status != index.ImportPresent {
		t.Errorf("repeat: %+v", r)
	}
}

func importFails(t *testing.T, s Subject) {
	ctx := t.Context()
	q := index.Import{Account: 7, Name: "Old", Create: true, UIDValidity: 99, Messages: []index.ImportMessage{imported("a", 5), imported("b", 9)}}
	for _, step := range []string{"import.before-email", "import.before-commit"} {
		s.FailAt(func(at string) error {
			if at == step {
				return errors.New("lost at " + step)
			}
			return nil
		})
		if _, err := s.Imports.Import(ctx, q); err == nil {
			t.Fatalf("%s: no error", step)
		}
		s.FailAt(func(string) error { return nil })
		list, _, err := s.Mailboxes.List(ctx, 7)
		if err != nil || slices.Contains(names(list), "Old") {
			t.Errorf("%s: %v, %v", step, names(list), err)
		}
	}
	condemned := q.Messages[1].Blob
	if err := s.Condemn(condemned); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Imports.Import(ctx, q); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("got %v, want ErrCondemned", err)
	}
	q.Messages[1] = imported("b", 9)
	if r := s.imports(t, q); !r.Kept || r.Messages[0].UID != 5 || r.Messages[1].UID != 9 {
		t.Errorf("then: %+v", r)
	}
}
