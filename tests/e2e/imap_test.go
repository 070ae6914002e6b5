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

// flagsOf tells the flags of all messages of a mailbox, by UID.
func flagsOf(t *testing.T, f *harness.Farm, user, mailbox string) map[imap.UID]string {
	t.Helper()
	c := f.IMAPClient(user)
	defer c.Logout()
	if _, err := c.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	var all imap.UIDSet
	all.AddRange(1, 0)
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	flags := map[imap.UID]string{}
	for _, m := range got {
		flags[m.UID] = fmt.Sprint(m.Flags)
	}
	return flags
}

// store adds flags to the message with a UID.
func store(t *testing.T, c *imapclient.Client, mailbox string, uid imap.UID, flags ...imap.Flag) {
	t.Helper()
	if _, err := c.Select(mailbox, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: flags}, nil).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIdleIsTold lets two clients wait on their connections: both hear of a message within a second of its 250, and of a
// flag that one of them sets.
func TestIdleIsTold(t *testing.T) {
	f := harness.StartDev(t)
	told := make(chan time.Time, 16)
	flagged := make(chan string, 16)
	var clients []*imapclient.Client
	for range 2 {
		c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS(), UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(data *imapclient.UnilateralDataMailbox) {
				if data.NumMessages != nil {
					told <- time.Now()
				}
			},
			Fetch: func(m *imapclient.FetchMessageData) {
				if got, err := m.Collect(); err == nil {
					flagged <- fmt.Sprint(got.Flags)
				}
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Login(alice, devPass).Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	var idles []*imapclient.IdleCommand
	for _, c := range clients {
		idle, err := c.Idle()
		if err != nil {
			t.Fatal(err)
		}
		idles = append(idles, idle)
	}
	const rounds = 5
	var worst time.Duration
	for round := range rounds {
		if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter(fmt.Sprintf("idle-%d", round), carol, alice)); err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		for range clients {
			select {
			case at := <-told:
				worst = max(worst, at.Sub(answered))
			case <-time.After(harness.Limit):
				t.Fatal("a waiting client was not told of the message")
			}
		}
	}
	t.Logf("two waiting clients were told of %d messages %v after the 250 at the latest", rounds, worst)
	if worst > time.Second {
		t.Errorf("a waiting client was told %v after the 250, want within 1s", worst)
	}

	if err := idles[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := clients[0].Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case flags := <-flagged:
		if !strings.Contains(flags, `\Flagged`) {
			t.Errorf("the waiting client was told of the flags %s", flags)
		}
	case <-time.After(harness.Limit):
		t.Error("the waiting client was not told of the flag")
	}
}
