package fault

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// settings make lost hints and recovery come back in seconds instead of minutes; nothing else differs from `mailfarm dev`.
const settings = `
bus: {ack_wait: 1s}
router: {sweep_after: 1s}
delivery_remote: {port: %s, claim_lease: 1s, retry: [500ms, 500ms], keep_connection: 200ms}
delivery_local: {retry: [1s]}
ledger: {sweep_every: 200ms, sweep_again: 1s, outbox_every: 200ms, outbox_again: 500ms, recover_every: 300ms, recover_after: 1s}
`

// world is a farm with a peer and a DNS of its own.
type world struct {
	*harness.Farm
	peer *harness.Peer

	mu      sync.Mutex
	next    int
	letters []*letter
}

// letter is one message that was handed in.
type letter struct {
	name     string
	kind     string
	answered bool // it got a 250
	refused  bool // it got a 5xx
	expunged bool // it was removed since, or perhaps
	body     []byte
}

// lateFilter lets no verdict come in time, so that every message goes to the filter by the bus.
const lateFilter = `
ingress: {acceptance: {filter_timeout: 1us}}
submission: {acceptance: {filter_timeout: 1us}}
`

func newWorld(t *testing.T, more string) *world {
	t.Helper()
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone("remote.example"))
	config := filepath.Join(t.TempDir(), "fault.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, settings+more, harness.Port(peer.Addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{peer: peer}
	w.Farm = harness.Dev(t, "--config", config, "--dns", dns.Addr())
	return w
}

// kind is a way to hand in a message, and what must become of it.
type kind struct {
	name string
	// send hands the letter in.
	send func(w *world, l *letter) error
	// check looks at the end, for a letter that got a 250.
	check func(t *testing.T, w *world, l *letter, seen *seen)
}

const alice, bob = "alice@example.org", "bob@example.org"

var kinds = []kind{
	{"plain", toMX(bob, 0), inMailboxes(bob)},
	{"large", toMX(bob, 300<<10), inMailboxes(bob)},
	{"alias", toMX("both@example.org", 0), inMailboxes(alice, bob)},
	{"unknown", toMX("nobody@example.org", 0), nowhere},
	{"lmtp", toLMTP(bob), inMailboxes(bob)},
	{"success", submit(bob, &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess}}), both(inMailboxes(bob), reported("delivered"))},
	{"append", appendTo("INBOX"), inMailboxes(alice)},
	{"relay", submit("ok@remote.example", nil), relayed},
	{"later", func(w *world, l *letter) error { return submit("later-"+l.name+"@remote.example", nil)(w, l) }, relayed},
	{"refused", submit("refuse@remote.example", nil), reported("failed")},
	{"datafail", submit("datafail@remote.example", nil), reported("failed")},
	{"badalias", toSelf("broken@example.org"), reported("failed")},
}

func toMX(to string, size int) func(*world, *letter) error {
	return func(w *world, l *letter) error {
		l.body = append(harness.Letter(l.name, "carol@sender.example", to), strings.Repeat("Some more text to fill a line of this letter.\r\n", size/47)...)
		return harness.Send(w.SMTP(), "carol@sender.example", []string{to}, l.body)
	}
}

// toSelf hands in at the MX side with alice as the sender, so that she gets the DSN.
func toSelf(to string) func(*world, *letter) error {
	return func(w *world, l *letter) error {
		l.body = harness.Letter(l.name, alice, to)
		return harness.Send(w.SMTP(), alice, []string{to}, l.body)
	}
}

func submit(to string, rcpt *smtp.RcptOptions) func(*world, *letter) error {
	return func(w *world, l *letter) error {
		l.body = harness.Letter(l.name, alice, to)
		return w.Submit(alice, []string{to}, l.body, nil, rcpt)
	}
}

// appendTo appends to a mailbox of alice by IMAP.
func appendTo(name string) func(*world, *letter) error {
	return func(w *world, l *letter) error {
		l.body = harness.Letter(l.name, alice, alice)
		c, err := imapclient.DialTLS(w.IMAPS(), &imapclient.Options{TLSConfig: w.TLS()})
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Login(alice, harness.DevPassword).Wait(); err != nil {
			return err
		}
		cmd := c.Append(name, int64(len(l.body)), nil)
		if _, err := cmd.Write(l.body); err != nil {
			return err
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		_, err = cmd.Wait()
		return err
	}
}

func toLMTP(to string) func(*world, *letter) error {
	return func(w *world, l *letter) error {
		l.body = harness.Letter(l.name, "carol@sender.example", to)
		conn, err := net.Dial("tcp", w.LMTP())
		if err != nil {
			return err
		}
		c := smtp.NewClientLMTP(conn)
		defer c.Close()
		return harness.SendOn(c, "carol@sender.example", []string{to}, l.body, nil, nil)
	}
}
