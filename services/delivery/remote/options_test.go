package remote

import (
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// offering begins a dialogue with a peer that has extensions.
func offering(extensions ...string) string {
	s := "S: 220 hi\nC: EHLO out.example.org\nS: 250-hi\n"
	for i, e := range extensions {
		sep := "-"
		if i == len(extensions)-1 {
			sep = " "
		}
		s += "S: 250" + sep + e + "\n"
	}
	return s
}

// sends ends a dialogue that begins with MAIL and RCPT commands.
func sends(mail string, rcpts ...string) string {
	s := "C: " + mail + "\nS: 250 ok\n"
	for _, r := range rcpts {
		s += "C: " + r + "\nS: 250 ok\n"
	}
	return s + "C: DATA\nS: 354 go\nC: .\nS: 250 ok\n"
}

// TestOptions tells what MAIL and RCPT say to peers of various extensions.
func TestOptions(t *testing.T) {
	utf8Body := strings.Replace(body, "lunch", "Mittagessen für dich", 1)
	dsn := func(e *mailv1.Envelope) {
		e.Envid, e.Ret = "a b+c", mailv1.Ret_RET_HDRS
		e.Recipients[0].Notify, e.Recipients[0].Orcpt = uint32(envelope.NotifySuccess|envelope.NotifyFailure|envelope.NotifyDelay), "rfc822;bob+x@example.com"
	}
	w := newWorld(t, "xn--bcher-kva.test. 60 IN MX 10 mx1.example.net.\n", nil)
	for _, row := range []struct {
		name   string
		to     string
		change func(*mailv1.Envelope)
		body   string
		script string
		want   string
	}{
		{name: "nothing offered", change: dsn, script: hello + sends("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>")},
		{name: "SIZE and 8BITMIME, in any case", script: offering("size 100000", "8bitMime") +
			sends("MAIL FROM:<alice@example.org> BODY=8BITMIME SIZE=175", "RCPT TO:<bob@example.net>")},
		{name: "too large", script: offering("SIZE 100"), want: "bounced 552 5.3.4 the message is larger than the next server takes"},
		{name: "SIZE 0 is no bound", script: offering("SIZE 0") + sends("MAIL FROM:<alice@example.org> SIZE=175", "RCPT TO:<bob@example.net>")},
		{name: "SIZE beyond all numbers", script: offering("SIZE 99999999999999999999999") + sends("MAIL FROM:<alice@example.org> SIZE=175", "RCPT TO:<bob@example.net>")},
		{name: "DSN", change: dsn, script: offering("DSN") +
			sends("MAIL FROM:<alice@example.org> RET=HDRS ENVID=a+20b+2Bc", "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=RFC822;bob+2Bx@example.com")},
		{name: "DSN, never", change: func(e *mailv1.Envelope) {
			e.Recipients[0].Notify = uint32(envelope.NotifyNever | envelope.NotifySuccess)
		},
			script: offering("DSN") + sends("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net> NOTIFY=NEVER")},
		{name: "DSN, ENVID that is not ASCII is left out", change: func(e *mailv1.Envelope) { e.Envid = "ümlaut" },
			script: offering("DSN") + sends("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>")},
		{name: "DSN, ORCPT that is not ASCII", change: func(e *mailv1.Envelope) { e.Recipients[0].Orcpt = "utf-8;bøb@example.com" },
			script: offering("DSN") + sends("MAIL FROM:<alice@example.org>", `RCPT TO:<bob@example.net> ORCPT=UTF-8;b\x{F8}b@example.com`)},
		{name: "DSN and SMTPUTF8, ORCPT that is not ASCII", change: func(e *mailv1.Envelope) { e.Recipients[0].Orcpt = "utf-8;bøb@example.com" },
			script: offering("DSN", "SMTPUTF8") + sends("MAIL FROM:<alice@example.org> SMTPUTF8", "RCPT TO:<bob@example.net> ORCPT=UTF-8;bøb@example.com")},
		{name: "the null reverse-path", change: func(e *mailv1.Envelope) { e.ReversePath = "" }, script: hello + sends("MAIL FROM:<>", "RCPT TO:<bob@example.net>")},

		{name: "SMTPUTF8 said, not needed, not offered", change: func(e *mailv1.Envelope) { e.Smtputf8 = true },
			script: hello + sends("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>")},
		{name: "SMTPUTF8 said, offered", change: func(e *mailv1.Envelope) { e.Smtputf8 = true },
			script: offering("smtputf8") + sends("MAIL FROM:<alice@example.org> SMTPUTF8", "RCPT TO:<bob@example.net>")},
		{name: "a domain that is not ASCII", to: "bob@bücher.test", change: func(e *mailv1.Envelope) { e.Smtputf8, e.ReversePath = true, "alice@bücher.test" },
			script: hello + sends("MAIL FROM:<alice@xn--bcher-kva.test>", "RCPT TO:<bob@xn--bcher-kva.test>")},
		{name: "a domain that is not ASCII, offered", to: "bob@bücher.test", change: func(e *mailv1.Envelope) { e.Smtputf8 = true },
			script: offering("SMTPUTF8") + sends("MAIL FROM:<alice@example.org> SMTPUTF8", "RCPT TO:<bob@bücher.test>")},
		{name: "a local-part that is not ASCII", to: "bøb@example.net", change: func(e *mailv1.Envelope) { e.Smtputf8 = true },
			script: hello, want: "bounced 550 5.6.7 the next server does not take internationalized addresses or headers"},
		{name: "a sender that is not ASCII", change: func(e *mailv1.Envelope) { e.Smtputf8, e.ReversePath = true, "älice@example.org" },
			script: hello, want: "bounced 550 5.6.7 the next server does not take internationalized addresses or headers"},
		{name: "a header that is not ASCII", change: func(e *mailv1.Envelope) { e.Smtputf8 = true }, body: utf8Body,
			script: hello, want: "bounced 550 5.6.7 the next server does not take internationalized addresses or headers"},
		{name: "a local-part that is not ASCII, offered", to: "bøb@example.net", change: func(e *mailv1.Envelope) { e.Smtputf8 = true }, body: utf8Body,
			script: offering("SMTPUTF8") + sends("MAIL FROM:<alice@example.org> SMTPUTF8", "RCPT TO:<bøb@example.net>")},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer w.in(t)()
			w.idle()
			peer := newScript(t, row.script)
			w.net.at("192.0.2.1", peer.serve)
			to, text, want := "bob@example.net", body, "relayed 250 2.0.0 ok"
			if row.to != "" {
				to = row.to
			}
			if row.body != "" {
				text = row.body
			}
			if row.want != "" {
				want = row.want
			}
			env := letterTo(to)
			if row.change != nil {
				row.change(env)
			}
			m := w.send(env, text)
			w.wait(1)
			w.want(m, want)
			if mail, _, _ := strings.Cut(peer.said(), "\nRCPT"); strings.HasSuffix(row.script, "\nS: 250 ok\n") && !strings.Contains(row.script, strings.SplitAfter(mail+"\n", "\n")[1]) {
				t.Errorf("MAIL says more than it should:\n%s", peer.said())
			}
		})
	}
}

