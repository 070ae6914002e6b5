package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// backedUp is what `mailfarm backup run --json` tells.
type backedUp struct {
	Snapshot string
	Counts   struct{ Accounts, Messages, Queued int }
	Written  struct{ Packs, Bodies, Rows int }
	Accounts struct{ Read, Unchanged int }
	Missing  []struct{ Reason string }
}

// broughtBack is what `mailfarm restore --json` tells.
type broughtBack struct {
	Accounts, Merged, Messages, Present, Queued, Known, Unreadable int
	Rules, Conflicts                                               []string
}

// clientsView is all that a client sees of an account, but UIDNEXT and MODSEQs: folders with their ids and UIDVALIDITYs, and
// messages with UIDs, flags, dates and digests.
func clientsView(t *testing.T, f *harness.Farm, user string) (lines []string) {
	t.Helper()
	c := f.IMAPClient(user)
	defer c.Close()
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range list {
		data, err := c.Select(folder.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatalf("EXAMINE %s: %v", folder.Mailbox, err)
		}
		lines = append(lines, fmt.Sprint(folder.Mailbox, folder.Attrs, data.UIDValidity, data.NumMessages))
		lines = append(lines, messagesOf(t, c, data.NumMessages)...)
		lines = append(lines, annotationsOf(t, c, folder.Mailbox)...)
	}
	return append(lines, annotationsOf(t, c, "")...)
}

// annotated are the entries that tests annotate mailboxes and the account with (RFC 5464).
var annotated = []string{"/private/comment", "/shared/comment"}

func annotationsOf(t *testing.T, c *imapclient.Client, folder string) (lines []string) {
	t.Helper()
	got, err := c.GetMetadata(folder, annotated, nil).Wait()
	if err != nil {
		t.Fatalf("GETMETADATA %q: %v", folder, err)
	}
	for _, name := range annotated {
		if value := got.Entries[name]; value != nil {
			lines = append(lines, fmt.Sprintf("  %s %q", name, *value))
		}
	}
	return lines
}

func messagesOf(t *testing.T, c *imapclient.Client, n uint32) (lines []string) {
	t.Helper()
	if n == 0 {
		return nil
	}
	section := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: n}}, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got {
		lines = append(lines, fmt.Sprint("  ", m.UID, m.Flags, m.InternalDate.UTC(), m.RFC822Size, fmt.Sprintf("%x", sha256.Sum256(m.FindBodySection(section)))))
	}
	return lines
}

func sameView(t *testing.T, what string, got, want []string) {
	t.Helper()
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("%s: a client sees\n%s\nand saw\n%s", what, a, b)
	}
}

// emptied is a farm that lost all that it had. In one process it is the same one on the same folder.
func emptied(t *testing.T, f *harness.Farm, flags ...string) *harness.Farm {
	t.Helper()
	if harness.InParts() {
		return harness.StartDev(t, flags...)
	}
	f.Kill()
	if err := os.RemoveAll(f.Data); err != nil {
		t.Fatal(err)
	}
	f.Start()
	return f
}

// allBut waits until nothing is on its way but what waits in the queue.
func allBut(t *testing.T, f *harness.Farm, queued uint64) {
	t.Helper()
	harness.Eventually(t, "all mail to be where it belongs", func() bool {
		a := f.Audit()
		return a.Pending == 0 && a.Queued == queued && a.Unaccounted == 0
	})
}

// rulesOf is what operators said of domains and of all.
func rulesOf(t *testing.T, f *harness.Farm) string {
	t.Helper()
	type limits struct {
		Domain          string
		SizeLimit       int64 `json:"size_limit"`
		AccountMessages int64 `json:"account_messages"`
	}
	return fmt.Sprintf("%s%s%+v", f.CLI("retention", "list"), f.CLI("expire", "list"), fromJSON[[]limits](t, f, "quota", "domains"))
}

