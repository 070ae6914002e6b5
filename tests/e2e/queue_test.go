package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// patient is the configuration of a farm that sends to port and tries again after an hour, unless it is told to.
const patient = `
delivery_remote: {port: %s, retry: [1h]}
ledger: {sweep_every: 100ms, sweep_again: 1s}
`

// TestQueue lists what waits, shows it, holds it, releases it, tries it again, and deletes it.
func TestQueue(t *testing.T) {
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone("remote.example"))
	f := harness.StartDev(t, "--dns", dns.Addr(), "--config", harness.ConfigFile(t, fmt.Sprintf(patient, harness.Port(peer.Addr))))
	ids := map[string]string{}
	for _, to := range []string{"later-a", "later-b", "later-c"} {
		if err := f.Submit(alice, []string{to + "@remote.example"}, harness.Letter(to, alice, to), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	list := func(args ...string) []entry {
		return fromJSON[[]entry](t, f, append([]string{"queue", "list"}, args...)...)
	}
	harness.Eventually(t, "all three were tried once", func() bool {
		tried := 0
		for _, e := range list() {
			ids[e.Subject] = e.QueueID
			if e.Recipients[0].Attempts == 1 && strings.Contains(e.Recipients[0].LastReply, "come back later") && e.Recipients[0].Due != nil {
				tried++
			}
		}
		return tried == 3
	})
	if out := f.CLI("queue", "list"); strings.Count(out, "come back later") != 3 || !strings.HasPrefix(out, "QUEUE ID") {
		t.Errorf("queue list:\n%s", out)
	}
	if got := list("--rcpt", "later-a@remote.example"); len(got) != 1 || got[0].Subject != "later-a" {
		t.Errorf("queue list --rcpt tells %+v", got)
	}
	if got := list("--from", bob); len(got) != 0 {
		t.Errorf("queue list --from bob tells %+v", got)
	}
	if out := f.CLI("queue", "show", ids["later-a"]); !strings.Contains(out, "1 tries, next ") || !strings.Contains(out, "451 4.2.1 come back later") {
		t.Errorf("queue show:\n%s", out)
	}
	if a := f.Audit(); a.Queued != 3 {
		t.Errorf("audit tells of %d queued, want 3", a.Queued)
	}

	if out := f.CLI("queue", "hold", ids["later-a"], ids["later-b"]); !strings.HasPrefix(out, "2 recipients held") {
		t.Errorf("queue hold says %q", out)
	}
	if a := f.Audit(); a.Held != 2 || a.Queued != 1 {
		t.Errorf("audit tells of %d held and %d queued, want 2 and 1", a.Held, a.Queued)
	}
	if out := f.CLI("queue", "retry", "--all"); !strings.HasPrefix(out, "1 recipients ") {
		t.Errorf("queue retry --all says %q, want only what is not held", out)
	}
	harness.Eventually(t, "the third is sent", func() bool { return peer.Count("later-c") == 1 })

	if got := fromJSON[struct{ Recipients int }](t, f, "queue", "release", ids["later-a"]); got.Recipients != 1 {
		t.Errorf("queue release tells of %d recipients", got.Recipients)
	}
	harness.Eventually(t, "the first is sent once it is released", func() bool { return peer.Count("later-a") == 1 })

	if out := f.CLI("queue", "delete", ids["later-b"]); !strings.HasPrefix(out, "1 recipients discarded") {
		t.Errorf("queue delete says %q", out)
	}
	a := f.Settle()
	if a.Discarded != 1 || a.Relayed != 2 || a.Accepted != 3 {
		t.Errorf("audit tells %+v", a)
	}
	if got := list(); len(got) != 0 {
		t.Errorf("queue list still tells %+v", got)
	}
	if e := fromJSON[[]entry](t, f, "trace", ids["later-b"])[0]; e.state() != "discarded" {
		t.Errorf("the deleted message is %s", e.state())
	}
	if peer.Count("later-b") != 0 {
		t.Error("the deleted message was sent")
	}
	refused(t, f, []string{"queue", "hold"}, "--all")
	refused(t, f, []string{"queue", "retry", "not-an-id"}, "not-an-id")
	refused(t, f, []string{"queue", "show", "00000000000000000000000000"}, "no such message")
}

// TestFollow shows events live: all, and those of one recipient; it ends by Ctrl-C with status 0.
func TestFollow(t *testing.T) {
	f := harness.StartDev(t)
	all := f.Follow("trace", "--follow")
	one := f.Follow("trace", "--follow", "--json", "--rcpt", bob)
	harness.Line(t, all.Err) // says that it follows
	// With --json nothing is said before the first event, so letters are sent until one shows.
	var event struct {
		Stage, Event string
		QueueID      []byte `json:"queue_id"`
		ForwardPath  string `json:"forward_path"`
	}
	harness.Eventually(t, "an event of bob's mail", func() bool {
		for _, to := range []string{alice, bob} {
			if err := harness.Send(f.SMTP(), carol, []string{to}, harness.Letter("followed", carol, to)); err != nil {
				t.Fatal(err)
			}
		}
		f.Settle()
		select {
		case line := <-one.Lines:
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			return true
		default:
			return false
		}
	})
	if event.ForwardPath != bob || event.Stage == "" || event.Event == "" {
		t.Errorf("--rcpt bob shows %+v", event)
	}
	var seen strings.Builder
	for _, stage := range []string{"accepted", "routed", "delivered"} {
		for !strings.Contains(seen.String(), stage) { // in any order: the next stage may be told of first
			seen.WriteString(harness.Line(t, all.Lines) + "\n")
		}
	}
	if code := all.Interrupt(); code != 0 {
		t.Errorf("Ctrl-C ends with status %d", code)
	}
}
