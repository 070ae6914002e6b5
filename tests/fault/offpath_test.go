package fault

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// offPath tells how a process comes to the points that no letter passes, by what their names begin with.
var offPath = map[string]func(*testing.T, string){
	"drop.": crashDropping, "restore.": crashRestoring, "mend.": crashMending, "store.quota-": crashTelling, "backup.": crashPuttingBack,
	"import.": crashImporting, "copy.": crashCopying,
}

// TestCrashPointsOffThePath lets the process die where an operator's verb, a removed account or a full mailbox leads it, and
// looks whether all is then as without it.
func TestCrashPointsOffThePath(t *testing.T) {
	points, err := Points("../..")
	if err != nil {
		t.Fatal(err)
	}
	harness.Binary(t)
	tried := map[string]bool{}
	for _, point := range points {
		for prefix, crash := range offPath {
			if strings.HasPrefix(point.Name, prefix) {
				tried[prefix] = true
				t.Run(point.Name, func(t *testing.T) {
					t.Parallel() // most of the time is waiting
					crash(t, point.Name)
				})
			}
		}
	}
	for prefix := range offPath {
		if !tried[prefix] {
			t.Errorf("no point begins with %q", prefix)
		}
	}
}

// sql runs a statement on the index, and tells the first column of the first row.
func (w *world) sql(t *testing.T, statement string) string {
	t.Helper()
	const script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=20)\nr = c.execute(sys.argv[2]).fetchone()\nc.commit()\nprint(r[0] if r else '')"
	out, err := exec.Command("python3", "-c", script, filepath.Join(w.Data, "index.db"), statement).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

// stop ends the process in peace.
func (w *world) stop(t *testing.T) {
	t.Helper()
	if err := w.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

// died waits for the end of a process that is to die at a point.
func (w *world) died(t *testing.T, point string) {
	t.Helper()
	if !w.Ended(2 * harness.Limit) {
		t.Fatalf("the point %s was never passed: is it on the path?", point)
	}
}

// subjects are those of a user's INBOX.
func (w *world) subjects(user string) (list []string) {
	for _, m := range w.Mailbox(user, "INBOX") {
		list = append(list, m.Subject)
	}
	return list
}

// send hands letters in, and waits until they are where they belong.
func (w *world) send(t *testing.T, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := harness.Send(w.SMTP(), "carol@sender.example", []string{to}, harness.Letter(name, "carol@sender.example", to)); err != nil {
			t.Fatalf("send %s: %v", name, err)
		}
	}
	w.Settle()
}

// crashDropping removes an account, whose mail is then dropped for good. One that is made anew under its name is another.
func crashDropping(t *testing.T, point string) {
	w := newWorld(t, "store: {retention: {accounts: 1s}}\n")
	w.Start()
	w.send(t, bob, "first", "second")
	w.send(t, alice, "hers")
	id := w.sql(t, "SELECT account FROM mailbox WHERE name = 'INBOX' AND messages = 2")
	w.CLI("account", "remove", bob)
	removed := time.Now()
	w.stop(t)
	harness.Eventually(t, "the account's time to be over", func() bool { return time.Since(removed) > 1500*time.Millisecond })
	w.Launch("MAILFARM_CRASH_AT=" + point)
	w.died(t, point)
	w.Start()
	harness.Eventually(t, "the account to be gone", func() bool { return w.sql(t, "SELECT forgotten FROM dropping WHERE account = "+id) == "3" })
	for _, table := range []string{"account", "mailbox", "chunk", "email", "removed", "kept"} {
		if n := w.sql(t, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE account = %s", table, id)); n != "0" {
			t.Errorf("%s rows are left in %s", n, table)
		}
	}
	if out := w.CLI("undelete", "accounts", "--json"); strings.Contains(out, bob) {
		t.Errorf("the directory knows it still: %s", out)
	}
	if out, status := w.CLIInput(harness.DevPassword+"\n", "account", "add", bob); status != 0 {
		t.Fatalf("account add: %s", out)
	}
	w.send(t, bob, "anew")
	harness.WantOnce(t, w.Mailbox(bob, "INBOX"), []string{"anew"})
	harness.WantOnce(t, w.Mailbox(alice, "INBOX"), []string{"hers"})
	if a := w.Audit(); a.Unaccounted != 0 {
		t.Errorf("audit: %+v", a)
	}
}

