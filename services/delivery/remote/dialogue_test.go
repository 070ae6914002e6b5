package remote

import (
	"fmt"
	"strings"
	"testing"
)

// hello is how most dialogues begin.
const hello = `S: 220 mx1.example.net ESMTP
C: EHLO out.example.org
S: 250 mx1.example.net
`

// upTo are the beginnings of dialogues up to a command's reply.
var upTo = map[string]string{
	"MAIL": hello + "C: MAIL FROM:<alice@example.org>\n",
	"RCPT": hello + "C: MAIL FROM:<alice@example.org>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\n",
	"DATA": hello + "C: MAIL FROM:<alice@example.org>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\n",
	"dot":  hello + "C: MAIL FROM:<alice@example.org>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\n",
}

// TestReplies tells what each reply means for the recipient, with one host and one recipient.
func TestReplies(t *testing.T) {
	rows := []struct{ name, script, want string }{
		{"taken", upTo["dot"] + "S: 250 2.0.0 Ok: queued as 12345", "relayed 250 2.0.0 Ok: queued as 12345"},
		{"taken, without enhanced code", upTo["dot"] + "S: 250 queued", "relayed 250 2.0.0 queued"},
		{"taken, by another 2yz", upTo["dot"] + "S: 251 fine", "relayed 250 2.0.0 fine"},
		{"taken, over lines, with hostile octets", upTo["dot"] + `S- 250-one \x1b[2J\r\n` + "\nS- 250 two\xff\x00\u202e\\r\\n", "relayed 250 2.0.0 one [2J two? ?"},

		{"greeting 5yz", "S: 554 5.7.1 go away", "queued 554 5.7.1 go away"},
		{"greeting 4yz", "S: 421 4.3.2 busy", "queued 421 4.3.2 busy"},
		{"greeting is none", "S: SSH-2.0-OpenSSH_9.2", "queued 451 4.4.2 HOST at greeting: the reply is not understood"},
		{"no greeting", "close", "queued 451 4.4.2 HOST at greeting: connection lost"},
		{"EHLO 5yz, HELO", "S: 220 old\nC: EHLO out.example.org\nS: 502 what?\nC: HELO out.example.org\nS: 250 hi\n" + strings.TrimPrefix(upTo["dot"], hello) + "S: 250 ok", "relayed 250 2.0.0 ok"},
		{"EHLO 550, HELO 550", "S: 220 old\nC: EHLO\nS: 550 5.7.1 bad name\nC: HELO\nS: 550 5.7.1 bad name", "queued 550 5.7.1 bad name"},
		{"EHLO 4yz", "S: 220 old\nC: EHLO\nS: 451 4.7.1 greylisted", "queued 451 4.7.1 greylisted"},
		{"EHLO 421", "S: 220 old\nC: EHLO\nS: 421 4.7.0 no", "queued 421 4.7.0 no"},

		{"MAIL 5yz", upTo["MAIL"] + "S: 550 5.7.1 your domain is listed", "bounced 550 5.7.1 your domain is listed"},
		{"MAIL 4yz", upTo["MAIL"] + "S: 451 4.7.1 greylisted", "queued 451 4.7.1 greylisted"},
		{"MAIL 421", upTo["MAIL"] + "S: 421 4.7.0 later", "queued 421 4.7.0 later"},
		{"MAIL, lost", upTo["MAIL"] + "close", "queued 451 4.4.2 HOST at MAIL: connection lost"},
		{"MAIL 3yz", upTo["MAIL"] + "S: 354 eh", "queued 451 4.4.2 HOST at MAIL: the reply is not understood"},

		{"RCPT 5yz", upTo["RCPT"] + "S: 550-5.1.1 no such\nS: 550 5.1.1 user", "bounced 550 5.1.1 no such user"},
		{"RCPT 5yz, the code of another class", upTo["RCPT"] + "S: 550 4.1.1 no such user", "bounced 550 5.0.0 no such user"},
		{"RCPT 5yz, a code that is none", upTo["RCPT"] + "S: 550 5.-3.99999 no such user", "bounced 550 5.0.0 no such user"},
		{"RCPT 5yz without text", upTo["RCPT"] + "S: 550", "bounced 550 5.0.0"},
		{"RCPT without text, over lines", upTo["RCPT"] + "S: 550-\nS: 550", "bounced 550 5.0.0"},
		{"RCPT 4yz", upTo["RCPT"] + "S: 452 4.2.2 mailbox full", "queued 452 4.2.2 mailbox full"},
		{"RCPT 251", upTo["RCPT"] + "S: 251 will forward\nC: DATA\nS: 354 go\nC: .\nS: 250 ok", "relayed 250 2.0.0 ok"},
		{"RCPT 421", upTo["RCPT"] + "S: 421 4.3.2 going down\nclose", "queued 421 4.3.2 going down"},
		{"RCPT, code beyond all", upTo["RCPT"] + "S: 999 eh", "queued 451 4.4.2 HOST at RCPT: the reply is not understood"},
		{"RCPT, lost", upTo["RCPT"] + "close", "queued 451 4.4.2 HOST at RCPT: connection lost"},

		{"DATA 5yz", upTo["DATA"] + "S: 554 5.5.1 no valid recipients", "bounced 554 5.5.1 no valid recipients"},
		{"DATA 4yz", upTo["DATA"] + "S: 451 4.3.0 later", "queued 451 4.3.0 later"},
		{"DATA 421", upTo["DATA"] + "S: 421 4.3.0 later", "queued 421 4.3.0 later"},
		{"DATA 250", upTo["DATA"] + "S: 250 eh", "queued 451 4.4.2 HOST at DATA: the reply is not understood"},
		{"DATA, lost", upTo["DATA"] + "close", "queued 451 4.4.2 HOST at DATA: connection lost"},

		{"dot 5yz", upTo["dot"] + "S: 550 5.7.1 spam", "bounced 550 5.7.1 spam"},
		{"dot 4yz", upTo["dot"] + "S: 452 4.3.1 disk full", "queued 452 4.3.1 disk full"},
		{"dot 421", upTo["dot"] + "S: 421 4.3.0 going down", "queued 421 4.3.0 going down"},
		{"dot, lost", upTo["dot"] + "close", "queued 451 4.4.2 HOST: connection lost before the reply to the message: it may have arrived"},
		{"dot, nonsense", upTo["dot"] + "S: yes!", "queued 451 4.4.2 HOST: the reply is not understood before the reply to the message: it may have arrived"},

		{"a reply without end", upTo["RCPT"] + strings.Repeat("S: 250-"+strings.Repeat("x", 500)+"\n", 200) + "wait", "queued 451 4.4.2 HOST at RCPT: the reply does not end"},
		{"a line without end", upTo["RCPT"] + strings.Repeat("S- 250-"+strings.Repeat("x", 500)+"\n", 20) + "wait", "queued 451 4.4.2 HOST at RCPT: the reply is not understood"},
		{"a greeting without end", strings.Repeat("S- 220-"+strings.Repeat("x", 1000)+"\n", 100) + "wait", "queued 451 4.4.2 HOST at greeting: the reply does not end"},
		{"a long reply is cut", upTo["RCPT"] + strings.Repeat("S: 550-"+strings.Repeat("x", 500)+"\n", 20) + "S: 550 end", "bounced 550 5.0.0 " + strings.Repeat("x", 500) + " " + strings.Repeat("x", 499)},
		{"a reply before its command", "S: 220 hi\nC: EHLO\nS- 250 hi\\r\\n250 ok\\r\\n", "queued 451 4.4.2 HOST at EHLO: the reply is not understood"},
	}
	// Each row has a domain and a host of its own.
	var zone strings.Builder
	for i := range rows {
		fmt.Fprintf(&zone, "row%d.test. 60 IN MX 10 mx.row%d.test.\nmx.row%d.test. 60 IN A 192.0.2.%d\n", i, i, i, i+1)
	}
	w := newWorld(t, zone.String(), nil)
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			defer w.in(t)()
			ip, host := fmt.Sprintf("192.0.2.%d", i+1), fmt.Sprintf("mx.row%d.test[192.0.2.%d]:25", i, i+1)
			peer := newScript(t, strings.ReplaceAll(row.script, "bob@example.net", fmt.Sprintf("bob@row%d.test", i)))
			w.net.at(ip, peer.serve)
			m := w.send(letterTo(fmt.Sprintf("bob@row%d.test", i)), body)
			w.wait(1)
			w.want(m, strings.ReplaceAll(row.want, "HOST", host))
			if got := peer.took(); len(got) > 0 && got[0] != m.body {
				t.Errorf("the peer got\n%q\nwant\n%q", got[0], m.body)
			}
			if strings.HasPrefix(row.want, "relayed") && len(peer.took()) != 1 {
				t.Errorf("the peer took %d messages", len(peer.took()))
			}
			relay := w.rows(m)[0].Relay
			if said := !strings.Contains(row.want, "4.4.2"); said != (relay == host) {
				t.Errorf("relay %q, although the peer said that: %t", relay, said)
			}
		})
	}
}

