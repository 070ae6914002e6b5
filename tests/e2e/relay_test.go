package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// brisk is the configuration of a farm that tries again soon. All servers of other domains are on one port.
const brisk = `
delivery_remote: {port: %s, retry: [300ms, 300ms], keep_connection: 200ms}
ledger: {sweep_every: 100ms, sweep_again: 1s, outbox_every: 100ms}
`

// other is a domain of somebody else, with a Postfix on 127.0.0.2 and our own DNS in between.
type other struct {
	*harness.Farm
	postfix *harness.Postfix
	dns     *dnstest.Server
	port    string
}

const remoteDomain = "remote.example"

// zone is what the DNS says of the other domain.
const zone = `
remote.example.    60 IN MX 10 mx.remote.example.
mx.remote.example. 60 IN A 127.0.0.2
null.example.      60 IN MX 0 .
nomail.example.    60 IN TXT "no address and no MX"
direct.example.    60 IN A 127.0.0.2
`

// newOther starts a farm and, beside it, a Postfix with mailboxes for users.
func newOther(t *testing.T, more string, users ...string) *other {
	t.Helper()
	harness.Need(t, "postfix")
	harness.NeedRoot(t, "start a Postfix")
	_, port, _ := strings.Cut(harness.FreeAddr(t), ":")
	o := &other{dns: dnstest.Start(t, zone), port: port}
	o.Farm = harness.StartDev(t, "--dns", o.dns.Addr(), "--config", harness.ConfigFile(t, fmt.Sprintf(brisk, port)+more))
	o.postfix = harness.StartPostfix(t, "127.0.0.2:"+port, remoteDomain, o.SMTP(), users...)
	return o
}

// submit hands in a letter of alice.
func (o *other) submit(t *testing.T, name string, rcpt *smtp.RcptOptions, to ...string) []byte {
	t.Helper()
	l := harness.Letter(name, alice, strings.Join(to, ">, <"))
	if err := o.Submit(alice, to, l, nil, rcpt); err != nil {
		t.Fatalf("submit %s: %v", name, err)
	}
	return l
}

// recipient is what the ledger says of the only recipient of a letter.
func (o *other) state(t *testing.T, name string) (state, reply, relay string, attempts int) {
	t.Helper()
	found := fromJSON[[]entry](t, o.Farm, "trace", "--message-id", "<"+name+"@letters.example>")
	if len(found) != 1 || len(found[0].Recipients) != 1 {
		t.Fatalf("trace of %s tells %+v", name, found)
	}
	r := found[0].Recipients[0]
	return r.State, r.LastReply, r.Relay, r.Attempts
}

// dsns are the reports about a letter that alice got, in their order.
func (o *other) dsns(name string) (found [][]byte) {
	for _, raw := range inMailbox(o.Farm, alice, "INBOX") {
		if bytes.Contains(raw, []byte("multipart/report")) && bytes.Contains(raw, []byte("\r\nMessage-ID: <"+name+"@letters.example>\r\n")) {
			found = append(found, raw)
		}
	}
	return found
}

// wantDSN checks that alice got one report, and that it says all.
func (o *other) wantDSN(t *testing.T, name string, patterns ...string) []byte {
	t.Helper()
	got := o.dsns(name)
	if len(got) != 1 {
		t.Fatalf("alice got %d reports about %s, want one", len(got), name)
	}
	unfolded := regexp.MustCompile(`\r\n[ \t]+`).ReplaceAll(got[0], []byte(" "))
	for _, p := range append(patterns, `^Return-Path: <>\r\n`, `(?m)^Reporting-MTA: dns; ?localhost\r$`, `(?m)^Content-Type: message/delivery-status`) {
		if !regexp.MustCompile(p).Match(unfolded) {
			t.Errorf("the report about %s does not match %s:\n%s", name, p, got[0])
		}
	}
	return got[0]
}

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
