package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestMailboxVerbs: folders, messages and where their bodies lie, as operators see them; nothing is seen by it.
func TestMailboxVerbs(t *testing.T) {
	f := harness.StartDev(t)
	all := seed(t, f, "looked-at", alice)
	f.CLI("acl", "set", alice, "Archive", bob, "lrs")
	f.CLI("quota", "set", alice, "--folder", "Archive", "--size", "1G")
	type folder struct {
		Folder      string
		Messages    int
		Unseen      int
		Size        int64
		UIDNext     int    `json:"uid_next"`
		UIDValidity int    `json:"uid_validity"`
		SizeLimit   int64  `json:"size_limit"`
		SpecialUse  string `json:"special_use"`
		ACL         []struct{ Identifier, Rights string }
	}
	folders := fromJSON[[]folder](t, f, "mailbox", "list", alice)
	if len(folders) < 6 || folders[0].Folder != "INBOX" || folders[0].Messages != len(all) || folders[0].Unseen != len(all) ||
		folders[0].UIDNext != len(all)+1 || folders[0].UIDValidity == 0 || folders[0].Size == 0 {
		t.Errorf("mailbox list: %+v", folders)
	}
	archive := fromJSON[folder](t, f, "mailbox", "stat", alice, "Archive")
	if archive.SizeLimit != 1<<30 || archive.SpecialUse != `\Archive` || len(archive.ACL) != 1 || archive.ACL[0].Identifier != bob {
		t.Errorf("mailbox stat of Archive: %+v", archive)
	}
	type message struct {
		UID            uint32
		Subject, From  string
		Flags          []string
		To, Blob, Body string
		Stored         int64  `json:"stored_size"`
		MessageID      string `json:"message_id"`
		Envelope       string
		Parts          []struct{ Part, Type string }
	}
	first := fromJSON[[]message](t, f, "mailbox", "show", alice, "INBOX", "--most", "2")
	rest := fromJSON[[]message](t, f, "mailbox", "show", alice, "inbox", "--after", "2")
	if len(first) != 2 || len(rest) != len(all)-2 || first[0].UID != 1 || rest[0].UID != 3 {
		t.Fatalf("mailbox show: %d and %d messages of %d", len(first), len(rest), len(all))
	}
	var subjects []string
	for _, m := range append(first, rest...) {
		subjects = append(subjects, m.Subject)
	}
	for _, l := range all {
		if !slices.Contains(subjects, l.name) {
			t.Errorf("mailbox show does not tell of %q: %q", l.name, subjects)
		}
	}
	one := fromJSON[message](t, f, "mailbox", "show", alice, "INBOX", "1")
	if one.Subject != first[0].Subject || !strings.Contains(one.To, alice) || one.Blob == "" || one.Stored == 0 || len(one.Parts) == 0 || one.Envelope == "" || len(one.Flags) != 0 {
		t.Errorf("mailbox show of one: %+v", one)
	}
	if out := f.CLI("mailbox", "stat", alice); !strings.Contains(out, "shared with:") || !strings.Contains(out, "(4 unseen") && len(all) == 4 {
		t.Errorf("mailbox stat:\n%s", out)
	}
	f.CLI("mailbox", "list", alice)
	f.CLI("mailbox", "show", alice, "INBOX", "1")
	if out := f.CLI("mailbox", "show", alice, "INBOX", "--most", "1"); !strings.Contains(out, "there are more: --after 1") {
		t.Errorf("mailbox show of a page:\n%s", out)
	}
	refused(t, f, []string{"mailbox", "list", "nobody@example.org"}, "nobody@example.org", "account list")
	refused(t, f, []string{"mailbox", "stat", alice, "Nowhere"}, "Nowhere", "mailbox list")
	refused(t, f, []string{"mailbox", "show", alice, "INBOX", "999"}, "no message with UID 999")
	refused(t, f, []string{"mailbox", "show", alice, "INBOX", "first"}, "no UID")
	refused(t, f, []string{"mailbox", "kick", alice, "nosuch"}, "no session nosuch", "mailbox who")
	if flags := flagsOf(t, f, alice, "INBOX"); strings.Contains(strings.Join([]string{flags[1], flags[2]}, ""), "Seen") {
		t.Errorf("looking has left flags: %v", flags)
	}
}

// idles logs in by IMAP at the n-th process, and waits there.
func idles(t *testing.T, f *harness.Farm, user, password string, n int) *dialogue {
	t.Helper()
	address := f.IMAPS()
	if n > 0 {
		address = f.At(address, n)
	}
	d := tlsLines(t, f, address)
	d.want("* OK")
	d.say("a ID (\"name\" \"e2e\")\r\n", "* ID")
	d.want("a OK")
	d.say("b LOGIN "+user+" \""+password+"\"\r\n", "b OK")
	d.send("c EXAMINE INBOX\r\n")
	for !strings.HasPrefix(d.any(), "c OK") {
	}
	d.say("d IDLE\r\n", "+ idling")
	return d
}

