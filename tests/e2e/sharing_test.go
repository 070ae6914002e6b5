package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestSharing shares a folder by the operator's verb: the other finds, reads and flags it, hears of new mail while waiting, and
// is out as soon as the rights are taken away, also in the session that has it open.
func TestSharing(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "sharing", alice)
	before := len(f.Mailbox(alice, "INBOX"))
	const name = "Other Users/" + alice + "/INBOX"
	f.CLI("acl", "set", alice, "INBOX", bob, "lrs")

	told := make(chan uint32, 16)
	c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS(), UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				told <- *data.NumMessages
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	lists := func() string {
		t.Helper()
		list, err := c.List("", "*", nil).Collect()
		must("LIST", err)
		var names []string
		for _, m := range list {
			names = append(names, m.Mailbox)
		}
		return strings.Join(names, "\n")
	}
	must("LOGIN", c.Login(bob, devPass).Wait())
	if all := lists(); !strings.Contains(all, name) {
		t.Fatalf("LIST does not tell %s:\n%s", name, all)
	}
	selected, err := c.Select(name, nil).Wait()
	must("SELECT", err)
	if int(selected.NumMessages) != before {
		t.Fatalf("%d messages, want %d", selected.NumMessages, before)
	}
	add := func(flag imap.Flag) error {
		return c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{flag}}, nil).Close()
	}
	must("STORE \\Seen", add(imap.FlagSeen))
	for uid, flags := range flagsOf(t, f, bob, name) {
		if seen := strings.Contains(flags, `\Seen`); seen != (uid == 1) {
			t.Errorf("bob has the flags %s on UID %d", flags, uid)
		}
	}
	for uid, flags := range flagsOf(t, f, alice, "INBOX") {
		if strings.Contains(flags, `\Seen`) {
			t.Errorf("alice has the flags %s on UID %d, which bob read", flags, uid)
		}
	}

	idle, err := c.Idle()
	must("IDLE", err)
	if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("new", carol, alice)); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-told:
		if int(n) != before+1 {
			t.Errorf("told of %d messages, want %d", n, before+1)
		}
	case <-time.After(harness.Limit):
		t.Fatal("whoever waits in a shared folder was not told of a message")
	}
	must("end of IDLE", idle.Close())

	// Without s he reads on, and keeps nothing; without anything he is out.
	f.CLI("acl", "set", alice, "INBOX", bob, "lr")
	if err := add(imap.FlagSeen); err == nil {
		t.Error("STORE \\Seen without the right s was done")
	}
	if got, err := c.Fetch(imap.SeqSetNum(2), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect(); err != nil || len(got) != 1 {
		t.Errorf("FETCH with the right r: %d, %v", len(got), err)
	}
	f.CLI("acl", "delete", alice, "INBOX", bob)
	if got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect(); err == nil {
		t.Errorf("FETCH without rights gave %d messages", len(got))
	}
	again := f.IMAPClient(bob)
	defer again.Close()
	if _, err := again.Select(name, nil).Wait(); err == nil {
		t.Error("SELECT without rights was done")
	}

	// A folder that was deleted comes back with its list.
	owner := f.IMAPClient(alice)
	defer owner.Close()
	must("CREATE", owner.Create("Team", nil).Wait())
	f.CLI("acl", "set", alice, "Team", bob, "lr")
	must("DELETE", owner.Delete("Team").Wait())
	f.CLI("undelete", "restore", alice, "--folder", "Team")
	if _, err := again.Select("Other Users/"+alice+"/Team", nil).Wait(); err != nil {
		t.Errorf("SELECT of a folder that was brought back: %v", err)
	}
}

// TestSwaksMeetsFullMailbox: a recipient without room is refused as the configuration says, and the other is not.
func TestSwaksMeetsFullMailbox(t *testing.T) {
	harness.Need(t, "swaks")
	for policy, want := range map[string]string{"defer": "<** 452 4.2.2", "reject": "<** 552 5.2.2"} {
		t.Run(policy, func(t *testing.T) {
			f := harness.StartDev(t, "--config", harness.ConfigFile(t, fmt.Sprintf("ingress: {acceptance: {over_quota: %s}}\n", policy)))
			f.CLI("quota", "set", bob, "--messages", "1")
			c := f.IMAPClient(bob)
			defer c.Close()
			letter := harness.Letter("fills", bob, bob)
			cmd := c.Append("INBOX", int64(len(letter)), nil)
			if _, err := cmd.Write(letter); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			p := harness.NewProgram(t)
			out, complaints, err := p.Try("swaks", "--server", f.SMTP(), "--from", carol, "--to", bob)
			if all := string(out) + string(complaints); err == nil || !strings.Contains(all, want) {
				t.Errorf("%v, want %q:\n%s", err, want, all)
			}
			p.Run("swaks", "--server", f.SMTP(), "--from", carol, "--to", alice)
		})
	}
}
