package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

type removedList struct {
	Messages []struct {
		ID, Folder, How, From, Subject string
		Flags                          []string
	}
	Next string
}

type restored struct {
	Restored, Present, Gone int
	Folders                 []string
}

// bodies are the messages of a folder, sorted.
func bodies(f *harness.Farm, user, folder string) (list [][]byte) {
	for _, m := range f.Mailbox(user, folder) {
		list = append(list, m.Raw)
	}
	slices.SortFunc(list, bytes.Compare)
	return list
}

func sameBodies(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s: %d messages, want the %d that were there, octet by octet", what, len(got), len(want))
	}
}

// TestUndelete deletes by IMAP and brings back by the operator's verbs.
func TestUndelete(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "undelete", alice)
	before := bodies(f, alice, "INBOX")
	if len(before) < 2 {
		t.Fatalf("%d messages", len(before))
	}
	atFirst := time.Now()
	c := f.IMAPClient(alice)
	defer c.Close()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := c.Select("INBOX", nil).Wait()
	must("SELECT", err)
	must("STORE", c.Store(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted, imap.FlagFlagged}}, nil).Close())
	must("EXPUNGE", c.Expunge().Close())
	sameBodies(t, "expunged", bodies(f, alice, "INBOX"), nil)

	list := fromJSON[removedList](t, f, "undelete", "list", alice)
	if len(list.Messages) != len(before) || list.Messages[0].How != "expunged" || list.Messages[0].Folder != "INBOX" || list.Messages[0].Subject == "" {
		t.Fatalf("undelete list: %+v", list)
	}
	one := fromJSON[restored](t, f, "undelete", "restore", alice, "--message", list.Messages[0].ID)
	if one.Restored != 1 || !slices.Equal(one.Folders, []string{"INBOX"}) {
		t.Errorf("restore of one: %+v", one)
	}
	if dry := fromJSON[restored](t, f, "undelete", "restore", alice, "--dry-run"); dry.Restored != len(before)-1 {
		t.Errorf("restore --dry-run: %+v", dry)
	}
	if all := fromJSON[restored](t, f, "undelete", "restore", alice); all.Restored != len(before)-1 {
		t.Errorf("restore of all: %+v", all)
	}
	sameBodies(t, "restored", bodies(f, alice, "INBOX"), before)
	if again := fromJSON[restored](t, f, "undelete", "restore", alice); again.Restored != 0 {
		t.Errorf("restore again: %+v", again)
	}
	sameBodies(t, "restored twice", bodies(f, alice, "INBOX"), before)
	// The flags are as they were, but for \Deleted.
	_, err = c.Select("INBOX", nil).Wait()
	must("SELECT", err)
	found, err := c.Search(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagFlagged}, NotFlag: []imap.Flag{imap.FlagDeleted}}, nil).Wait()
	if must("SEARCH", err); len(found.AllSeqNums()) != len(before) {
		t.Errorf("%d messages have their flags, want %d", len(found.AllSeqNums()), len(before))
	}

	// A folder as it was at a time, in a new folder; and one that was deleted.
	at := fromJSON[restored](t, f, "undelete", "restore", alice, "--folder", "INBOX", "--at", atFirst.Format(time.RFC3339Nano))
	if at.Restored != len(before) || len(at.Folders) != 1 {
		t.Fatalf("restore --at: %+v", at)
	}
	sameBodies(t, at.Folders[0], bodies(f, alice, at.Folders[0]), before)
	must("DELETE", c.Delete(at.Folders[0]).Wait())
	if back := fromJSON[restored](t, f, "undelete", "restore", alice, "--folder", at.Folders[0], "--all"); back.Restored != len(before) {
		t.Errorf("restore of a folder: %+v", back)
	}
	sameBodies(t, "deleted folder", bodies(f, alice, at.Folders[0]), before)

	refused(t, f, []string{"undelete", "list", "nobody@example.org"}, "no account", "undelete accounts")
	refused(t, f, []string{"undelete", "restore", alice, "--at", "1h"}, "--folder")
	f.CLI("hold", "set", alice, "--reason", "case 12")
	if holds := fromJSON[[]struct{ Account, Reason string }](t, f, "hold", "list"); len(holds) != 1 || holds[0].Account != alice || holds[0].Reason != "case 12" {
		t.Errorf("hold list: %+v", holds)
	}
	f.CLI("hold", "clear", alice)
	f.CLI("retention", "set", alice, "90d", "--folder", "Work")
	if rules := fromJSON[[]struct{ Of, Folder, Keep string }](t, f, "retention", "list"); len(rules) != 2 || rules[1].Of != alice || rules[1].Keep != "2160h0m0s" {
		t.Errorf("retention list: %+v", rules)
	}
}

