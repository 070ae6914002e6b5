package indextest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func purgeByRule(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	emails := map[string]mailbox.EmailID{}
	for _, name := range []string{index.Inbox, "Junk", "Archive"} {
		for account := mailbox.AccountID(7); account <= 8; account++ {
			box := s.append(t, account, name, newMessage(500)).Mailbox
			emails[fmt.Sprint(account, name)] = s.look(t, account, box).entries()[0].Email
			s.expunge(t, account, box, all)
		}
	}
	for _, r := range []index.RetentionRule{
		{Account: 7, Folder: "Archive", Keep: 90 * 24 * time.Hour},
		{Domain: "example.org", Folder: `\Junk`, Keep: 24 * time.Hour},
		{Domain: "example.net", Keep: time.Hour},
	} {
		if err := s.Retention.SetRule(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	rules := index.Rules{Keep: 14 * 24 * time.Hour, Folders: map[string]time.Duration{"INBOX": 20 * 24 * time.Hour},
		Domain: func(_ context.Context, id mailbox.AccountID) (string, error) {
			if id == 8 {
				return "", errors.New("the directory is away")
			}
			return "example.org", nil
		}}
	rules.Now = s.Now()
	if _, _, err := s.Retention.Purge(ctx, rules, 10); err == nil {
		t.Error("Purge without knowing a domain: no error")
	}
	if n := s.there(t, 8, emails["8Junk"], emails["8INBOX"], emails["8Archive"]); n != 3 {
		t.Errorf("an account whose domain is not known has %d emails", n)
	}
	rules.Domain = func(context.Context, mailbox.AccountID) (string, error) { return "example.org", nil }
	for _, step := range []struct {
		days int
		want []string // of account 7
		then time.Duration
	}{
		{0, []string{"INBOX", "Junk", "Archive"}, 2 * day},
		{2, []string{"INBOX", "Archive"}, 15 * day},
		{17, []string{"INBOX", "Archive"}, 5 * day},
		{22, []string{"Archive"}, 67 * day},
		{89, []string{"Archive"}, 2 * day},
		{91, nil, 0},
	} {
		s.purge(t, rules)
		var left []string
		for _, name := range []string{"INBOX", "Junk", "Archive"} {
			if s.there(t, 7, emails["7"+name]) == 1 {
				left = append(left, name)
			}
		}
		if !reflect.DeepEqual(left, step.want) {
			t.Errorf("after %d days: %v are left, want %v", step.days, left, step.want)
		}
		s.Advance(step.then)
	}
	if rules, err := s.Retention.Rules(ctx); err != nil || len(rules) != 3 {
		t.Errorf("Rules: %+v, %v", rules, err)
	}
	if err := s.Retention.SetRule(ctx, index.RetentionRule{Account: 7, Folder: "Archive", Keep: -1}); err != nil {
		t.Fatal(err)
	}
	if rules, err := s.Retention.Rules(ctx); err != nil || len(rules) != 2 {
		t.Errorf("Rules: %+v, %v", rules, err)
	}
	if k, err := s.Retention.Kept(ctx, 7); err != nil || k != (index.Kept{}) {
		t.Errorf("Kept: %+v, %v", k, err)
	}
}

func purgeByOctets(t *testing.T, s RetentionSubject) {
	var list []index.Message
	for range 6 {
		list = append(list, newMessage(1000))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	for uid := mailbox.UID(1); uid <= 6; uid++ {
		s.expunge(t, 7, box, one(uid))
		s.Advance(time.Minute)
	}
	p := s.purge(t, index.Rules{Keep: time.Hour, MaxOctets: 2500, Every: 24 * time.Hour})
	if p.Entries != 4 || p.Emails != 4 {
		t.Errorf("Purge: %+v, want 4 of 6", p)
	}
	left := s.removed(t, index.RemovedQuery{Account: 7})
	if len(left) != 2 || left[0].entry.UID != 6 || left[1].entry.UID != 5 {
		t.Errorf("left: %+v", left)
	}
	if k, err := s.Retention.Kept(t.Context(), 7); err != nil || k.Octets != 2000 || k.Entries != 2 {
		t.Errorf("Kept: %+v, %v", k, err)
	}
}

func holdKeepsAll(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(1000)).Mailbox
	email := s.look(t, 7, box).entries()[0].Email
	if err := s.Retention.Hold(ctx, 7, "case 12", true); err != nil {
		t.Fatal(err)
	}
	s.expunge(t, 7, box, all)
	s.Advance(1000 * 24 * time.Hour)
	rules := index.Rules{Keep: time.Hour, MaxOctets: 1}
	if p := s.purge(t, rules); p.Emails != 0 || s.there(t, 7, email) != 1 {
		t.Errorf("under hold: %+v", p)
	}
	if err := s.Retention.BeginDrop(ctx, 7, s.Now()); !errors.Is(err, index.ErrHeld) {
		t.Errorf("BeginDrop: %v", err)
	}
	holds, err := s.Retention.Holds(ctx, 7)
	if err != nil || len(holds) != 1 || holds[0].Account != 7 || holds[0].Reason != "case 12" {
		t.Errorf("Holds: %+v, %v", holds, err)
	}
	if none, err := s.Retention.Holds(ctx, 8); err != nil || len(none) != 0 {
		t.Errorf("Holds of another: %+v, %v", none, err)
	}
	if err := s.Retention.Hold(ctx, 7, "", false); err != nil {
		t.Fatal(err)
	}
	if p := s.purge(t, rules); p.Emails != 1 || s.there(t, 7, email) != 0 {
		t.Errorf("after it: %+v", p)
	}
}

func copiesKeepEmails(t *testing.T, s RetentionSubject) {
	box := s.append(t, 7, index.Inbox, newMessage(1000)).Mailbox
	email := s.look(t, 7, box).entries()[0].Email
	c, err := s.Mailboxes.Copy(t.Context(), 7, box, all, "Archive")
	if err != nil {
		t.Fatal(err)
	}
	s.expunge(t, 7, box, all)
	s.Advance(48 * time.Hour)
	rules := index.Rules{Keep: 24 * time.Hour}
	if p := s.purge(t, rules); p.Entries != 1 || p.Emails != 0 {
		t.Errorf("with a copy: %+v", p)
	}
	s.expunge(t, 7, c.Target, all)
	if p := s.purge(t, rules); p.Entries != 0 || s.there(t, 7, email) != 1 {
		t.Errorf("with a younger removal: %+v", p)
	}
	s.Advance(48 * time.Hour)
	if p := s.purge(t, rules); p.Entries != 1 || p.Emails != 1 {
		t.Errorf("at last: %+v", p)
	}
}

func dropAccount(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	for account := mailbox.AccountID(7); account <= 8; account++ {
		var list []index.Message
		for range 700 {
			list = append(list, newMessage(500))
		}
		box := s.append(t, account, index.Inbox, list...).Mailbox
		s.append(t, account, "Trash", newMessage(100))
		s.expunge(t, account, box, mailbox.UIDSet{{First: 1, Last: 300}})
		if _, err := s.Mailboxes.Delete(ctx, account, "Trash"); err != nil {
			t.Fatal(err)
		}
	}
	emails := s.look(t, 7, s.find(t, 7, index.Inbox).ID).entries()
	removed := s.Now()
	if _, err := s.Retention.Drop(ctx, 7, 1); err == nil {
		t.Error("Drop of an account that is not to be dropped: no error")
	}
	if err := s.Retention.BeginDrop(ctx, 7, removed); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retention.Drop(ctx, 7, 1); err == nil {
		t.Error("Drop of an account that was not forgotten: no error")
	}
	if err := s.Retention.Keep(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Retention.Dropping(ctx); err != nil || len(list) != 0 {
		t.Errorf("Dropping: %+v, %v", list, err)
	}
	for range 2 { // again after a crash
		if err := s.Retention.BeginDrop(ctx, 7, removed); err != nil {
			t.Fatal(err)
		}
	}
	forget(t, s)
	if err := s.Retention.Keep(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Retention.Dropping(ctx); err != nil || len(list) != 1 || !list[0].Forgotten || !list[0].Removed.Equal(removed) {
		t.Errorf("Dropping: %+v, %v", list, err)
	}
	steps := 1
	for ; ; steps++ {
		done, err := s.Retention.Drop(ctx, 7, 1)
		if err != nil || steps > 100 {
			t.Fatalf("step %d: %v", steps, err)
		}
		if done {
			break
		}
		// Whatever has gone, no entry is without its email.
		if list, err := s.Retention.Placed(ctx, 7, []mailbox.EmailID{emails[399].Email}); err != nil || list[emails[399].Email] && s.there(t, 7, emails[399].Email) == 0 {
			t.Fatalf("step %d: an entry without email, %v", steps, err)
		}
	}
	if steps < 6 {
		t.Errorf("all went in %d steps", steps)
	}
	if n := s.there(t, 7, emails[399].Email); n != 0 {
		t.Error("the email is there still")
	}
	if list, err := s.Retention.Dropping(ctx); err != nil || len(list) != 0 {
		t.Errorf("Dropping: %+v, %v", list, err)
	}
	if got := s.removed(t, index.RemovedQuery{Account: 7}); len(got) != 0 {
		t.Errorf("kept: %d", len(got))
	}
	if got, other := s.removed(t, index.RemovedQuery{Account: 8}), s.look(t, 8, s.find(t, 8, index.Inbox).ID).entries(); len(got) != 301 || len(other) != 400 || s.there(t, 8, other[0].Email) != 1 {
		t.Errorf("the other account has %d kept, %d entries", len(got), len(other))
	}
}

// forget has the directory forget account 7, which was noted; a legal hold comes too late from Forgetting on.
func forget(t *testing.T, s RetentionSubject) {
	t.Helper()
	ctx := t.Context()
	hold := func(want error) {
		t.Helper()
		if err := s.Retention.Hold(ctx, 7, "case 12", true); !errors.Is(err, want) {
			t.Fatalf("Hold: %v, want %v", err, want)
		}
	}
	// It was not told to: nothing happens.
	if err := s.Retention.Forgotten(ctx, 7); err != nil {
		t.Fatal(err)
	}
	hold(nil)
	if err := s.Retention.Forgetting(ctx, 7); !errors.Is(err, index.ErrHeld) {
		t.Fatalf("Forgetting: %v, want ErrHeld", err)
	}
	if err := s.Retention.Hold(ctx, 7, "", false); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again after a crash
		if err := s.Retention.Forgetting(ctx, 7); err != nil {
			t.Fatal(err)
		}
	}
	hold(index.ErrDropping)
	if _, err := s.Retention.Drop(ctx, 7, 1); err == nil {
		t.Fatal("Drop of an account that is being forgotten: no error")
	}
	// Brought back in time.
	if err := s.Retention.Keep(ctx, 7); err != nil {
		t.Fatal(err)
	}
	hold(nil)
	if err := s.Retention.Hold(ctx, 7, "", false); err != nil {
		t.Fatal(err)
	}
	if err := s.Retention.BeginDrop(ctx, 7, s.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Retention.Forgetting(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Retention.Forgotten(ctx, 7); err != nil {
		t.Fatal(err)
	}
	hold(index.ErrDropping)
}

// retentionAtOnce lets expunges, restores and purges meet: whatever has an entry has its email.
func retentionAtOnce(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	var list []index.Message
	for range 60 {
		list = append(list, newMessage(500))
	}
	box := s.append(t, 7, index.Inbox, list...).Mailbox
	rounds := 40
	if testing.Short() {
		rounds = 15
	}
	var wg sync.WaitGroup
	each := func(seed uint64, do func(*rand.Rand) error) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range rounds {
				if err := do(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	each(1, func(r *rand.Rand) error {
		first := mailbox.UID(1 + r.IntN(300))
		_, err := s.Mailboxes.Expunge(ctx, 7, box, mailbox.UIDSet{{First: first, Last: first + 9}}, true)
		return err
	})
	each(2, func(r *rand.Rand) error {
		rows, err := s.Retention.Removed(ctx, index.RemovedQuery{Account: 7, Limit: 20})
		if err != nil || len(rows) == 0 {
			return err
		}
		emails, err := mailbox.AllEmails(nil, rows[r.IntN(len(rows))].Entries.Emails)
		if err != nil {
			return err
		}
		q := index.Restore{Account: 7, Target: index.Inbox}
		for _, e := range emails {
			q.Entries = append(q.Entries, index.RestoreEntry{Email: e, Size: 500, Received: 1})
		}
		_, err = s.Retention.Restore(ctx, q)
		return err
	})
	each(3, func(*rand.Rand) error {
		_, _, err := s.Retention.Purge(ctx, index.Rules{Now: s.Now().Add(time.Hour), Keep: time.Minute}, 10)
		return err
	})
	wg.Wait()
	entries := s.look(t, 7, box).entries()
	var ids []mailbox.EmailID
	have := map[mailbox.EmailID]bool{}
	for _, e := range entries {
		if have[e.Email] {
			t.Errorf("email %d was restored twice", e.Email)
		}
		have[e.Email] = true
		ids = append(ids, e.Email)
	}
	if n := s.there(t, 7, ids...); n != len(ids) {
		t.Errorf("%d entries have %d emails", len(ids), n)
	}
	for _, k := range s.removed(t, index.RemovedQuery{Account: 7}) {
		if s.there(t, 7, k.entry.Email) != 1 {
			t.Errorf("email %d is kept and gone", k.entry.Email)
		}
	}
	if m := s.find(t, 7, index.Inbox); int(m.Messages) != len(entries) {
		t.Errorf("%d messages, %d entries", m.Messages, len(entries))
	}
}