// TestBackup makes backups while mail flows, loses everything, and restores it.
func TestBackup(t *testing.T) {
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone("remote.example"))
	flags := []string{"--dns", dns.Addr(), "--config", harness.ConfigFile(t, fmt.Sprintf(patient, harness.Port(peer.Addr)))}
	f := harness.StartDev(t, flags...)
	repository := filepath.Join(t.TempDir(), "repository")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	seed(t, f, "backup", alice)
	must("send", harness.Send(f.SMTP(), carol, []string{alice, bob}, harness.Letter("to both", carol, alice)))
	f.CLI("alias", "set", "sales@example.org", alice)
	f.CLI("group", "add", "team", alice, bob)
	c := f.IMAPClient(alice)
	must("CREATE", c.Create("Work/2026", nil).Wait())
	must("SUBSCRIBE", c.Subscribe("Work/2026").Wait())
	f.Settle()
	_, err := c.Select("INBOX", nil).Wait()
	must("SELECT", err)
	store := func(set imap.SeqSet, flags ...imap.Flag) {
		t.Helper()
		must("STORE", c.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: flags}, nil).Close())
	}
	store(imap.SeqSet{{Start: 2, Stop: 3}}, imap.FlagSeen, "$Work")
	_, err = c.Copy(imap.SeqSet{{Start: 1, Stop: 3}}, "Work/2026").Wait()
	must("COPY", err)
	store(imap.SeqSet{{Start: 4, Stop: 4}}, imap.FlagDeleted)
	must("EXPUNGE", c.Expunge().Close())
	private, shared := []byte("mine\r\nalone"), []byte("of the team")
	must("SETMETADATA", c.SetMetadata("Work/2026", map[string]*[]byte{annotated[0]: &private, annotated[1]: &shared}).Wait())
	must("SETMETADATA of the account", c.SetMetadata("", map[string]*[]byte{annotated[0]: &private}).Wait())
	if got := append(annotationsOf(t, c, "Work/2026"), annotationsOf(t, c, "")...); len(got) != 3 {
		t.Fatalf("annotations: %q", got)
	}
	f.CLI("retention", "set", "@example.org", "400d")
	f.CLI("expire", "set", "all", "--folder", "Logs", "--older-than", "30d")
	f.CLI("quota", "set", "--domain", "example.org", "--size", "1G", "--account-messages", "5000")
	rules := rulesOf(t, f)
	must("submit", f.Submit(alice, []string{"later-q@remote.example"}, harness.Letter("later-q", alice, "later-q@remote.example"), nil, nil))
	harness.Eventually(t, "the letter to wait for its next try", func() bool { return f.Audit().Queued == 1 && peer.Count("later-q") == 0 })

	first := fromJSON[backedUp](t, f, "backup", "run", repository)
	if first.Counts.Accounts != 2 || first.Counts.Queued != 1 || first.Accounts.Read != 2 || len(first.Missing) != 0 || first.Written.Bodies == 0 {
		t.Errorf("the first backup: %+v", first)
	}
	// Nothing new: nothing but a snapshot is written. Who has a letter in the queue is read anew.
	if again := fromJSON[backedUp](t, f, "backup", "run", repository); again.Written.Packs != 0 || again.Accounts.Read != 0 || again.Accounts.Unchanged != 2 {
		t.Errorf("a backup of what did not change: %+v", again)
	}
	// While mail flows.
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 20 {
			name := fmt.Sprintf("flowing-%d", i)
			if err := harness.Send(f.SMTP(), carol, []string{bob}, harness.Letter(name, carol, bob)); err != nil {
				t.Errorf("send %s: %v", name, err)
			}
		}
	})
	fromJSON[backedUp](t, f, "backup", "run", repository)
	wg.Wait()
	allBut(t, f, 1)
	last := fromJSON[backedUp](t, f, "backup", "run", repository)
	if last.Written.Bodies > 20 || len(last.Missing) != 0 {
		t.Errorf("the last backup: %+v", last)
	}
	if out, code := verb(t, "backup", "verify", repository); code != 0 || !strings.Contains(out, ": 0 problems") {
		t.Errorf("verify: exit status %d\n%s", code, out)
	}
	want := map[string][]string{alice: clientsView(t, f, alice), bob: clientsView(t, f, bob)}
	removed := len(fromJSON[removedList](t, f, "undelete", "list", alice).Messages)
	// What comes behind the backup is lost, and must not come back as something else.
	must("send", harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("lost", carol, alice)))
	allBut(t, f, 1)
	lost := f.Mailbox(alice, "INBOX")

	f = emptied(t, f, flags...)
	all := fromJSON[broughtBack](t, f, "restore", "all", "--from", repository)
	if all.Accounts != 2 || all.Merged != 0 || all.Queued != 1 || len(all.Conflicts) != 0 || all.Unreadable != 0 {
		t.Errorf("restore all: %+v", all)
	}
	for _, user := range []string{alice, bob} {
		sameView(t, "restored "+user, clientsView(t, f, user), want[user])
	}
	if got := len(fromJSON[removedList](t, f, "undelete", "list", alice).Messages); got != removed || removed == 0 {
		t.Errorf("undelete knows %d messages, and knew %d", got, removed)
	}
	if got := rulesOf(t, f); got != rules || len(all.Rules) != 3 {
		t.Errorf("rules of domains and of all: brought back %q, and now\n%s\nwant\n%s", all.Rules, got, rules)
	}
	again := fromJSON[broughtBack](t, f, "restore", "all", "--from", repository)
	if again.Messages != 0 || again.Queued != 0 || again.Known != 1 || len(again.Rules) != 0 || len(again.Conflicts) != 0 {
		t.Errorf("restore all again: %+v", again)
	}
	if out, code := f.CLIStatus("fsck", "--bodies"); code != 0 {
		t.Errorf("fsck: %s", out)
	}
	if out := f.CLI("alias", "list"); !strings.Contains(out, "sales@example.org") {
		t.Errorf("aliases: %s", out)
	}
	if out := f.CLI("group", "list"); !strings.Contains(out, "team") {
		t.Errorf("groups: %s", out)
	}
	// The queue waits for a person.
	if a := f.Audit(); a.Held != 1 || a.Queued != 0 || a.Unaccounted != 0 || peer.Count("later-q") != 0 {
		t.Errorf("audit: %+v, and the peer has %d", a, peer.Count("later-q"))
	}
	f.CLI("queue", "release", "--all")
	f.CLI("queue", "retry", "--all")
	harness.Eventually(t, "the letter to be sent once it is released", func() bool { return peer.Count("later-q") == 1 })
	f.Settle()
	// New UIDs are above those of what was lost.
	must("send", harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("new", carol, alice)))
	f.Settle()
	got := f.Mailbox(alice, "INBOX")
	if l, g := lost[len(lost)-1], got[len(got)-1]; l.Subject != "lost" || g.Subject != "new" || g.UID <= l.UID {
		t.Errorf("%q has UID %d, %q had %d", g.Subject, g.UID, l.Subject, l.UID)
	}
}

