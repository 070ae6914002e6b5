package indextest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func find(t *testing.T, s Subject) {
	ctx := t.Context()
	// A new account has its folders here too.
	found, err := s.Mailboxes.Find(ctx, 7, []string{"INBOX"}, nil)
	if err != nil || len(found) != 1 || found[0].ID == 0 || found[0].Children {
		t.Fatalf("of a new account: %+v, %v", found, err)
	}
	for _, name := range []string{"a/b/c", "a!", "a0", "é/ü"} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Mailboxes.Subscribe(ctx, 7, "a/b", true); err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, "a/b", newMessage(500, "x"))
	list, _, err := s.Mailboxes.List(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var ids []mailbox.ID
	for _, m := range list {
		names, ids = append(names, m.Name), append(ids, m.ID)
	}
	names, ids = append(names, "nothing"), append(ids, nowhere)
	found, err = s.Mailboxes.Find(ctx, 7, names, ids)
	if err != nil || len(found) != 2*len(names) {
		t.Fatalf("%d of %d: %v", len(found), 2*len(names), err)
	}
	for i, m := range list {
		for _, f := range []index.Found{found[i], found[len(names)+i]} {
			if !reflect.DeepEqual(f.Mailbox, m) {
				t.Errorf("%s: got %+v, want %+v", m.Name, f.Mailbox, m)
			}
			if want := m.Name == "a" || m.Name == "a/b" || m.Name == "é"; f.Children != want {
				t.Errorf("%s: children %v", m.Name, f.Children)
			}
		}
	}
	for _, i := range []int{len(names) - 1, 2*len(names) - 1} {
		if found[i].ID != 0 {
			t.Errorf("what is not there: %+v", found[i])
		}
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "a/b"); err != nil {
		t.Fatal(err)
	}
	if found, err = s.Mailboxes.Find(ctx, 7, []string{"a/b", "a"}, nil); err != nil || found[0].ID != 0 || !found[1].Children {
		t.Errorf("a parent in name only: %+v, %v", found, err)
	}
	for _, id := range []mailbox.AccountID{0, 1 << 63} {
		if _, err := s.Mailboxes.Find(ctx, id, []string{"INBOX"}, nil); !errors.Is(err, index.ErrNoAccount) {
			t.Errorf("account %d: got %v, want ErrNoAccount", id, err)
		}
	}
}
