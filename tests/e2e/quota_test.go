package e2e

import (
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestDomainQuota fills a domain by one account: all others are full too, at RCPT, by LMTP and for APPEND and COPY, until something goes.
func TestDomainQuota(t *testing.T) {
	harness.Need(t, "swaks")
	f := harness.StartDev(t)
	f.CLI("quota", "set", "--domain", "example.org", "--messages", "3", "--account-messages", "2")
	client := f.IMAPClient(bob)
	defer client.Close()
	put := func(box string) error {
		letter := harness.Letter("fills", bob, bob)
		cmd := client.Append(box, int64(len(letter)), nil)
		if _, err := cmd.Write(letter); err != nil {
			return err
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		_, err := cmd.Wait()
		return err
	}
	full := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "OVERQUOTA") {
			t.Errorf("%s: got %v, want OVERQUOTA", what, err)
		}
	}
	fine := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	fine("APPEND", put("INBOX"))
	fine("APPEND", put("INBOX"))
	full("more than each account may have", put("INBOX"))
	f.CLI("quota", "set", bob, "--messages", "none")
	fine("APPEND", put("Sent"))
	full("more than the domain may have", put("INBOX"))

	p := harness.NewProgram(t)
	for server, args := range map[string][]string{"SMTP": {"--server", f.SMTP()}, "LMTP": {"--server", f.LMTP(), "--protocol", "LMTP"}} {
		out, complaints, err := p.Try("swaks", append(args, "--from", carol, "--to", alice)...)
		if all := string(out) + string(complaints); err == nil || !strings.Contains(all, "<** 452 4.2.2") {
			t.Errorf("%s: %v, want 452 4.2.2:\n%s", server, err, all)
		}
	}
	_, err := client.Select("Sent", nil).Wait()
	fine("SELECT", err)
	_, err = client.Copy(imap.SeqSetNum(1), "INBOX").Wait()
	full("COPY", err)

	type domain struct {
		Domain        string
		Accounts      int
		Messages      int
		MessagesLimit int `json:"messages_limit"`
		Each          int `json:"account_messages"`
	}
	if list := fromJSON[[]domain](t, f, "quota", "domains"); len(list) != 1 || list[0].Domain != "example.org" || list[0].Messages != 3 ||
		list[0].MessagesLimit != 3 || list[0].Each != 2 || list[0].Accounts < 1 {
		t.Errorf("quota domains: %+v", list)
	}
	if out := f.CLI("quota", "recount", "--all"); !strings.Contains(out, "0 counters put right") {
		t.Errorf("quota recount: %s", out)
	}
	fine("STORE", client.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	fine("EXPUNGE", client.Expunge().Close())
	f.CLI("quota", "set", "--domain", "example.org", "--messages", "3")
	fine("APPEND after an EXPUNGE", put("INBOX"))
	f.CLI("quota", "set", "--domain", "example.org")
	fine("APPEND without limits", put("INBOX"))
	if list := fromJSON[[]domain](t, f, "quota", "domains"); len(list) > 0 {
		t.Errorf("quota domains: %+v", list)
	}
}