// crashRestoring expunges messages and brings them back.
func crashRestoring(t *testing.T, point string) {
	w := newWorld(t, "")
	w.Start()
	names := []string{"first", "second", "third"}
	w.send(t, bob, names...)
	c := w.IMAPClient(bob)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.SeqSet{{Start: 1, Stop: 2}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.stop(t)
	w.Start("MAILFARM_CRASH_AT=" + point)
	if out, status := w.CLIStatus("undelete", "restore", bob); status == 0 {
		t.Errorf("restore of a process that died: %s", out)
	}
	w.died(t, point)
	w.Start()
	if n := len(w.Mailbox(bob, "INBOX")); n != 1 {
		t.Errorf("%d messages after half a restore, want the one that stayed", n)
	}
	for range 2 {
		w.CLI("undelete", "restore", bob)
		harness.WantOnce(t, w.Mailbox(bob, "INBOX"), names)
	}
	w.sound(t)
}

// crashCopying has a guest copy messages, which are \Seen for herself alone: none is there without what she had on it.
func crashCopying(t *testing.T, point string) {
	const others = "Other Users/" + bob + "/"
	w := newWorld(t, "")
	w.Start()
	names := []string{"first", "second"}
	w.send(t, bob, names...)
	w.CLI("acl", "set", bob, "INBOX", alice, "lrs")
	w.CLI("acl", "set", bob, "Archive", alice, "lrsi")
	all := imap.SeqSet{{Start: 1, Stop: 2}}
	open := func(name string) *imapclient.Client {
		c := w.IMAPClient(alice)
		if _, err := c.Select(others+name, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open("INBOX")
	if err := c.Store(all, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.stop(t)
	w.Start("MAILFARM_CRASH_AT=" + point)
	if _, err := open("INBOX").Copy(all, others+"Archive").Wait(); err == nil {
		t.Error("COPY of a process that died ended well")
	}
	w.died(t, point)
	w.Start()
	if n := len(w.Mailbox(bob, "Archive")); n != 0 {
		t.Errorf("%d messages after half a COPY", n)
	}
	if _, err := open("INBOX").Copy(all, others+"Archive").Wait(); err != nil {
		t.Fatal(err)
	}
	harness.WantOnce(t, w.Mailbox(bob, "Archive"), names)
	list, err := open("Archive").Fetch(all, &imap.FetchOptions{Flags: true}).Collect()
	if err != nil || len(list) != len(names) {
		t.Fatal(len(list), err)
	}
	for _, m := range list {
		if !slices.Contains(m.Flags, imap.FlagSeen) {
			t.Errorf("the copy %d has the flags %v, want \\Seen", m.SeqNum, m.Flags)
		}
	}
	w.sound(t)
}

// crashMending makes counters wrong and has them mended.
func crashMending(t *testing.T, point string) {
	w := newWorld(t, "")
	w.Start()
	w.send(t, bob, "first", "second")
	w.stop(t)
	w.sql(t, "UPDATE mailbox SET messages = 7, size = size + 1 WHERE name = 'INBOX' AND messages = 2")
	w.Start("MAILFARM_CRASH_AT=" + point)
	if out, status := w.CLIStatus("fsck", "--repair"); status == 0 {
		t.Errorf("fsck of a process that died: %s", out)
	}
	w.died(t, point)
	w.Start()
	if out, status := w.CLIStatus("fsck"); status != 1 {
		t.Errorf("fsck before the repair: status %d\n%s", status, out)
	}
	w.CLI("fsck", "--repair")
	w.sound(t)
	harness.WantOnce(t, w.Mailbox(bob, "INBOX"), []string{"first", "second"})
}

// sound wants fsck to find nothing.
func (w *world) sound(t *testing.T) {
	t.Helper()
	var r struct{ Findings []any }
	out := w.CLI("fsck", "--bodies", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Findings) > 0 {
		t.Errorf("fsck: %s %v", out, err)
	}
}

// crashTelling fills a mailbox until its owner is told, which happens once.
func crashTelling(t *testing.T, point string) {
	w := newWorld(t, "store: {quota: {messages: 10, tell_at: [30]}}\n")
	w.Start("MAILFARM_CRASH_AT=" + point)
	for _, name := range []string{"first", "second", "third"} { // the last passes the level
		if err := harness.Send(w.SMTP(), "carol@sender.example", []string{bob}, harness.Letter(name, "carol@sender.example", bob)); err != nil {
			t.Fatalf("send %s: %v", name, err)
		}
	}
	w.died(t, point)
	w.Start()
	w.Settle()
	told := func() (n int) {
		for _, s := range w.subjects(bob) {
			if s == "Your mailbox is 30 % full" {
				n++
			}
		}
		return n
	}
	harness.Eventually(t, "the owner to be told", func() bool { return told() > 0 })
	w.stop(t)
	w.Start() // looks again
	w.send(t, bob, "fourth")
	if n := told(); n != 1 {
		t.Errorf("the owner was told %d times", n)
	}
	if n := len(w.subjects(bob)); n != 5 {
		t.Errorf("%d messages, want four and the one that tells", n)
	}
}