// TestRestoreParts brings single things back into accounts that live.
func TestRestoreParts(t *testing.T) {
	f := harness.StartDev(t)
	repository := filepath.Join(t.TempDir(), "repository")
	seed(t, f, "parts", alice)
	fromJSON[backedUp](t, f, "backup", "run", repository)
	before := bodies(f, alice, "INBOX")
	view := clientsView(t, f, alice)
	from := func(args ...string) []string { return append(args, "--from", repository) }

	type shown struct{ ID, Subject string }
	list := fromJSON[[]shown](t, f, from("restore", "list", alice, "INBOX")...)
	if len(list) != len(before) || list[0].Subject == "" {
		t.Fatalf("restore list: %+v", list)
	}
	if r := fromJSON[broughtBack](t, f, from("restore", "message", alice, list[1].ID)...); r.Messages != 0 || r.Present != 1 {
		t.Errorf("a message that is there: %+v", r)
	}
	c := f.IMAPClient(alice)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if r := fromJSON[broughtBack](t, f, from("restore", "message", alice, list[1].ID)...); r.Messages != 1 {
		t.Errorf("a message that was removed: %+v", r)
	}
	if got := f.Mailbox(alice, "INBOX"); len(got) != 1 || got[0].Subject != list[1].Subject {
		t.Errorf("INBOX has %+v, want %s", got, list[1].Subject)
	}
	for i, want := range []int{len(before), 0} {
		if r := fromJSON[broughtBack](t, f, from("restore", "folder", alice, "INBOX", "--into", "Old INBOX")...); r.Messages != want {
			t.Errorf("a folder into another, time %d: %+v, want %d", i+1, r, want)
		}
	}
	sameBodies(t, "the other folder", bodies(f, alice, "Old INBOX"), before)
	f.CLI(from("restore", "account", alice)...)
	f.CLI(from("restore", "folder", alice, "INBOX")...)
	sameBodies(t, "INBOX", bodies(f, alice, "INBOX"), before)
	if r := fromJSON[broughtBack](t, f, from("restore", "account", alice)...); r.Messages != 0 {
		t.Errorf("an account that lacks nothing: %+v", r)
	}
	// Into a new account, with the same password.
	for i, want := range []int{len(before), 0} {
		if r := fromJSON[broughtBack](t, f, from("restore", "account", alice, "--as", "copy@example.org")...); r.Messages != want {
			t.Errorf("as another account, time %d: %+v, want %d", i+1, r, want)
		}
	}
	sameView(t, "the other account", clientsView(t, f, "copy@example.org"), view)
	// One that was removed.
	f.CLI("account", "remove", alice)
	if r := fromJSON[broughtBack](t, f, from("restore", "account", alice)...); r.Messages != 0 {
		t.Errorf("an account whose mail is kept: %+v", r)
	}
	sameBodies(t, "INBOX of an account that was removed", bodies(f, alice, "INBOX"), before)
	if out, code := f.CLIStatus("fsck"); code != 0 {
		t.Errorf("fsck: %s", out)
	}
	refused(t, f, from("restore", "account", "nobody@example.org"), "has no account nobody@example.org")
	refused(t, f, from("restore", "folder", alice, "None"), "has nothing of that")
	refused(t, f, []string{"restore", "all"}, "--from")
	refused(t, f, []string{"restore", "all", "--from", repository + "/none"}, "there is no repository")
	refused(t, f, from("restore", "account", alice, "--at", "2020-01-01"), "the earliest snapshot")
	if out, code := verb(t, "backup", "prune", repository); code != 2 || !strings.Contains(out, "--keep") {
		t.Errorf("prune without --keep: exit status %d\n%s", code, out)
	}

	fromJSON[backedUp](t, f, "backup", "run", repository)
	if out, code := verb(t, "backup", "prune", repository, "--keep", "1"); code != 0 || !strings.HasPrefix(out, "removed 1 backups") {
		t.Errorf("prune: exit status %d\n%s", code, out)
	}
	if out, code := verb(t, "backup", "list", repository, "--json"); code != 0 || strings.Count(out, `"snapshot"`) != 1 {
		t.Errorf("backup list: exit status %d\n%s", code, out)
	}
	packs, err := filepath.Glob(repository + "/packs/*.tar.zst")
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs: %v, %v", packs, err)
	}
	b, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(packs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := verb(t, "backup", "verify", repository); code != 1 || !strings.Contains(out, "damaged") {
		t.Errorf("verify of a damaged repository: exit status %d\n%s", code, out)
	}
}
