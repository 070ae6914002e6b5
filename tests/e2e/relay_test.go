package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestRelayToPostfix sends to a Postfix: everything arrives as it was sent, over TLS, and for several recipients at once.
func TestRelayToPostfix(t *testing.T) {
	o := newOther(t, "", "pat", "kim", "lee")
	all := letters("relayed", alice, "pat@remote.example")
	for _, l := range all {
		if err := o.Submit(alice, []string{"pat@remote.example"}, l.raw, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range all {
		raw := o.postfix.Find("pat", l.name)
		raw = regexp.MustCompile(`(?s)^X-Original-To:.*?\r\n`).ReplaceAll(raw, nil)
		wantLetter(t, raw, l)
		if !bytes.HasPrefix(raw, []byte("Return-Path: <"+alice+">\r\n")) {
			t.Errorf("%s begins with %.60q", l.name, raw)
		}
		// Postfix says how it got it; below that is what submission wrote, and nothing of our filter's.
		if !regexp.MustCompile(`\r\nReceived: from localhost [^\r]*\r\n\t\(using TLSv1\.3 `).Match(raw) || !bytes.Contains(raw, []byte("with ESMTPSA")) {
			t.Errorf("%s did not come over TLS by submission:\n%.1500s", l.name, raw)
		}
		if bytes.Contains(raw, []byte("\r\nX-Spam-")) {
			t.Errorf("%s shows what our filter says:\n%.1500s", l.name, raw)
		}
	}
	a := o.Settle()
	if a.Relayed != uint64(len(all)) {
		t.Errorf("audit tells %+v", a)
	}
	state, reply, relay, _ := o.state(t, all[0].name)
	if state != "relayed" || !strings.HasPrefix(reply, "250 2.0.0 ") || !strings.Contains(relay, "mx.remote.example") || !strings.Contains(relay, "TLS 1.3") {
		t.Errorf("the ledger says %s %q by %q", state, reply, relay)
	}

	o.submit(t, "to-three", nil, "pat@remote.example", "kim@remote.example", "lee@remote.example", bob)
	for _, user := range []string{"pat", "kim", "lee"} {
		o.postfix.Find(user, "to-three")
	}
	o.Settle()
	harness.WantOnce(t, o.Mailbox(bob, "INBOX"), []string{"to-three"})
	if log := o.postfix.Log(); !strings.Contains(log, "nrcpt=3") {
		t.Errorf("the three recipients were not in one transaction:\n%s", log)
	}
}

// TestRelayFinds follows the DNS: an address instead of MX records, a null MX, a domain without any, and one that is not there.
func TestRelayFinds(t *testing.T) {
	o := newOther(t, "", "pat")
	o.postfix.Answer("pat@direct.example", "REJECT 5.7.1 reached by its address")
	for name, c := range map[string]struct{ to, want string }{
		"direct":   {"pat@direct.example", `Diagnostic-Code: smtp; 554 5\.7\.1 .*reached by its address`},
		"null-mx":  {"x@null.example", `Status: 5\.1\.10`},
		"no-mail":  {"x@nomail.example", `Status: 5\.1\.2`},
		"no-name":  {"x@nothere.example", `Status: 5\.1\.2`},
		"loopback": {"x@loop.example", `Status: 5\.4\.6`},
	} {
		if err := o.dns.Add("loop.example. 60 IN MX 10 localhost.\n"); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			o.submit(t, name, nil, c.to)
			harness.Eventually(t, "the report", func() bool { return len(o.dsns(name)) > 0 })
			o.wantDSN(t, name, `(?m)^Action: failed\r$`, c.want, `(?m)^Final-Recipient: rfc822; ?`+regexp.QuoteMeta(c.to)+`\r$`)
			if state, _, _, _ := o.state(t, name); state != "bounced" {
				t.Errorf("the ledger says %s, want bounced", state)
			}
		})
	}
	t.Run("the DNS fails", func(t *testing.T) {
		o.dns.Behave("temporary.example", dnstest.ServFail)
		o.submit(t, "dns", nil, "x@temporary.example")
		harness.Eventually(t, "two tries", func() bool {
			state, _, _, attempts := o.state(t, "dns")
			return state == "queued" && attempts >= 2
		})
		if _, reply, _, _ := o.state(t, "dns"); !strings.HasPrefix(reply, "451 4.4.3 ") {
			t.Errorf("the ledger says %q", reply)
		}
		if got := o.dsns("dns"); len(got) != 0 {
			t.Errorf("a DNS that fails bounces mail:\n%s", got[0])
		}
	})
}