// TestUndeleteOne brings back one thing of several that are called alike, and says so where there is nothing.
func TestUndeleteOne(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "one", alice)
	c := f.IMAPClient(alice)
	defer c.Close()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	folders := func() (list []string) {
		t.Helper()
		boxes, err := c.List("", "*", nil).Collect()
		must("LIST", err)
		for _, b := range boxes {
			list = append(list, b.Mailbox)
		}
		return list
	}
	were := folders()

	// What is not kept.
	out, code := f.CLIStatus("undelete", "restore", alice, "--message", "MAAAAAAAAAAc")
	if code != 1 || !strings.Contains(out, "1 are not kept") {
		t.Errorf("of no message: exit status %d, %s", code, out)
	}
	if out := f.CLI("undelete", "restore", alice, "--folder", "INBOX", "--at", "1990-01-01"); !strings.Contains(out, "none was made") {
		t.Errorf("of 1990: %s", out)
	}
	if is := folders(); !slices.Equal(is, were) {
		t.Errorf("there are %q, there were %q", is, were)
	}

	// Two folders of one name, of which one comes back.
	copied := func(name string, n uint32) {
		t.Helper()
		must("CREATE", c.Create(name, nil).Wait())
		_, err := c.Select("INBOX", nil).Wait()
		must("SELECT", err)
		_, err = c.Copy(imap.SeqSet{{Start: 1, Stop: n}}, name).Wait()
		must("COPY", err)
	}
	for n := range uint32(2) {
		copied("W/a", n+1)
		must("DELETE", c.Delete("W/a").Wait())
	}
	type removed struct {
		Mailboxes []struct {
			Mailbox, Name string
			Messages      int
		}
	}
	list := fromJSON[removed](t, f, "undelete", "folders", alice).Mailboxes
	if len(list) != 2 || list[0].Messages+list[1].Messages != 3 {
		t.Fatalf("undelete folders: %+v", list)
	}
	for _, m := range list {
		if m.Messages == 1 {
			f.CLI("undelete", "restore", alice, "--folder-id", m.Mailbox, "--all")
		}
	}
	if got := bodies(f, alice, "W/a"); len(got) != 1 {
		t.Errorf("W/a has %d messages, want 1", len(got))
	}
	refused(t, f, []string{"undelete", "restore", alice, "--folder-id", "FAAAAAAAAAAc"}, "no deleted folder")

	// A folder by a name that it had.
	copied("Once", 2)
	before := time.Now()
	_, err := c.Select("Once", nil).Wait()
	must("SELECT", err)
	must("STORE", c.Store(imap.SeqSet{{Start: 1, Stop: 1}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	must("EXPUNGE", c.Expunge().Close())
	must("RENAME", c.Rename("Once", "V/b", nil).Wait())
	must("CREATE", c.Create("V/x", nil).Wait())
	must("RENAME", c.Rename("V/x", "V/y", nil).Wait())
	refused(t, f, []string{"undelete", "restore", alice, "--folder", "V/x", "--at", "1s"}, "name that it has now")
	at := fromJSON[restored](t, f, "undelete", "restore", alice, "--folder", "Once", "--at", before.Format(time.RFC3339Nano))
	if at.Restored != 2 || !slices.ContainsFunc(at.Folders, func(name string) bool { return strings.HasSuffix(name, "/V/b") }) {
		t.Errorf("by the name that it had: %+v", at)
	}
}

// TestUndeleteAccount removes an account and brings it back with its mail.
func TestUndeleteAccount(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "account", alice)
	before := bodies(f, alice, "INBOX")
	f.CLI("account", "remove", alice)
	if mayLogIn(t, f, alice, devPass) {
		t.Error("an account that was removed lets in")
	}
	f.CLI("undelete", "account", alice)
	sameBodies(t, "account", bodies(f, alice, "INBOX"), before)
	refused(t, f, []string{"undelete", "account", alice}, "no removed account")
}

// TestExpire applies a rule, and brings back what went.
func TestExpire(t *testing.T) {
	f := harness.StartDev(t, "--config", harness.ConfigFile(t, "store:\n  expire:\n    - {folder: INBOX, keep: 1}\n"))
	seed(t, f, "expire", alice)
	before := bodies(f, alice, "INBOX")
	type expired struct{ Messages int }
	if dry := fromJSON[expired](t, f, "expire", "run", alice, "--dry-run"); dry.Messages != len(before)-1 {
		t.Errorf("expire --dry-run: %+v", dry)
	}
	sameBodies(t, "dry run", bodies(f, alice, "INBOX"), before)
	if run := fromJSON[expired](t, f, "expire", "run"); run.Messages != len(before)-1 {
		t.Errorf("expire: %+v", run)
	}
	if left := bodies(f, alice, "INBOX"); len(left) != 1 {
		t.Errorf("%d messages are left", len(left))
	}
	f.CLI("undelete", "restore", alice)
	sameBodies(t, "restored", bodies(f, alice, "INBOX"), before)

	// What is set by command comes before the configuration, and the most special first.
	type rule struct {
		Of, Folder, Name string
		Larger           int64 `json:"larger_than"`
		Never            bool
	}
	f.CLI("expire", "set", "@example.org", "--folder", "INBOX", "--name", "large", "--larger-than", "1", "--keep", "2")
	if dry := fromJSON[expired](t, f, "expire", "run", alice, "--dry-run"); dry.Messages != len(before)-2 {
		t.Errorf("by the rule of the domain: %+v", dry)
	}
	f.CLI("expire", "set", alice, "--folder", "*", "--never")
	if run := fromJSON[expired](t, f, "expire", "run", alice); run.Messages != 0 {
		t.Errorf("spared: %+v", run)
	}
	if dry := fromJSON[expired](t, f, "expire", "set", alice, "--folder", "INBOX", "--keep", "3", "--dry-run"); dry.Messages != len(before)-3 {
		t.Errorf("on trial: %+v", dry)
	}
	if list := fromJSON[[]rule](t, f, "expire", "list"); len(list) != 3 || list[0].Of != "configuration 1" || !slices.Contains(list, rule{alice, "*", "", 0, true}) ||
		!slices.Contains(list, rule{"@example.org", "INBOX", "large", 1, false}) {
		t.Errorf("expire list: %+v", list)
	}
	// What nothing can come under is refused; what may come later is told.
	refused(t, f, []string{"expire", "set", "@nodom.example", "--folder", "INBOX", "--keep", "1"}, "nodom.example is no domain here")
	refused(t, f, []string{"expire", "set", "all", "--folder", "T/*", "--keep", "1"}, "one folder")
	refused(t, f, []string{"expire", "set", alice, "--folder", "T/%", "--keep", "1", "--dry-run"}, "one folder")
	refused(t, f, []string{"retention", "set", "@nodom.example", "9d"}, "nodom.example is no domain here")
	refused(t, f, []string{"retention", "set", alice, "9d", "--folder", "T/*"}, "one folder")
	f.CLI("retention", "clear", "@nodom.example")
	for _, set := range [][]string{{"expire", "set", alice, "--name", "later", "--keep", "1"}, {"retention", "set", alice, "9d"}} {
		if out := f.CLI(append(set, "--folder", "no such")...); !strings.Contains(out, `has no folder "no such"`) {
			t.Errorf("%q: %s", set, out)
		}
		if out := f.CLI(append(set, "--folder", "Trash")...); strings.Contains(out, "has no folder") {
			t.Errorf("%q: %s", set, out)
		}
	}
	f.CLI("expire", "remove", alice, "--folder", "*")
	refused(t, f, []string{"expire", "remove", alice, "--folder", "*"}, "no such rule")
	if run := fromJSON[expired](t, f, "expire", "run", alice); run.Messages != len(before)-2 {
		t.Errorf("by the rule of the domain: %+v", run)
	}
}

// TestFsck finds nothing where all is well, kept messages and bodies included.
func TestFsck(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "fsck", alice)
	before := bodies(f, alice, "INBOX")
	c := f.IMAPClient(alice)
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.SeqSet{{Start: 1, Stop: 1}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	type report struct {
		Accounts, Messages, Bodies, Left int
		Findings                         []struct{ What, Detail string }
		Ledger                           *struct{ Accepted, Unaccounted int }
	}
	for _, args := range [][]string{{"fsck", alice, "--bodies"}, {"fsck", "--bodies", "--repair"}} {
		if r := fromJSON[report](t, f, args...); r.Accounts < 1 || r.Messages < len(before) || r.Bodies < len(before) || r.Left != 0 || len(r.Findings) != 0 {
			t.Errorf("mailfarm %v: %+v, want %d messages and nothing found", args, r, len(before))
		} else if all := len(args) == 3 && args[1] != alice; all != (r.Ledger != nil) || all && (r.Ledger.Accepted < len(before) || r.Ledger.Unaccounted != 0) {
			t.Errorf("mailfarm %v: %+v, want all recipients accounted for where no account is named", args, r.Ledger)
		}
	}
	refused(t, f, []string{"fsck", "nobody@example.org"}, "no account")
}
