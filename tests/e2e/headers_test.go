package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// gtube is the test message that every spam filter knows (https://spamassassin.apache.org/gtube/).
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// TestDeliveredFields checks what delivery puts before a message, in order (RFC 5321 §4.4, RFC 8601 §4.1), and that a forged
// Authentication-Results with our name is gone.
func TestDeliveredFields(t *testing.T) {
	dns := dnstest.Start(t, `
sender.example.        60 IN TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.sender.example. 60 IN TXT "v=DMARC1; p=none"
`)
	f := harness.StartDev(t, "--dns", dns.Addr())
	l := harness.Letter("fields", carol, alice)
	forged := append([]byte("Authentication-Results: localhost; dmarc=pass header.from=bank.example\r\nAuthentication-Results: other.example; spf=pass\r\n"), l...)
	if err := harness.Send(f.SMTP(), carol, []string{alice}, forged); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	raw := inMailbox(f, alice, "INBOX")[0]
	if !bytes.HasSuffix(raw, l) {
		t.Fatalf("the message did not come out as it went in:\n%s", raw)
	}
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	fields := regexp.MustCompile(`\r\n[ \t]+`).ReplaceAll(head, []byte(" "))
	var names []string
	values := map[string]string{}
	for _, line := range strings.Split(string(fields), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		if _, again := values[name]; !again {
			values[name] = value
		}
		if !strings.HasPrefix(name, "X-Spam-") {
			names = append(names, name)
		}
	}
	want := "Return-Path Delivered-To Authentication-Results Received Authentication-Results From To Subject Date Message-ID"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the fields are\n%s, want\n%s", got, want)
	}
	for name, pattern := range map[string]string{
		"Return-Path":            `^<carol@sender\.example>$`,
		"Delivered-To":           `^alice@example\.org$`,
		"Authentication-Results": `^localhost; spf=pass smtp\.mailfrom=carol@sender\.example; dkim=none; dmarc=pass .*header\.from=sender\.example$`,
		"Received":               `^from \S+ \(\S*\s?\[127\.0\.0\.1\]\) by localhost with ESMTP id [0-9A-Z]{26} for <alice@example\.org>; \w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(values[name]) {
			t.Errorf("%s: %s\nwant %s", name, values[name], pattern)
		}
	}
	if bytes.Contains(raw, []byte("bank.example")) {
		t.Error("the forged Authentication-Results is still there")
	}
}

// TestSubmittedFields checks what submission adds and takes away.
func TestSubmittedFields(t *testing.T) {
	f := harness.StartDev(t)
	bare := []byte(fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nBcc: <%s>\r\nSubject: bare\r\n\r\nHello.\r\n", alice, bob, carol))
	if err := f.Submit(alice, []string{bob}, bare, nil, nil); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	raw := inMailbox(f, bob, "INBOX")[0]
	for _, pattern := range []string{
		`(?m)^Received: from [^\r]*\r\n(\s[^\r]*\r\n)*\s[^\r]*with ESMTPSA`, `(?m)^Date: \w{3}, \d+ \w{3} \d{4} `, `(?m)^Message-I[Dd]: <[^>@]+@[^>]+>\r$`, `\r\n\r\nHello\.\r\n$`,
	} {
		if !regexp.MustCompile(pattern).Match(raw) {
			t.Errorf("no match of %s in\n%s", pattern, raw)
		}
	}
	if bytes.Contains(raw, []byte("Bcc")) {
		t.Errorf("Bcc is still there:\n%s", raw)
	}
}

// TestGTUBE files what the filter calls junk in Junk.
func TestGTUBE(t *testing.T) {
	f := harness.StartDev(t)
	junk := append(harness.Letter("junk", carol, alice), (gtube + "\r\n")...)
	for _, l := range [][]byte{junk, harness.Letter("good", carol, alice)} {
		if err := harness.Send(f.SMTP(), carol, []string{alice}, l); err != nil {
			t.Fatal(err)
		}
	}
	f.Settle()
	harness.WantOnce(t, f.Mailbox(alice, "Junk"), []string{"junk"})
	inbox := f.Mailbox(alice, "INBOX")
	harness.WantOnce(t, inbox, []string{"good"})
	if len(inbox) != 1 {
		t.Errorf("INBOX has %d messages, want 1", len(inbox))
	}
	if raw := f.Mailbox(alice, "Junk")[0].Raw; !bytes.Contains(raw, []byte("\r\nX-Spam-Status: Yes")) || !bytes.Contains(raw, []byte("GTUBE")) {
		t.Errorf("the message does not say why it is junk:\n%s", raw)
	}
	e := fromJSON[[]entry](t, f, "trace", "--message-id", "<junk@letters.example>")
	if len(e) != 1 || e[0].Verdict != "junk" || e[0].state() != "delivered" {
		t.Errorf("trace tells %+v", e)
	}
}

// TestNullReversePath is accepted, and its Return-Path is null.
func TestNullReversePath(t *testing.T) {
	f := harness.StartDev(t)
	c, err := smtp.Dial(f.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := harness.SendOn(c, "", []string{alice}, harness.Letter("null", carol, alice), nil, nil); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	if raw := inMailbox(f, alice, "INBOX")[0]; !bytes.HasPrefix(raw, []byte("Return-Path: <>\r\n")) {
		t.Errorf("the message begins with %.60q", raw)
	}
}