// TestRelayDeferredThenTaken lets Postfix say 4xx, as a greylist does, and then take the message; the other recipient of the
// same transaction does not wait and does not get it twice.
func TestRelayDeferredThenTaken(t *testing.T) {
	o := newOther(t, "", "pat", "kim")
	const grey = "pat@remote.example"
	o.postfix.Answer(grey, "DEFER_IF_PERMIT 4.2.0 greylisted, come back")
	o.postfix.Answer(grey, "451 4.7.1 greylisted, come back")
	o.submit(t, "greylisted", nil, grey, "kim@remote.example")
	o.postfix.Find("kim", "greylisted")
	harness.Eventually(t, "two tries", func() bool { return o.postfix.Asked(grey) >= 2 })
	found := fromJSON[[]entry](t, o.Farm, "queue", "list", "--rcpt", grey)
	if len(found) != 1 {
		t.Fatalf("queue list tells %+v", found)
	}
	for _, r := range found[0].Recipients {
		want, reply := "relayed", "250 2.0.0"
		if r.ForwardPath == grey {
			want, reply = "queued", "451 4.7.1 "
		}
		if r.State != want || !strings.HasPrefix(r.LastReply, reply) {
			t.Errorf("%s is %s with %q, want %s with %q", r.ForwardPath, r.State, r.LastReply, want, reply)
		}
	}
	o.postfix.Answer(grey, "")
	o.postfix.Find("pat", "greylisted")
	if a := o.Settle(); a.Relayed != 2 || a.Bounced != 0 {
		t.Errorf("audit tells %+v", a)
	}
	if n := len(o.postfix.Mailbox("kim")); n != 1 {
		t.Errorf("kim has the message %d times", n)
	}
	if got := o.dsns("greylisted"); len(got) != 0 {
		t.Errorf("alice was told of it:\n%s", got[0])
	}
}

// TestRelayHostDown sends while nothing listens: the message waits, and goes out once the host is up.
func TestRelayHostDown(t *testing.T) {
	o := newOther(t, "", "pat")
	o.postfix.Stop()
	o.submit(t, "patient", nil, "pat@remote.example")
	harness.Eventually(t, "two tries", func() bool {
		state, reply, _, attempts := o.state(t, "patient")
		return state == "queued" && attempts >= 2 && strings.HasPrefix(reply, "451 4.4.")
	})
	o.postfix.Start()
	o.postfix.Find("pat", "patient")
	if a := o.Settle(); a.Relayed != 1 {
		t.Errorf("audit tells %+v", a)
	}
	if got := o.dsns("patient"); len(got) != 0 {
		t.Errorf("alice was told of it:\n%s", got[0])
	}
}

// TestRelayPrefersMX tries hosts in the order of their preference, and goes on to the next where one is down or busy.
func TestRelayPrefersMX(t *testing.T) {
	_, port, _ := strings.Cut(harness.FreeAddr(t), ":")
	best, backup := harness.NewPeer(t, "127.0.0.3:"+port), harness.NewPeer(t, "127.0.0.4:"+port)
	dns := dnstest.Start(t, `
choice.example.      60 IN MX 20 backup.choice.example.
choice.example.      60 IN MX 10 best.choice.example.
down.example.        60 IN MX 10 down.down.example.
down.example.        60 IN MX 20 nowhere.down.example.
down.example.        60 IN MX 30 backup.choice.example.
best.choice.example.   60 IN A 127.0.0.3
backup.choice.example. 60 IN A 127.0.0.4
down.down.example.     60 IN A 127.0.0.5
`)
	o := &other{Farm: harness.StartDev(t, "--dns", dns.Addr(), "--config", harness.ConfigFile(t, fmt.Sprintf(brisk, port)))}
	o.submit(t, "to-the-best", nil, "x@choice.example")
	o.submit(t, "to-the-backup", nil, "x@down.example")
	if a := o.Settle(); a.Relayed != 2 {
		t.Errorf("audit tells %+v", a)
	}
	if best.Count("to-the-best") != 1 || backup.Count("to-the-best") != 0 {
		t.Errorf("the best host took it %d times, the backup %d times", best.Count("to-the-best"), backup.Count("to-the-best"))
	}
	if backup.Count("to-the-backup") != 1 {
		t.Errorf("the backup took it %d times", backup.Count("to-the-backup"))
	}
	if _, _, _, attempts := o.state(t, "to-the-backup"); attempts != 1 {
		t.Errorf("it took %d attempts, want all hosts to be tried in one", attempts)
	}
}

