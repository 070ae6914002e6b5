package indextest

import (
	"errors"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// drop drops an account to its last row.
func (s *RetentionSubject) drop(t tester, account mailbox.AccountID) {
	t.Helper()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { return s.Retention.BeginDrop(ctx, account, s.Now()) },
		func() error { return s.Retention.Forgetting(ctx, account) },
		func() error { return s.Retention.Forgotten(ctx, account) },
	} {
		if err := step(); err != nil {
			t.Fatalf("drop: %v", err)
		}
	}
	s.dropRows(t, account)
}

func (s *RetentionSubject) dropRows(t tester, account mailbox.AccountID) {
	t.Helper()
	for done := false; !done; {
		var err error
		if done, err = s.Retention.Drop(t.Context(), account, 64); err != nil {
			t.Fatalf("drop: %v", err)
		}
	}
}

// accounts are those that have a row.
func (s *RetentionSubject) accounts(t tester) (list []mailbox.AccountID) {
	t.Helper()
	list, err := s.Retention.Accounts(t.Context(), 0, 100)
	if err != nil {
		t.Fatalf("drop: %v", err)
	}
	return list
}

// refused tries all that writes to an account, or reads what a write would make.
func (s *RetentionSubject) refused(t *testing.T, account mailbox.AccountID, want, hold error) {
	t.Helper()
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		call func() error
		want error
	}{
		{"Append", func() error {
			_, err := s.Mailboxes.Append(ctx, account, index.Inbox, []index.Message{newMessage(100)})
			return err
		}, want},
		{"Create", func() error { _, _, err := s.Mailboxes.Create(ctx, account, "new", ""); return err }, want},
		{"Subscribe", func() error { _, err := s.Mailboxes.Subscribe(ctx, account, "new", true); return err }, want},
		{"SetACL", func() error {
			_, err := s.Sharing.SetACL(ctx, index.ACLChange{Account: account, Identifier: "user:9", Mode: index.ReplaceRights, Rights: acl.Lookup})
			return err
		}, want},
		{"SetQuota", func() error { return s.Quotas.SetQuota(ctx, account, "", index.Limits{Size: 1}) }, want},
		{"SetExpireRule", func() error {
			return s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: index.ExpireKey{Account: account, Folder: "*"}, Keep: 1})
		}, want},
		{"SetRule", func() error { return s.Retention.SetRule(ctx, index.RetentionRule{Account: account}) }, want},
		{"Restore", func() error {
			_, err := s.Retention.Restore(ctx, index.Restore{Account: account, Target: "old"})
			return err
		}, want},
		{"Hold", func() error { return s.Retention.Hold(ctx, account, "case 12", true) }, hold},
	} {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// droppedStaysGone: whatever comes late does not make an account that nobody owns, while neighbours and an account that was
// made since are served.
func droppedStaysGone(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	s.append(t, 7, index.Inbox, newMessage(100))
	late, other, again := s.newDelivery(t, 7), s.newDelivery(t, 8), s.newDelivery(t, 9)
	untouched := s.newDelivery(t, 6)
	s.drop(t, 7)
	s.drop(t, 6) // which never had a row
	if list, err := s.Retention.Dropping(ctx); err != nil || len(list) != 0 {
		t.Errorf("Dropping: %+v, %v", list, err)
	}
	for range 2 {
		results := s.deliver(t, late, other, again, untouched)
		for i, want := range []index.DeliverStatus{index.NoAccount, index.Delivered, index.Delivered, index.NoAccount} {
			if got := results[i].Status; got != want && (want != index.Delivered || got != index.Duplicate) {
				t.Errorf("delivery %d: %+v, want %d", i, results[i], want)
			}
		}
	}
	s.state(t, late, storev1.State_STATE_QUEUED)
	s.refused(t, 7, index.ErrDropped, index.ErrDropping)
	s.refused(t, 6, index.ErrDropped, index.ErrDropping)
	for _, account := range []mailbox.AccountID{6, 7} {
		if _, _, err := s.Mailboxes.List(ctx, account); !errors.Is(err, index.ErrNoAccount) {
			t.Errorf("List of %d: %v", account, err)
		}
		if _, err := s.Mailboxes.Find(ctx, account, []string{index.Inbox}, nil); !errors.Is(err, index.ErrNoAccount) {
			t.Errorf("Find in %d: %v", account, err)
		}
		// It is too late to keep it.
		if err := s.Retention.Keep(ctx, account); err != nil {
			t.Error(err)
		}
	}
	s.refused(t, 7, index.ErrDropped, index.ErrDropping)
	if got := s.accounts(t); len(got) != 2 || got[0] != 8 || got[1] != 9 {
		t.Errorf("accounts are %v", got)
	}
	if m := s.find(t, 9, index.Inbox); m.Messages != 1 {
		t.Errorf("the new account has %d messages", m.Messages)
	}
	// A directory of before that knows it is told to forget it once more.
	s.drop(t, 7)
	s.refused(t, 7, index.ErrDropped, index.ErrDropping)
}

// droppingIsRefused: what comes while the directory is being told waits, and an account that is kept is as it was.
func droppingIsRefused(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(100)).Mailbox
	before := s.find(t, 7, index.Inbox)
	d := s.newDelivery(t, 7)
	if err := s.Retention.BeginDrop(ctx, 7, s.Now()); err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, index.Inbox, newMessage(100))
	if err := s.Retention.Forgetting(ctx, 7); err != nil {
		t.Fatal(err)
	}
	s.refused(t, 7, index.ErrDropping, index.ErrDropping)
	if r := s.deliver(t, d)[0]; r.Status != index.Failed {
		t.Errorf("while the directory is told: %+v", r)
	}
	if got := s.accounts(t); len(got) != 0 {
		t.Errorf("accounts for workers are %v", got)
	}
	if err := s.Retention.Keep(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if r := s.deliver(t, d)[0]; r.Status != index.Delivered || r.Mailbox != box {
		t.Errorf("after it is kept: %+v", r)
	}
	if m := s.find(t, 7, index.Inbox); m.Messages != 3 || m.UIDNext != before.UIDNext+2 || m.UIDValidity != before.UIDValidity {
		t.Errorf("INBOX is %+v, was %+v", m, before)
	}
	late := s.newDelivery(t, 7)
	for _, step := range []func() error{
		func() error { return s.Retention.BeginDrop(ctx, 7, s.Now()) },
		func() error { return s.Retention.Forgetting(ctx, 7) },
		func() error { return s.Retention.Forgotten(ctx, 7) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	// Its rows are there still; they will not be for long.
	if r := s.deliver(t, late)[0]; r.Status != index.NoAccount {
		t.Errorf("while it is dropped: %+v", r)
	}
	s.refused(t, 7, index.ErrDropped, index.ErrDropping)
}

// droppedAtOnce lets deliveries meet the drop: each is filed before it began, or told that there is no account.
func droppedAtOnce(t *testing.T, s RetentionSubject) {
	var list []index.Delivery
	for range 40 {
		list = append(list, s.newDelivery(t, 7))
	}
	status := make(map[envelope.QueueID]index.DeliverStatus, len(list))
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, d := range list {
			for {
				r, err := s.Mailboxes.Deliver(t.Context(), []index.Delivery{d})
				if err != nil {
					t.Error(err)
					return
				}
				if status[d.QueueID] = r[0].Status; r[0].Status != index.Failed {
					break
				}
			}
		}
	})
	s.drop(t, 7)
	wg.Wait()
	gone := false
	for i, d := range list {
		got := status[d.QueueID]
		if got != index.NoAccount && (gone || got != index.Delivered) {
			t.Errorf("delivery %d: %d", i, got)
		}
		gone = gone || got == index.NoAccount
	}
	if got := s.accounts(t); len(got) != 0 {
		t.Errorf("accounts are %v", got)
	}
}
