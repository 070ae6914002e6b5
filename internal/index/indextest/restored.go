package indextest

import (
	"slices"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// restoredIsShared: the list of a deleted mailbox gives nothing while it is kept, comes back with it, and ends with it.
func restoredIsShared(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	bob, carol := acl.User(9), acl.User(10)
	team, _, err := s.Mailboxes.Create(ctx, 7, "Team", "")
	if err != nil {
		t.Fatal(err)
	}
	s.grant(t, 7, team.ID, bob, "lrs")
	s.grant(t, 7, team.ID, carol, "l")
	sent := s.find(t, 7, "Sent")
	s.grant(t, 7, sent.ID, carol, "lr")
	s.append(t, 7, "Team", newMessage(500))
	owners := func(what string, who string, want ...mailbox.AccountID) {
		t.Helper()
		if got, err := s.Sharing.Owners(ctx, []string{who}, 0, 10); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: owners for %s are %v, %v; want %v", what, who, got, err, want)
		}
	}
	remove := func() {
		t.Helper()
		if _, err := s.Mailboxes.Delete(ctx, 7, "Team"); err != nil {
			t.Fatal(err)
		}
		owners("deleted", bob)
		owners("deleted", carol, 7)
		all, err := s.Sharing.Grantees(ctx, 7)
		if err != nil || len(all) != 1 || all[0].Mailbox != sent.ID {
			t.Errorf("Grantees: %+v, %v", all, err)
		}
		a, err := s.Sharing.Access(ctx, index.AccessQuery{Account: 7, Identifiers: []string{bob}})
		if err != nil || len(a.Grants) != 0 {
			t.Errorf("Access: %+v, %v", a, err)
		}
	}
	remove()
	// A new one of its name has nothing of it.
	anew, _, err := s.Mailboxes.Create(ctx, 7, "Team", "")
	if err != nil {
		t.Fatal(err)
	}
	if l, err := s.Sharing.ACL(ctx, 7, anew.ID); err != nil || len(l) != 0 {
		t.Errorf("made anew: %+v, %v", l, err)
	}
	r := s.restore(t, index.Restore{Account: 7, Target: "Team", From: team.ID})
	if l, err := s.Sharing.ACL(ctx, 7, r.Mailbox); err != nil || r.Made || len(l) != 0 {
		t.Errorf("restored into another: %+v, %+v, %v", r, l, err)
	}
	remove()
	r = s.restore(t, index.Restore{Account: 7, Target: "Team", From: team.ID, Entries: entriesOf(s.removed(t, index.RemovedQuery{Account: 7, Mailbox: team.ID}))})
	if !r.Made || len(r.Restored) != 1 {
		t.Errorf("Restore: %+v", r)
	}
	back := s.find(t, 7, "Team")
	if got := s.rights(t, 7, back, bob) + " " + s.rights(t, 7, back, carol); got != "lrs l" {
		t.Errorf("restored with %q", got)
	}
	owners("restored", bob, 7)
	// The old list goes with what is kept of the old mailbox, and the new one stays.
	s.Advance(100 * 24 * time.Hour)
	s.purge(t, index.Rules{Keep: time.Hour})
	if l, err := s.Sharing.ACL(ctx, 7, team.ID); err != nil || len(l) != 0 {
		t.Errorf("purged: %+v, %v", l, err)
	}
	if got := s.rights(t, 7, back, bob); got != "lrs" {
		t.Errorf("after the purge %q", got)
	}
	owners("purged", bob, 7)
}
