package indextest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func copyAndMove(t *testing.T, s Subject) {
	ctx := t.Context()
	box := s.append(t, 7, "INBOX", newMessage(500, `\Seen`), newMessage(600), newMessage(700, `\Deleted`)).Mailbox
	r, err := s.Mailboxes.Copy(ctx, 7, box, mailbox.UIDSet{{First: 2, Last: 9}}, "Archive")
	if err != nil {
		t.Fatal(err)
	}
	archive := s.find(t, 7, "Archive")
	if !reflect.DeepEqual(r.Source, mailbox.UIDSet{{First: 2, Last: 3}}) || !reflect.DeepEqual(r.Copies, mailbox.UIDSet{{First: 1, Last: 2}}) ||
		r.UIDValidity != archive.UIDValidity || r.Target != archive.ID {
		t.Errorf("Copy: %+v", r)
	}
	if archive.Messages != 2 || archive.Unseen != 2 || archive.Deleted != 1 || archive.Size != 1300 {
		t.Errorf("copied: %+v", archive)
	}
	from, to := s.look(t, 7, box).entries(), s.look(t, 7, r.Target).entries()
	if from[1].Email != to[0].Email || from[1].Received != to[0].Received || to[0].ModSeq != r.ModSeq {
		t.Errorf("copy of %+v is %+v", from[1], to[0])
	}
	// An entry is saved when it is made, whenever the message was received (RFC 8514).
	if from[1].Saved <= from[1].Received || to[0].Saved < from[1].Saved || to[0].Saved > from[1].Saved+3600 {
		t.Errorf("saved at %d, the copy at %d, received at %d", from[1].Saved, to[0].Saved, from[1].Received)
	}
	m, err := s.Mailboxes.Move(ctx, 7, box, mailbox.UIDSet{{First: 1, Last: 1}, {First: 3, Last: 3}, {First: 77, Last: 77}}, "Archive")
	if err != nil || !reflect.DeepEqual(m.Source, mailbox.UIDSet{{First: 1, Last: 1}, {First: 3, Last: 3}}) ||
		!reflect.DeepEqual(m.Copies, mailbox.UIDSet{{First: 3, Last: 4}}) {
		t.Errorf("Move: %+v, %v", m, err)
	}
	if got := s.look(t, 7, box).uids(); !reflect.DeepEqual(got, []mailbox.UID{2}) {
		t.Errorf("left: %v", got)
	}
	none, err := s.Mailboxes.Copy(ctx, 7, box, one(99), "Archive")
	if err != nil || len(none.Copies) != 0 || none.ModSeq != m.ModSeq {
		t.Errorf("Copy of nothing: %+v, %v", none, err)
	}
	for _, f := range []func() error{
		func() error { _, err := s.Mailboxes.Copy(ctx, 7, box, all, "nowhere"); return err },
		func() error { _, err := s.Mailboxes.Move(ctx, 7, box, all, "nowhere"); return err },
		func() error { _, err := s.Mailboxes.Copy(ctx, 7, nowhere, all, "INBOX"); return err },
		func() error { _, err := s.Mailboxes.Expunge(ctx, 7, nowhere, all, true); return err },
	} {
		if err := f(); !errors.Is(err, index.ErrNoMailbox) {
			t.Errorf("got %v, want ErrNoMailbox", err)
		}
	}
}

func moveWithin(t *testing.T, s Subject) {
	box := s.append(t, 7, "INBOX", newMessage(500), newMessage(600), newMessage(700)).Mailbox
	r, err := s.Mailboxes.Move(t.Context(), 7, box, mailbox.UIDSet{{First: 1, Last: 2}}, "INBOX")
	if err != nil || !reflect.DeepEqual(r.Copies, mailbox.UIDSet{{First: 4, Last: 5}}) {
		t.Errorf("%+v, %v", r, err)
	}
	if got := s.look(t, 7, box).uids(); !reflect.DeepEqual(got, []mailbox.UID{3, 4, 5}) {
		t.Errorf("got %v", got)
	}
	if m := s.find(t, 7, "INBOX"); m.Messages != 3 || m.Size != 1800 || m.Unseen != 3 {
		t.Errorf("got %+v", m)
	}
}

func condemned(t *testing.T, s Subject) {
	m := newMessage(500)
	box := s.append(t, 7, "INBOX", m, newMessage(600)).Mailbox
	if err := s.Condemn(m.Blob); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Append(t.Context(), 7, "INBOX", []index.Message{m}); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("Append: got %v, want ErrCondemned", err)
	}
	if _, err := s.Mailboxes.Copy(t.Context(), 7, box, all, "Archive"); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("Copy: got %v, want ErrCondemned", err)
	}
	if _, err := s.Mailboxes.Copy(t.Context(), 7, box, one(2), "Archive"); err != nil {
		t.Errorf("Copy of the other: %v", err)
	}
	d := s.newDelivery(t, 7)
	d.Blob = m.Blob
	if r := s.deliver(t, d)[0]; r.Status != index.Failed || !errors.Is(r.Err, index.ErrCondemned) {
		t.Errorf("Deliver: %+v", r)
	}
	if m := s.find(t, 7, "Archive"); m.Messages != 1 {
		t.Errorf("Archive has %d", m.Messages)
	}
}
