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
	var found []entry
	harness.Eventually(t, "the ledger to have "+name, func() bool {
		found = fromJSON[[]entry](t, o.Farm, "trace", "--message-id", "<"+name+"@letters.example>")
		return len(found) > 0
	})
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
