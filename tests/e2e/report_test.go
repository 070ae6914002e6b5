package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestRelayBounced lets Postfix refuse recipients and a whole message: alice reads why in the report.
func TestRelayBounced(t *testing.T) {
	o := newOther(t, "", "pat")
	o.submit(t, "unknown", nil, "nobody@remote.example", "pat@remote.example")
	o.postfix.Find("pat", "unknown")
	harness.Eventually(t, "the report", func() bool { return len(o.dsns("unknown")) > 0 })
	report := o.wantDSN(t, "unknown", `(?m)^Action: failed\r$`, `(?m)^Status: 5\.1\.1\r$`, `(?m)^Final-Recipient: rfc822; ?nobody@remote\.example\r$`,
		`(?m)^Remote-MTA: dns; ?mx\.remote\.example`, `Diagnostic-Code: smtp; 550 5\.1\.1 `, `(?m)^Subject: unknown\r$`)
	if bytes.Contains(report, []byte("pat@remote.example\r\nAction")) {
		t.Errorf("the report names the recipient who got it as failed:\n%s", report)
	}

	t.Run("too large", func(t *testing.T) {
		l := append(harness.Letter("large", alice, "pat@remote.example"), bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 21<<20/64)...)
		if err := o.Submit(alice, []string{"pat@remote.example"}, l, nil, nil); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the report", func() bool { return len(o.dsns("large")) > 0 })
		report := o.wantDSN(t, "large", `(?m)^Status: 5\.3\.4\r$`)
		if len(report) > 1<<20 {
			t.Errorf("the report returns %d octets of what was too large", len(report))
		}
	})
	a := o.Settle()
	if a.Bounced != 2 || a.Relayed != 1 || a.Generated != 2 {
		t.Errorf("audit tells %+v", a)
	}
}

// TestRelayExpires gives up on a host that stays down and on a recipient that is always deferred; alice is told once of a
// delay before that, and once of the end.
func TestRelayExpires(t *testing.T) {
	const soon = "router: {give_up_after: 4s}\n"
	o := newOther(t, soon, "pat")
	o.postfix.Answer("pat@remote.example", "451 4.2.2 mailbox busy")
	o.submit(t, "always-busy", nil, "pat@remote.example")
	harness.Eventually(t, "the report", func() bool { return len(o.dsns("always-busy")) > 0 })
	o.wantDSN(t, "always-busy", `(?m)^Action: failed\r$`, `(?m)^Status: (4\.2\.2|4\.4\.7|5\.4\.7)\r$`, `Diagnostic-Code: smtp; 451 4\.2\.2 .*mailbox busy`)

	o.postfix.Stop()
	began := time.Now()
	o.submit(t, "always-down", nil, "pat@remote.example")
	harness.Eventually(t, "the report", func() bool { return len(o.dsns("always-down")) > 0 })
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("given up after %v, before the time was over", took)
	}
	o.wantDSN(t, "always-down", `(?m)^Action: failed\r$`, `(?m)^Status: [45]\.4\.\d+\r$`)
	if a := o.Settle(); a.Bounced != 2 || a.Queued != 0 {
		t.Errorf("audit tells %+v", a)
	}
}

// TestDelayIsReported tells the sender once that a message is late, if wanted.
func TestDelayIsReported(t *testing.T) {
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone(remoteDomain))
	config := fmt.Sprintf("delivery_remote: {port: %s, retry: [200ms], delay_notice_after: 1s}\nledger: {sweep_every: 100ms, outbox_every: 100ms}\n", harness.Port(peer.Addr))
	o := &other{Farm: harness.StartDev(t, "--dns", dns.Addr(), "--config", harness.ConfigFile(t, config))}
	o.submit(t, "late", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure}}, "never-a@remote.example")
	o.submit(t, "late-unasked", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}}, "never-b@remote.example")
	harness.Eventually(t, "the report", func() bool { return len(o.dsns("late")) > 0 })
	_, _, _, tries := o.state(t, "late")
	harness.Eventually(t, "three more tries", func() bool {
		_, _, _, now := o.state(t, "late")
		return now >= tries+3
	})
	o.wantDSN(t, "late", `(?m)^Action: delayed\r$`, `(?m)^Status: 4\.2\.1\r$`, `(?m)^Will-Retry-Until: `)
	if got := o.dsns("late-unasked"); len(got) != 0 {
		t.Errorf("a delay was reported that nobody asked for:\n%s", got[0])
	}
	if state, _, _, _ := o.state(t, "late"); state != "queued" {
		t.Errorf("the message is %s, want queued", state)
	}
}

// TestNotifyAndRet passes the sender's wishes on to who knows them, and fulfils them where our part of the way ends.
func TestNotifyAndRet(t *testing.T) {
	o := newOther(t, "", "pat")
	success := &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess}}
	never := &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}
	o.submit(t, "never", never, "nobody@remote.example")
	o.submit(t, "local-success", success, bob)
	o.submit(t, "remote-success", success, "pat@remote.example")
	headers := harness.Letter("headers-only", alice, "nobody@remote.example")
	if err := o.Submit(alice, []string{"nobody@remote.example"}, headers, &smtp.MailOptions{Return: smtp.DSNReturnHeaders, EnvelopeID: "QQ314159"}, nil); err != nil {
		t.Fatal(err)
	}
	full := harness.Letter("all-of-it", alice, "nobody@remote.example")
	if err := o.Submit(alice, []string{"nobody@remote.example"}, full, &smtp.MailOptions{Return: smtp.DSNReturnFull}, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"local-success", "headers-only", "all-of-it", "remote-success"} {
		harness.Eventually(t, "the report about "+name, func() bool { return len(o.dsns(name)) > 0 })
	}
	o.Settle()
	o.wantDSN(t, "local-success", `(?m)^Action: delivered\r$`, `(?m)^Status: 2\.`, `(?m)^Final-Recipient: rfc822; ?bob@example\.org\r$`)
	report := o.wantDSN(t, "headers-only", `(?m)^Action: failed\r$`, `(?m)^Original-Envelope-Id: QQ314159\r$`, `(?m)^Content-Type: (text/rfc822-headers|message/rfc822-headers|message/global-headers)`)
	if bytes.Contains(report, []byte("This is letter")) {
		t.Errorf("RET=HDRS returned the body:\n%s", report)
	}
	o.wantDSN(t, "all-of-it", `(?m)^Action: failed\r$`, `(?m)^Content-Type: message/rfc822`, `(?m)^This is letter all-of-it\.\r$`)
	if got := o.dsns("never"); len(got) != 0 {
		t.Errorf("NOTIFY=NEVER, and yet:\n%s", got[0])
	}
	if state, _, _, _ := o.state(t, "never"); state != "bounced" {
		t.Errorf("the recipient is %s, want bounced", state)
	}
	// Postfix knows DSN: it took over the wish and reported itself, to us.
	for _, raw := range o.dsns("remote-success") {
		if !bytes.Contains(raw, []byte("Reporting-MTA: dns; mx.remote.example")) || !bytes.Contains(raw, []byte("Action: delivered")) {
			t.Errorf("the success was not told by Postfix alone:\n%s", raw)
		}
	}
	if got := o.dsns("remote-success"); len(got) != 1 {
		t.Errorf("alice got %d reports of one success", len(got))
	}
}
