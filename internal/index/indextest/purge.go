package indextest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// purgePassesOver has an account fail that is due before the others.
func purgePassesOver(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	emails := map[mailbox.AccountID]mailbox.EmailID{}
	for account := mailbox.AccountID(7); account <= 9; account++ {
		box := s.append(t, account, index.Inbox, newMessage(500)).Mailbox
		emails[account] = s.look(t, account, box).entries()[0].Email
		s.expunge(t, account, box, all)
		s.Advance(time.Minute)
	}
	if err := s.Retention.SetRule(ctx, index.RetentionRule{Domain: "example.net", Keep: time.Hour}); err != nil {
		t.Fatal(err)
	}
	s.Advance(day)
	away := errors.New("its domain is not known")
	rules := index.Rules{Keep: time.Hour, Every: day, Now: s.Now(), Domain: func(_ context.Context, id mailbox.AccountID) (string, error) {
		if id == 7 {
			return "", away
		}
		return "", nil
	}}
	failed := 0
	for range 4 {
		_, _, err := s.Retention.Purge(ctx, rules, 1)
		if errors.Is(err, away) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed != 1 || s.there(t, 7, emails[7]) != 1 || s.there(t, 8, emails[8]) != 0 || s.there(t, 9, emails[9]) != 0 {
		t.Errorf("it failed %d times; of account 7 there is %d, of the others %d and %d", failed, s.there(t, 7, emails[7]), s.there(t, 8, emails[8]), s.there(t, 9, emails[9]))
	}
	s.Advance(2 * time.Hour)
	rules.Now, rules.Domain = s.Now(), func(context.Context, mailbox.AccountID) (string, error) { return "", nil }
	if _, _, err := s.Retention.Purge(ctx, rules, 10); err != nil || s.there(t, 7, emails[7]) != 0 {
		t.Errorf("when it does not fail any more: %v, there is %d", err, s.there(t, 7, emails[7]))
	}
}

// purgeKeepsNobodys: of an account that the directory does not know nothing goes while there are rules of domains, and nobody is
// told; once the directory knows it, the rule of its domain counts.
func purgeKeepsNobodys(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(500)).Mailbox
	email := s.look(t, 7, box).entries()[0].Email
	s.expunge(t, 7, box, all)
	if err := s.Retention.SetRule(ctx, index.RetentionRule{Domain: "example.org", Keep: 3 * day}); err != nil {
		t.Fatal(err)
	}
	domain, unknown := "", index.ErrNobody
	rules := index.Rules{Keep: time.Hour, Every: time.Hour, MaxOctets: 1, Domain: func(context.Context, mailbox.AccountID) (string, error) { return domain, unknown }}
	purge := func(want int) {
		t.Helper()
		rules.Now = s.Now()
		for range 2 { // the second finds it put off, and yet over the bound
			_, more, err := s.Retention.Purge(ctx, rules, 1)
			if err != nil || more && unknown != nil || s.there(t, 7, email) != want {
				t.Errorf("Purge: more %t, %v; there is %d, want %d", more, err, s.there(t, 7, email), want)
			}
		}
	}
	s.Advance(2 * day)
	purge(1)
	domain, unknown, rules.MaxOctets = "example.org", nil, 0
	s.Advance(2 * time.Hour)
	purge(1)
	s.Advance(2 * day)
	purge(0)
}

// purgeSeesNewRules sets longer rules when a purge has read the rules and has yet to write.
func purgeSeesNewRules(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	box := s.append(t, 7, index.Inbox, newMessage(500)).Mailbox
	email := s.look(t, 7, box).entries()[0].Email
	s.expunge(t, 7, box, all)
	set := func(r index.RetentionRule) {
		t.Helper()
		if err := s.Retention.SetRule(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	set(index.RetentionRule{Domain: "example.org", Keep: time.Hour})
	s.Advance(day)
	rules := index.Rules{Keep: time.Hour, Every: day, Now: s.Now(), Domain: func(context.Context, mailbox.AccountID) (string, error) {
		set(index.RetentionRule{Account: 7, Keep: 30 * day})
		return "example.org", nil
	}}
	if _, _, err := s.Retention.Purge(ctx, rules, 10); err != nil || s.there(t, 7, email) != 1 {
		t.Errorf("with a rule of the account set meanwhile: %v, there is %d", err, s.there(t, 7, email))
	}
	set(index.RetentionRule{Account: 7, Keep: -1})
	rules.Domain = func(context.Context, mailbox.AccountID) (string, error) {
		set(index.RetentionRule{Domain: "example.org", Keep: 30 * day})
		return "example.org", nil
	}
	if _, _, err := s.Retention.Purge(ctx, rules, 10); err != nil || s.there(t, 7, email) != 1 {
		t.Errorf("with a rule of the domain set meanwhile: %v, there is %d", err, s.there(t, 7, email))
	}
}
