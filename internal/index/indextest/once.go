package indextest

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func appendOnce(t *testing.T, s Subject) {
	ctx := t.Context()
	op := index.Once{Operation: index.Operation{1, 2, 3}}
	messages := []index.Message{newMessage(500), newMessage(600)}
	first, err := s.Mailboxes.AppendOnce(ctx, 7, "INBOX", messages, op)
	if err != nil || len(first.UIDs) != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	s.append(t, 7, "INBOX", newMessage(700))
	again, err := s.Mailboxes.AppendOnce(ctx, 7, "INBOX", messages, op)
	if again.ModSeq <= first.ModSeq {
		t.Errorf("MODSEQ %d, want that of now", again.ModSeq)
	}
	again.ModSeq = first.ModSeq
	if err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("again: %+v, %v; want %+v", again, err, first)
	}
	if m := s.find(t, 7, "INBOX"); m.Messages != 3 {
		t.Errorf("%d messages", m.Messages)
	}
	// Another account's, and another operation, are others.
	if r, err := s.Mailboxes.AppendOnce(ctx, 8, "INBOX", messages, op); err != nil || len(r.UIDs) != 2 || r.Mailbox == first.Mailbox {
		t.Errorf("of another account: %+v, %v", r, err)
	}
	// What fails is not done: its repeat does it.
	failing := index.Once{Operation: index.Operation{4}}
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "later", messages, failing); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
	if _, _, err := s.Mailboxes.Create(ctx, 7, "later", ""); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Mailboxes.AppendOnce(ctx, 7, "later", messages, failing); err != nil || len(r.UIDs) != 2 {
		t.Errorf("tried again: %+v, %v", r, err)
	}
	// It is forgotten after a day.
	s.Advance(index.OperationAge + 1)
	for range 2 { // the first forgets it for the second
		if _, err := s.Mailboxes.AppendOnce(ctx, 7, "INBOX", messages, index.Once{Operation: index.Operation{9, byte(serial.Add(1))}}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Mailboxes.AppendOnce(ctx, 7, "INBOX", messages, op); err != nil || r.UIDs[0] == first.UIDs[0] {
		t.Errorf("after a day: %+v, %v", r, err)
	}
}

// appendOnceCopies: of copies it is told what they are copies of, and of their mailbox while it is there.
func appendOnceCopies(t *testing.T, s Subject) {
	const account = 41 // never touched
	ctx := t.Context()
	op := index.Once{Operation: index.Operation([]byte("sixteen octets .")), Source: mailbox.UIDSet{{First: 5, Last: 5}, {First: 9, Last: 9}}}
	if _, done, err := s.Mailboxes.Done(ctx, account, op.Operation); done || err != nil {
		t.Fatalf("Done = %v, %v before anything was", done, err)
	}
	messages := []index.Message{newMessage(300, `\Flagged`), newMessage(300)}
	if _, err := s.Mailboxes.AppendOnce(ctx, account, "Sent", messages[:1], op); err == nil {
		t.Error("one message is a copy of two")
	}
	first, err := s.Mailboxes.AppendOnce(ctx, account, "Sent", messages, op)
	if err != nil || !slices.Equal(first.Source, op.Source) || len(first.UIDs) != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := s.Mailboxes.AppendOnce(ctx, account, "Sent", messages, op)
	if err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("again %+v, %v; first %+v", again, err, first)
	}
	want := first
	want.ModSeq = 0
	if r, done, err := s.Mailboxes.Done(ctx, account, op.Operation); !done || err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("Done = %+v, %v, %v; want %+v", r, done, err, want)
	}
	if box := s.find(t, account, "Sent"); box.Messages != 2 {
		t.Errorf("%d messages, want 2", box.Messages)
	}
	other := op
	other.Operation[0]++
	if _, err := s.Mailboxes.AppendOnce(ctx, account, "Sent", messages, other); err != nil {
		t.Fatal(err)
	}
	if box := s.find(t, account, "Sent"); box.Messages != 4 {
		t.Errorf("%d messages after another operation, want 4", box.Messages)
	}
	// A mailbox keeps what was done in it under another name, and takes it along.
	if _, err := s.Mailboxes.Rename(ctx, account, "Sent", "Gone"); err != nil {
		t.Fatal(err)
	}
	if r, _, err := s.Mailboxes.Done(ctx, account, op.Operation); err != nil || r.Mailbox != first.Mailbox {
		t.Errorf("renamed: %+v, %v", r, err)
	}
	if _, err := s.Mailboxes.Delete(ctx, account, "Gone"); err != nil {
		t.Fatal(err)
	}
	again, err = s.Mailboxes.AppendOnce(ctx, account, "Gone", messages, op)
	if err != nil || again.Mailbox != 0 || !slices.Equal(again.UIDs, first.UIDs) {
		t.Errorf("deleted: %+v, %v", again, err)
	}
}

func replace(t *testing.T, s Subject) {
	ctx := t.Context()
	old := s.append(t, 7, "Drafts", newMessage(500), newMessage(600, "kept"))
	op := index.Once{Operation: index.Operation{1}, Replace: old.Mailbox, ReplaceUID: old.UIDs[0]}
	r, err := s.Mailboxes.AppendOnce(ctx, 7, "Drafts", []index.Message{newMessage(550, `\Draft`)}, op)
	if err != nil || len(r.UIDs) != 1 || r.UIDs[0] != old.UIDs[1]+1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := s.look(t, 7, old.Mailbox).uids(); !reflect.DeepEqual(got, []mailbox.UID{old.UIDs[1], r.UIDs[0]}) {
		t.Errorf("UIDs %v", got)
	}
	// Its repeat takes nothing more away, though what it replaces is gone.
	if again, err := s.Mailboxes.AppendOnce(ctx, 7, "Drafts", []index.Message{newMessage(550)}, op); err != nil || again.UIDs[0] != r.UIDs[0] {
		t.Errorf("again: %+v, %v", again, err)
	}
	// What is gone is not replaced, and nothing is added.
	op.Operation[0] = 2
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "Drafts", []index.Message{newMessage(550)}, op); !errors.Is(err, index.ErrNoMessage) {
		t.Errorf("got %v, want ErrNoMessage", err)
	}
	op.Operation[0], op.Replace = 3, nowhere
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "Drafts", []index.Message{newMessage(550)}, op); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
	// Into another mailbox, and all or nothing.
	other := index.Once{Replace: old.Mailbox, ReplaceUID: old.UIDs[1]}
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "nowhere", []index.Message{newMessage(550)}, other); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
	lost := errors.New("lost")
	s.FailAt(func(step string) error {
		if step == "append.before-commit" {
			return lost
		}
		return nil
	})
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "Sent", []index.Message{newMessage(550)}, other); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	s.FailAt(func(string) error { return nil })
	if m := s.find(t, 7, "Drafts"); m.Messages != 2 || m.Size != 600+550 {
		t.Errorf("%+v", m)
	}
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "Sent", []index.Message{newMessage(550)}, other); err != nil {
		t.Error(err)
	}
	if m := s.find(t, 7, "Drafts"); m.Messages != 1 {
		t.Errorf("%d messages in Drafts", m.Messages)
	}
	if m := s.find(t, 7, "Sent"); m.Messages != 1 {
		t.Errorf("%d messages in Sent", m.Messages)
	}
	if list, err := s.Quotas.Recount(ctx, 7); err != nil || len(list) > 0 {
		t.Errorf("Recount: %+v, %v", list, err)
	}
}
