package backup_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// TestRulesOfWhoLives: what an account that lives is under stays as it is, and what the backup has in another way is told; an account
// that is not there comes back under all of it.
func TestRulesOfWhoLives(t *testing.T) {
	ctx := t.Context()
	s := newSite(t)
	alice := s.account("alice@example.org")
	id := mailbox.AccountID(alice)
	s.append(alice, "INBOX", body(1, 500), body(2, 500))
	hold := func(on bool) {
		t.Helper()
		if err := s.db.Retention().Hold(ctx, id, "case 12", on); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	trash := index.ExpireRule{ExpireKey: index.ExpireKey{Account: id, Folder: "Trash"}, OlderThan: 24 * time.Hour, Keep: 5}
	lists := index.ExpireRule{ExpireKey: index.ExpireKey{Account: id, Folder: "Lists"}, OlderThan: 24 * time.Hour, Received: true}
	s.set(index.RetentionRule{Account: id, Keep: time.Hour}, index.RetentionRule{Account: id, Folder: "Work", Keep: time.Hour}, trash, lists)
	want := s.ruled()
	folder := filepath.Join(t.TempDir(), "repository")
	s.backup(folder)
	restore := func(to *site, as string) *backup.Restored {
		t.Helper()
		r := open(t, folder)
		snap, err := r.At(ctx, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := backup.Account(ctx, snap, to.restoreDeps(r), "alice@example.org", as)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := restore(s, ""); out.Merged != 1 || len(out.Conflicts) != 0 {
		t.Errorf("all is the same: %+v", out)
	}
	other := newSite(t)
	if out := restore(other, ""); out.Accounts != 1 || len(out.Conflicts) != 0 {
		t.Errorf("into a farm that does not have it: %+v", out)
	}
	sameRules(t, "where it was not", other.ruled(), want)
	if list, err := other.db.Retention().Holds(ctx, id); err != nil || len(list) != 1 || list[0].Reason != "case 12" {
		t.Errorf("where it was not: held by %+v, %v", list, err)
	}
	// Somebody lifts the hold and changes rules, and loses a message.
	hold(false)
	trash.Keep = 50
	s.set(index.RetentionRule{Account: id, Keep: -1}, index.RetentionRule{Account: id, Folder: "Work", Keep: 2 * time.Hour}, trash)
	if _, err := s.db.Retention().DropExpireRule(ctx, lists.ExpireKey); err != nil {
		t.Fatal(err)
	}
	now := s.ruled()
	out := restore(s, "")
	told := strings.Join(out.Conflicts, "\n")
	if len(out.Conflicts) != 5 {
		t.Errorf("told:\n%s", told)
	}
	for _, text := range []string{
		`alice@example.org is under no legal hold here, and was when the backup was made ("case 12"): mailfarm hold set`,
		"rule of retention of alice@example.org: there is none here, and one in the backup: mailfarm retention set",
		"rule of retention of alice@example.org, folder Work: stays as it is here: keep is 2h0m0s, and 1h0m0s in the backup",
		"rule of expiry of alice@example.org, folder Trash: stays as it is here: keep is 50, and 5 in the backup",
		"rule of expiry of alice@example.org, folder Lists: there is none here, and one in the backup: mailfarm expire set",
	} {
		if !strings.Contains(told, text) {
			t.Errorf("nothing of %q in\n%s", text, told)
		}
	}
	sameRules(t, "of who lives", s.ruled(), now)
	if list, err := s.db.Retention().Holds(ctx, id); err != nil || len(list) != 0 {
		t.Errorf("held by %+v, %v", list, err)
	}
	// So does the account that another's mail goes to.
	s.account("bob@example.org")
	if out := restore(s, "bob@example.org"); len(out.Conflicts) != 5 {
		t.Errorf("into another account: %+v", out)
	}
}