// TestMixedReplies sends one transaction for several recipients, each of whom gets a word of its own.
func TestMixedReplies(t *testing.T) {
	w := newWorld(t, "", nil)
	peer := newScript(t, hello+`C: MAIL FROM:<alice@example.org>
		S: 250 ok
		C: RCPT TO:<a@example.net>
		S: 250 ok
		C: RCPT TO:<b@example.net>
		S: 550 5.1.1 who?
		C: RCPT TO:<c@example.net>
		S: 451 4.2.1 later
		C: RCPT TO:<"d d"@example.net>
		S: 250 ok
		C: DATA
		S: 354 go
		C: .
		S: 250 ok`)
	w.net.at("192.0.2.1", peer.serve)
	m := w.send(letterTo("a@example.net", "b@example.net", "c@example.net", `"d d"@example.net`), body)
	w.wait(4)
	w.want(m, "relayed 250 2.0.0 ok", "bounced 550 5.1.1 who?", "queued 451 4.2.1 later", "relayed 250 2.0.0 ok")
	rows := w.rows(m)
	if rows[2].Generation != 1 || rows[2].Attempts != 1 || rows[0].Generation != 0 {
		t.Errorf("generations and attempts: %v", rows)
	}
	if dsns := w.children(); len(dsns) != 1 || !strings.Contains(dsns[0], "Final-Recipient: rfc822; b@example.net") || strings.Contains(dsns[0], "c@example.net") {
		t.Errorf("DSNs: %q", dsns)
	}
}

// TestAllRefused says no DATA where nobody was accepted, and does not keep the connection in the middle of a transaction.
func TestAllRefused(t *testing.T) {
	w := newWorld(t, "", nil)
	refused := upTo["RCPT"] + "S: 550 5.1.1 no\nC: RCPT TO:<carol@example.net>\nS: 550 5.1.1 no\nC: QUIT\nS: 221 bye\n"
	w.net.at("192.0.2.1", newScript(t, refused+"---\n"+refused).serve)
	for range 2 {
		m := w.send(letterTo("bob@example.net", "carol@example.net"), body)
		w.wait(2)
		w.want(m, "bounced 550 5.1.1 no", "bounced 550 5.1.1 no")
	}
}
