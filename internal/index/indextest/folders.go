package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func newAccount(t *testing.T, s Subject) {
	list, seq, err := s.Mailboxes.List(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(list), []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	validity := map[mailbox.UIDValidity]bool{}
	for _, m := range list {
		if want := map[string]string{"INBOX": ""}; m.Name != "INBOX" {
			want[m.Name] = `\` + m.Name
			if m.SpecialUse != want[m.Name] {
				t.Errorf("%s has the special use %q", m.Name, m.SpecialUse)
			}
		}
		if !m.Subscribed || m.UIDNext != 1 || m.UIDValidity == 0 || validity[m.UIDValidity] || m.HighestModSeq == 0 || m.HighestModSeq > seq {
			t.Errorf("%+v at MODSEQ %d", m, seq)
		}
		validity[m.UIDValidity] = true
	}
	again, seq2, err := s.Mailboxes.List(t.Context(), 7)
	if err != nil || seq2 != seq || !reflect.DeepEqual(again, list) {
		t.Errorf("List changed something: %v, MODSEQ %d then %d", err, seq, seq2)
	}
}

func noAccount(t *testing.T, s Subject) {
	for _, id := range []mailbox.AccountID{0, 1 << 63, 1<<64 - 1} {
		if _, _, err := s.Mailboxes.List(t.Context(), id); !errors.Is(err, index.ErrNoAccount) {
			t.Errorf("List of %d: got %v, want ErrNoAccount", id, err)
		}
	}
	if _, _, err := s.Mailboxes.List(t.Context(), 1<<63-1); err != nil {
		t.Errorf("List of the greatest id: %v", err)
	}
}

func createListDelete(t *testing.T, s Subject) {
	ctx := t.Context()
	m, seq, err := s.Mailboxes.Create(ctx, 7, "a/b/c", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.find(t, 7, "a/b/c"); got.ID != m.ID || got.UIDValidity != m.UIDValidity || got.HighestModSeq != seq {
		t.Errorf("got %+v, want %+v", got, m)
	}
	if a := s.find(t, 7, "a"); a.ID == 0 || a.UIDValidity == m.UIDValidity {
		t.Errorf("the level above: %+v", a)
	}
	for _, name := range []string{"a/b/c", "a", "INBOX"} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); !errors.Is(err, index.ErrExists) {
			t.Errorf("Create(%s) again: got %v, want ErrExists", name, err)
		}
	}
	if _, _, err := s.Mailboxes.Create(ctx, 7, "Spam", `\Junk`); !errors.Is(err, index.ErrExists) {
		t.Errorf("a second \\Junk: got %v, want ErrExists", err)
	}
	s.append(t, 7, "a/b/c", newMessage(500))
	seq2, err := s.Mailboxes.Delete(ctx, 7, "a/b/c")
	if err != nil || seq2 <= seq {
		t.Errorf("Delete: MODSEQ %d after %d, %v", seq2, seq, err)
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "a/b/c"); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("Delete again: got %v, want ErrNoMailbox", err)
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "INBOX"); !errors.Is(err, index.ErrRefused) {
		t.Errorf("Delete of INBOX: got %v, want ErrRefused", err)
	}
	if err := s.update(ctx, 7, m.ID, 0, &view{}); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("Snapshot of what is gone: got %v, want ErrNoMailbox", err)
	}
	again, _, err := s.Mailboxes.Create(ctx, 7, "a/b/c", "")
	if err != nil || again.ID == m.ID || again.UIDValidity <= m.UIDValidity {
		t.Errorf("made again: %+v after %+v, %v", again, m, err)
	}
	// A mailbox whose inferiors stay is only a parent then.
	if _, err := s.Mailboxes.Delete(ctx, 7, "a/b"); err != nil {
		t.Fatal(err)
	}
	if b := s.find(t, 7, "a/b"); b.ID != 0 {
		t.Errorf("deleted parent: %+v", b)
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "a/b"); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("Delete of a mere parent: got %v, want ErrNoMailbox", err)
	}
}

func subscribe(t *testing.T, s Subject) {
	ctx := t.Context()
	before, _, err := s.Mailboxes.List(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := s.Mailboxes.Subscribe(ctx, 7, "nowhere", true)
	if err != nil {
		t.Fatal(err)
	}
	if m := s.find(t, 7, "nowhere"); m.ID != 0 || !m.Subscribed {
		t.Errorf("got %+v", m)
	}
	if same, err := s.Mailboxes.Subscribe(ctx, 7, "nowhere", true); err != nil || same != seq {
		t.Errorf("again: MODSEQ %d, then %d, %v", seq, same, err)
	}
	if _, err := s.Mailboxes.Subscribe(ctx, 7, "INBOX", false); err != nil {
		t.Fatal(err)
	}
	if m := s.find(t, 7, "INBOX"); m.Subscribed {
		t.Errorf("INBOX is still subscribed")
	}
	// Subscriptions outlive their mailbox (RFC 9051 §6.3.7).
	if _, err := s.Mailboxes.Delete(ctx, 7, "Junk"); err != nil {
		t.Fatal(err)
	}
	if m := s.find(t, 7, "Junk"); m.ID != 0 || !m.Subscribed {
		t.Errorf("deleted but subscribed: %+v", m)
	}
	for _, name := range []string{"Junk", "nowhere"} {
		if _, err := s.Mailboxes.Subscribe(ctx, 7, name, false); err != nil {
			t.Fatal(err)
		}
	}
	if list, _, err := s.Mailboxes.List(ctx, 7); err != nil || len(list) != len(before)-1 {
		t.Errorf("left: %v, %v", names(list), err)
	}
}

func rename(t *testing.T, s Subject) {
	ctx := t.Context()
	for _, name := range []string{"a/b/c", "ab", "d"} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.append(t, 7, "a/b", newMessage(500))
	was := s.find(t, 7, "a/b")
	if _, err := s.Mailboxes.Rename(ctx, 7, "a", "x/y"); err != nil {
		t.Fatal(err)
	}
	list, _, err := s.Mailboxes.List(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "ab", "d", "x", "x/y", "x/y/b", "x/y/b/c"}
	if got := names(list); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	is := s.find(t, 7, "x/y/b")
	if was.Name = is.Name; !reflect.DeepEqual(is, was) {
		t.Errorf("renamed: %+v, was %+v", is, was)
	}
	// To the name of a level above that is only a parent: what it gives up is free for those below it.
	if _, _, err := s.Mailboxes.Create(ctx, 7, "x/y/y", ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "x/y"} {
		if _, err := s.Mailboxes.Delete(ctx, 7, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Mailboxes.Rename(ctx, 7, "x/y", "x"); err != nil {
		t.Fatal(err)
	}
	if list, _, err = s.Mailboxes.List(ctx, 7); err != nil {
		t.Fatal(err)
	}
	want = []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "ab", "d", "(x)", "x/b", "x/b/c", "x/y"}
	if got := names(list); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func renameInbox(t *testing.T, s Subject) {
	ctx := t.Context()
	s.append(t, 7, "INBOX", newMessage(500, `\Seen`), newMessage(600, "work"))
	if _, _, err := s.Mailboxes.Create(ctx, 7, "INBOX/sub", ""); err != nil {
		t.Fatal(err)
	}
	was := s.find(t, 7, "INBOX")
	if _, err := s.Mailboxes.Rename(ctx, 7, "INBOX", "old/mail"); err != nil {
		t.Fatal(err)
	}
	inbox, moved := s.find(t, 7, "INBOX"), s.find(t, 7, "old/mail")
	if inbox.ID != was.ID || inbox.Messages != 0 || inbox.Size != 0 || inbox.UIDNext != was.UIDNext {
		t.Errorf("INBOX: %+v", inbox)
	}
	if moved.Messages != 2 || moved.Size != 1100 || moved.Unseen != 1 || !reflect.DeepEqual(moved.Keywords, []string{"work"}) {
		t.Errorf("moved: %+v", moved)
	}
	if sub := s.find(t, 7, "INBOX/sub"); sub.ID == 0 {
		t.Errorf("the inferior of INBOX moved")
	}
}

func renameRefused(t *testing.T, s Subject) {
	ctx := t.Context()
	deep := "l1/l2/l3/l4/l5/l6/l7/l8/l9/l10/l11/l12/l13/l14/l15/l16/l17/l18/l19"
	for _, name := range []string{"a/b", "c", "d/b", deep} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "d"); err != nil {
		t.Fatal(err)
	}
	list, seq, _ := s.Mailboxes.List(ctx, 7)
	for _, tt := range []struct {
		from, to string
		want     error
	}{
		{"nowhere", "x", index.ErrNoMailbox},
		{"a", "c", index.ErrExists},
		{"a", "a", index.ErrExists},
		{"a", "INBOX", index.ErrExists},
		{"INBOX", "c", index.ErrExists},
		{"a", "a/b/c", index.ErrRefused},
		{"a", "d", index.ErrExists}, // its inferior d/b is in the way
		{"l1", "more/l1/l2", index.ErrRefused},
	} {
		if _, err := s.Mailboxes.Rename(ctx, 7, tt.from, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("Rename(%s, %s): got %v, want %v", tt.from, tt.to, err, tt.want)
		}
	}
	if after, seq2, err := s.Mailboxes.List(ctx, 7); err != nil || seq2 != seq || fmt.Sprint(names(after)) != fmt.Sprint(names(list)) {
		t.Errorf("something changed: %v to %v, %v", names(list), names(after), err)
	}
}
