package backup_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// engines open a site whose rules are in a database of each engine.
func engines(t *testing.T, run func(t *testing.T, open func() *site)) {
	t.Run("sqlite", func(t *testing.T) { run(t, func() *site { return newSite(t) }) })
	t.Run("postgres", func(t *testing.T) {
		run(t, func() *site {
			cfg := pgdb.Config{URL: servers.Postgres(t).URL, MaxConns: 4}
			if err := postgres.Migrate(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			db, err := postgres.Open(t.Context(), cfg, postgres.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			return newSiteOn(t, db)
		})
	})
}

var (
	keepLong   = index.RetentionRule{Domain: "example.org", Keep: 3650 * 24 * time.Hour}
	keepJunk   = index.RetentionRule{Domain: "example.org", Folder: `\Junk`, Keep: time.Hour}
	expireLogs = index.ExpireRule{ExpireKey: index.ExpireKey{Folder: "Logs", Name: "old"}, OlderThan: 1000 * time.Hour, Flag: `\Seen`, Keep: 3}
	spareWork  = index.ExpireRule{ExpireKey: index.ExpireKey{Domain: "example.org", Folder: "Work"}, Never: true}
)

func (s *site) set(list ...any) {
	s.t.Helper()
	for _, x := range list {
		var err error
		switch x := x.(type) {
		case index.RetentionRule:
			err = s.rules.Retention().SetRule(s.t.Context(), x)
		case index.ExpireRule:
			err = s.rules.Retention().SetExpireRule(s.t.Context(), x)
		case index.DomainQuota:
			err = s.rules.Domains().SetDomainQuota(s.t.Context(), x.Domain, x.Limits, x.Each)
		default:
			err = fmt.Errorf("a %T", x)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// ruled is what is said of domains and of all.
func (s *site) ruled() (lines []string) {
	s.t.Helper()
	keep, err := s.rules.Retention().Rules(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	expire, err := s.rules.Retention().ExpireRules(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	limits, err := s.rules.Domains().DomainQuotas(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range keep {
		lines = append(lines, fmt.Sprintf("%+v", r))
	}
	for _, r := range expire {
		lines = append(lines, fmt.Sprintf("%+v", r))
	}
	for _, r := range limits {
		lines = append(lines, fmt.Sprint(r.Domain, r.Limits, r.Each))
	}
	return lines
}

func sameRules(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRulesOfNoAccount loses limits and rules of domains and of all, and restores them: into a farm that has none, and into one
// that has others.
func TestRulesOfNoAccount(t *testing.T) {
	engines(t, func(t *testing.T, open func() *site) {
		s := open()
		s.set(keepLong, keepJunk, expireLogs, spareWork,
			index.DomainQuota{Domain: "example.org", Limits: index.Limits{Size: 1 << 40}, Each: index.Limits{Size: 1 << 30, Messages: -1}},
			index.DomainQuota{Domain: "example.net", Limits: index.Limits{Messages: 7}})
		folder := filepath.Join(t.TempDir(), "repository")
		if r := s.backup(folder); r.Counts.Rules != 6 {
			t.Errorf("the backup: %+v", r)
		}
		if again := s.backup(folder); again.Written.Rows != 0 {
			t.Errorf("a backup of rules that did not change writes %d lists", again.Written.Rows)
		}
		want := s.ruled()
		names := []string{"limits of domain example.net", "limits of domain example.org", "rule of expiry of all, folder Logs, old",
			"rule of expiry of domain example.org, folder Work", "rule of retention of domain example.org", `rule of retention of domain example.org, folder \Junk`}

		empty := open()
		out := empty.restore(folder)
		slices.Sort(out.Rules)
		if !slices.Equal(out.Rules, names) || len(out.Conflicts) != 0 {
			t.Errorf("into a farm that has none: %+v", out)
		}
		sameRules(t, "in a farm that had none", empty.ruled(), want)
		if again := empty.restore(folder); len(again.Rules) != 0 || len(again.Conflicts) != 0 {
			t.Errorf("a repeat: %+v", again)
		}

		other := open()
		longer, limit := keepJunk, index.DomainQuota{Domain: "example.net", Limits: index.Limits{Messages: 9}}
		longer.Keep = 2 * time.Hour
		eager, own := expireLogs, index.RetentionRule{Domain: "other.example", Keep: time.Minute}
		eager.Keep = 5
		other.set(longer, limit, eager, own)
		expect := open()
		expect.set(keepLong, longer, eager, spareWork, limit, own,
			index.DomainQuota{Domain: "example.org", Limits: index.Limits{Size: 1 << 40}, Each: index.Limits{Size: 1 << 30, Messages: -1}})
		for i, rules := range []int{3, 0} {
			out := other.restore(folder)
			told := strings.Join(out.Conflicts, "\n")
			if len(out.Rules) != rules || len(out.Conflicts) != 3 || !strings.Contains(told, "keep is 2h0m0s, and 1h0m0s in the backup") ||
				!strings.Contains(told, "limits of domain example.net: stays as it is here: messages is 9, and 7 in the backup") || !strings.Contains(told, "folder Logs, old: stays") {
				t.Errorf("into a farm that has others, time %d: %+v", i+1, out)
			}
			sameRules(t, "in a farm that had others", other.ruled(), expect.ruled())
		}
	})
}

// TestBackupOfBefore restores repositories of versions that knew less, and of ones that know more.
func TestBackupOfBefore(t *testing.T) {
	for name, lines := range map[string]string{
		"without rules": "",
		"without limits of domains": `{"table":"retention_rule","domain":"example.org","folder":"","keep_ns":"315360000000000000"}
{"table":"expire_rule","domain":"","folder":"Logs","name":"old","older_ns":"1970-02-11T16:00:00Z","received":0,"larger":0,"flag":"\\Seen","no_flag":"","keep":3,"never":0}
`,
		"of a later version": `{"table":"domain_colour","domain":"example.org","colour":"green"}
{"table":"retention_rule","domain":"example.org","folder":"","keep_ns":"315360000000000000","why":"the law"}
{"table":"expire_rule","domain":"","folder":"Logs","name":"old","older_ns":"3600000000000000","received":0,"larger":0,"flag":"\\Seen","no_flag":"","keep":3,"never":0}
`,
	} {
		t.Run(name, func(t *testing.T) {
			for line := range strings.Lines(lines) {
				if !json.Valid([]byte(line)) {
					t.Fatalf("not JSON: %s", line)
				}
			}
			r := open(t, filepath.Join(t.TempDir(), "repository"))
			snap := &repo.Snapshot{Format: repo.Format, Version: "another", Began: time.Now(), Ended: time.Now()}
			if lines != "" {
				d, err := r.AddBytes(t.Context(), repo.Rows, []byte(lines))
				if err != nil {
					t.Fatal(err)
				}
				snap.Farm = d.String()
			}
			if err := r.Save(t.Context(), snap); err != nil {
				t.Fatal(err)
			}
			other, want := newSite(t), newSite(t)
			if lines != "" {
				want.set(keepLong, expireLogs)
			}
			out, err := backup.All(t.Context(), snap, other.restoreDeps(r))
			if err != nil || len(out.Conflicts) != 0 || len(out.Rules) != len(want.ruled()) {
				t.Fatalf("restored: %+v, %v", out, err)
			}
			sameRules(t, "restored", other.ruled(), want.ruled())
		})
	}
}

// TestRulesComeInOrder: a restore that is cut off while accounts come back has put back what keeps their mail, and nothing that
// takes it out of their folders.
func TestRulesComeInOrder(t *testing.T) {
	s := newSite(t)
	alice := s.account("alice@example.org")
	s.append(alice, "INBOX", body(1, 500), body(2, 500))
	s.set(keepLong, expireLogs, spareWork, index.DomainQuota{Domain: "example.org", Limits: index.Limits{Messages: 7}})
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	r := open(t, folder)
	snap, err := r.At(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	other, half := newSite(t), newSite(t)
	half.set(keepLong, spareWork, index.DomainQuota{Domain: "example.org", Limits: index.Limits{Messages: 7}})
	ctx, cancel := context.WithCancel(t.Context())
	deps := other.restoreDeps(r)
	deps.Say = func(backup.Restored) { cancel() }
	if out, err := backup.All(ctx, snap, deps); err == nil {
		t.Fatalf("it was not cut off: %+v", out)
	}
	sameRules(t, "when it is cut off", other.ruled(), half.ruled())
	if out := other.restore(folder); out.Accounts != 1 || len(out.Rules) != 1 {
		t.Errorf("when it goes on: %+v", out)
	}
	sameRules(t, "when it has ended", other.ruled(), s.ruled())
}