// pops logs in by POP3.
func pops(t *testing.T, f *harness.Farm, user, password string) *dialogue {
	t.Helper()
	d := tlsLines(t, f, f.POP3S())
	d.want("+OK")
	d.say("USER "+user+"\r\n", "+OK")
	d.say("PASS "+password+"\r\n", "+OK")
	return d
}

type shownSession struct {
	ID, Role, User, Folder, Program, TLS, Process string
	Idle                                          bool
	ReadOnly                                      bool `json:"read_only"`
	Commands                                      int
	Since                                         time.Time
}

// TestMailboxKick: who is connected is told over all processes; sessions end where an operator says so, where the password is
// changed and where the account is removed, and nobody else's do.
func TestMailboxKick(t *testing.T) {
	f, processes := twoFronts(t)
	eve, password := "eve@"+domainOf(alice), "correct horse battery"
	if out, code := f.CLIInput(password+"\n", "account", "add", eve, "--password-file", "-"); code != 0 {
		t.Fatal(out)
	}
	bystander, popper := idles(t, f, bob, devPass, 0), pops(t, f, bob, devPass)
	all := []*dialogue{pops(t, f, alice, devPass)}
	for n := range processes {
		all = append(all, idles(t, f, alice, devPass, n))
	}
	who := fromJSON[[]shownSession](t, f, "mailbox", "who", alice)
	if len(who) != len(all) {
		t.Fatalf("%d sessions of alice, want %d: %+v", len(who), len(all), who)
	}
	at := map[string]bool{}
	one := "" // of IMAP
	for _, s := range who {
		at[s.Process] = true
		if s.Role == "imap" {
			one = s.ID
		}
		if s.User != alice || s.TLS != "TLS 1.3" || s.Folder != "INBOX" || s.Role == "imap" && (!s.Idle || !s.ReadOnly || s.Program != "e2e") || s.Since.IsZero() {
			t.Errorf("mailbox who: %+v", s)
		}
	}
	if processes > 1 && len(at) != 1+processes {
		t.Errorf("the sessions are at the processes %v", at)
	}
	f.CLI("mailbox", "kick", alice, one, "--reason", "one of them")
	harness.Eventually(t, "one session ended", func() bool {
		return len(fromJSON[[]shownSession](t, f, "mailbox", "who", alice)) == len(all)-1
	})
	if out := f.CLI("mailbox", "kick", alice, "--reason", "the rest"); out != fmt.Sprintf("sessions of %s ended: %d\n", alice, len(all)-1) {
		t.Errorf("mailbox kick: %s", out)
	}
	said := map[string]int{}
	for _, r := range all {
		said[r.any()]++
		r.gone()
	}
	if said["* BYE one of them\r\n"] != 1 || said["* BYE the rest\r\n"] != processes-1 || said["-ERR [SYS/TEMP] the rest; nothing was removed\r\n"] != 1 {
		t.Errorf("the clients were told %v", said)
	}

	reads, fetches := idles(t, f, eve, password, processes-1), pops(t, f, eve, password)
	password = "another horse battery"
	if out, code := f.CLIInput(password+"\n", "account", "passwd", eve, "--password-file", "-"); code != 0 {
		t.Fatal(out)
	}
	reads.want("* BYE [EXPIRED]")
	fetches.want("-ERR [AUTH]")
	reads = idles(t, f, eve, password, processes-1)
	f.CLI("account", "remove", eve)
	reads.want("* BYE [CONTACTADMIN]")

	bystander.say("DONE\r\n", "d OK")
	popper.say("NOOP\r\n", "+OK")
	out := ""
	harness.Eventually(t, "only bob is left", func() bool {
		out = f.CLI("mailbox", "who")
		return !strings.Contains(out, alice)
	})
	if !strings.Contains(out, bob) || !strings.Contains(out, "TLS 1.3") {
		t.Errorf("mailbox who:\n%s", out)
	}
}

// twoFronts starts a farm with two processes of imap and pop3, where the suite is one over a farm, and tells how many.
func twoFronts(t *testing.T) (*harness.Farm, int) {
	if !harness.InParts() {
		return harness.StartDev(t), 1
	}
	f := harness.Parts(t, harness.Layout{Processes: map[string]int{"imap": 2, "pop3": 2}})
	f.Start()
	return f, 2
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}