// TestPostfixRelaysToUs is the other direction: Postfix hands in over TLS, what it sends comes out as it went in, and who
// writes to nobody hears why from Postfix.
func TestPostfixRelaysToUs(t *testing.T) {
	o := newOther(t, "", "pat")
	all := letters("from-postfix", "pat@remote.example", alice)
	for _, l := range all {
		if err := harness.Send(o.postfix.Addr, "pat@remote.example", []string{alice, bob}, l.raw); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{alice, bob} {
		harness.Eventually(t, "all letters in the mailbox of "+user, func() bool { return len(o.Mailbox(user, "INBOX")) == len(all) })
		got := inMailbox(o.Farm, user, "INBOX")
		wantLetters(t, got, all)
		for _, raw := range got {
			if !regexp.MustCompile(`\r\nReceived: from mx\.remote\.example [^\r]*(\r\n[ \t][^\r]*)*with ESMTPS`).Match(raw) {
				t.Errorf("a message did not come over TLS:\n%.1200s", raw)
			}
		}
	}
	if a := o.Settle(); a.Accepted != uint64(2*len(all)) || a.Frames != uint64(len(all)) {
		t.Errorf("audit tells of %d recipients in %d frames, want %d in %d: one transaction for both", a.Accepted, a.Frames, 2*len(all), len(all))
	}
	if err := harness.Send(o.postfix.Addr, "pat@remote.example", []string{"nobody@example.org"}, harness.Letter("astray", "pat@remote.example", "nobody")); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the report of Postfix", func() bool {
		for _, raw := range o.postfix.Mailbox("pat") {
			if bytes.Contains(raw, []byte("Subject: astray")) && bytes.Contains(raw, []byte("550 5.1.1 no such user here")) {
				return true
			}
		}
		return false
	})
}

// TestRelayMany sends more messages to one Postfix than there may be connections to it, and stops and starts the farm in the
// middle: each arrives, and none twice.
func TestRelayMany(t *testing.T) {
	const many, senders = 200, 8
	// What waits for a connection when the process ends is in the ledger alone, and comes back when it is due.
	o := newOther(t, "router: {sweep_after: 1s}\n", "pat")
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := s; i < many; i += senders {
				l := harness.Letter(fmt.Sprintf("many-%03d", i), alice, "pat@remote.example")
				if err := o.Submit(alice, []string{"pat@remote.example"}, l, nil, nil); err != nil {
					t.Errorf("submit %d: %v", i, err)
				}
			}
		})
	}
	sending.Wait()
	if err := o.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	o.Start()
	if a := o.Settle(); a.Relayed != many {
		t.Errorf("audit tells %+v", a)
	}
	harness.Eventually(t, "Postfix has filed all", func() bool { return len(o.postfix.Mailbox("pat")) >= many })
	count := map[string]int{}
	for _, raw := range o.postfix.Mailbox("pat") {
		count[string(regexp.MustCompile(`\r\nSubject: (\S+)`).FindSubmatch(raw)[1])]++
	}
	for i := range many {
		if name := fmt.Sprintf("many-%03d", i); count[name] != 1 {
			t.Errorf("%s arrived %d times, want once", name, count[name])
		}
	}
}