// TestManyRecipients go in as many transactions as the peer's bounds ask for.
func TestManyRecipients(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		w := newWorld(t, "", func(w *world) { w.cfg.MaxRecipients = 2 })
		w.net.at("192.0.2.1", newScript(t, hello+
			sends("MAIL", "RCPT TO:<a@example.net>", "RCPT TO:<b@example.net>")+sends("MAIL", "RCPT TO:<c@example.net>")).serve)
		m := w.send(letterTo("a@example.net", "b@example.net", "c@example.net"), body)
		w.wait(3)
		w.want(m, "relayed 250 2.0.0 ok", "relayed 250 2.0.0 ok", "relayed 250 2.0.0 ok")
	})
	t.Run("LIMITS", func(t *testing.T) {
		w := newWorld(t, "", nil)
		w.net.at("192.0.2.1", newScript(t, offering("Limits MAILMAX=10 RcptMax=1")+
			sends("MAIL", "RCPT TO:<a@example.net>")+sends("MAIL", "RCPT TO:<b@example.net>")).serve)
		m := w.send(letterTo("a@example.net", "b@example.net"), body)
		w.wait(2)
		w.want(m, "relayed 250 2.0.0 ok", "relayed 250 2.0.0 ok")
	})
	t.Run("452", func(t *testing.T) {
		w := newWorld(t, "", nil)
		w.net.at("192.0.2.1", newScript(t, hello+`C: MAIL
			S: 250 ok
			C: RCPT TO:<a@example.net>
			S: 250 ok
			C: RCPT TO:<b@example.net>
			S: 452 4.5.3 too many
			C: RCPT TO:<c@example.net>
			S: 452 4.5.3 too many
			C: DATA
			S: 354 go
			C: .
			S: 250 one
			C: MAIL
			S: 250 ok
			C: RCPT TO:<b@example.net>
			S: 452 4.2.2 mailbox full
			C: RCPT TO:<c@example.net>
			S: 250 ok
			C: DATA
			S: 354 go
			C: .
			S: 250 two`).serve)
		m := w.send(letterTo("a@example.net", "b@example.net", "c@example.net"), body)
		w.wait(3)
		w.want(m, "relayed 250 2.0.0 one", "queued 452 4.2.2 mailbox full", "relayed 250 2.0.0 two")
	})
}

func TestLimitsAreRead(t *testing.T) {
	for limits, want := range map[string]int{"": 100, "RCPTMAX=7": 7, "mailmax=5 rcptmax=200": 100, "RCPTMAX=-3": 100, "RCPTMAX=0": 100, "RCPTMAX": 100} {
		if got := (&peer{ext: map[string]string{"LIMITS": limits}}).recipients(100); got != want {
			t.Errorf("LIMITS %s: got %d, want %d", limits, got, want)
		}
	}
}
