package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// entry is what trace and queue print of a message.
type entry struct {
	QueueID     string `json:"queue_id"`
	ReversePath string `json:"reverse_path"`
	MessageID   string `json:"message_id"`
	Subject     string
	Kind        string
	Client      string
	Protocol    string
	TLS         string
	Account     string
	Verdict     string
	Recipients  []struct {
		ForwardPath string `json:"forward_path"`
		State       string
		Attempts    int
		LastReply   string `json:"last_reply"`
		Relay       string
		Due         *time.Time
	}
}

// state is the state of all recipients, which is to be the same.
func (e entry) state() string {
	all := map[string]bool{}
	for _, r := range e.Recipients {
		all[r.State] = true
	}
	var names []string
	for s := range all {
		names = append(names, s)
	}
	slices.Sort(names)
	return strings.Join(names, "+")
}

// TestTrace finds messages by id, recipient, sender, Message-ID and time.
func TestTrace(t *testing.T) {
	f := harness.StartDev(t)
	if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("first", carol, alice)); err != nil {
		t.Fatal(err)
	}
	if err := f.Submit(bob, []string{alice, bob}, harness.Letter("second", bob, alice), nil, nil); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	subjects := func(args ...string) string {
		var names []string
		for _, e := range fromJSON[[]entry](t, f, append([]string{"trace"}, args...)...) {
			names = append(names, e.Subject)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for _, c := range []struct{ name, want, got string }{
		{"--rcpt alice", "first second", subjects("--rcpt", alice)},
		{"--rcpt bob", "second", subjects("--rcpt", bob)},
		{"--from", "first", subjects("--from", carol)},
		{"--message-id", "second", subjects("--message-id", "<second@letters.example>")},
		{"--since 1h", "first second", subjects("--since", "1h")},
		{"--since tomorrow", "", subjects("--since", time.Now().Add(24*time.Hour).Format("2006-01-02T15:04:05"))},
		{"--since and --rcpt", "second", subjects("--since", time.Now().Format("2006-01-02"), "--rcpt", bob)},
		{"nobody's", "", subjects("--rcpt", "nobody@example.org")},
	} {
		if c.got != c.want {
			t.Errorf("trace %s finds %q, want %q", c.name, c.got, c.want)
		}
	}

	found := fromJSON[[]entry](t, f, "trace", "--message-id", "<second@letters.example>")[0]
	byID := fromJSON[[]entry](t, f, "trace", found.QueueID)
	if len(byID) != 1 || byID[0].Subject != "second" || byID[0].state() != "delivered" || len(byID[0].Recipients) != 2 {
		t.Errorf("trace QUEUE-ID --json tells %+v", byID)
	}
	if e := byID[0]; e.Account != bob || e.TLS == "" || e.Client != "127.0.0.1" || e.Protocol != "ESMTPSA" || e.Kind != "accepted" {
		t.Errorf("trace tells of the client %+v", e)
	}
	text := f.CLI("trace", found.QueueID)
	for _, want := range []string{found.QueueID, "second", "bob@example.org", "delivered", "verdict", "ESMTPSA"} {
		if !strings.Contains(text, want) {
			t.Errorf("trace does not say %q:\n%s", want, text)
		}
	}
	refused(t, f, []string{"trace"}, "--rcpt")
	refused(t, f, []string{"trace", "no-id"}, "no-id")
	refused(t, f, []string{"trace", "00000000000000000000000000"}, "no such message")
	refused(t, f, []string{"trace", "--since", "yesterday"}, "30m")
}
