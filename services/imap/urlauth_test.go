package imap_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestURLAuth: a URL is authorized by its owner, for whom it says and as long as it says, until the key is reset (RFC 4467).
func TestURLAuth(t *testing.T) {
	f := startFarm(t, nil)
	alice, account := f.account(t)
	bob := f.user(t)
	f.fill(t, account, "INBOX", "Subject: shared\r\n\r\nhello\r\n")
	a, b := f.talk(t, alice), f.talk(t, bob)
	// ask gives the untagged response, with literals, and the tagged one.
	ask := func(c *lineConn, command string) (untagged, tagged string) {
		t.Helper()
		fmt.Fprintf(c, "x %s\r\n", command)
		for {
			line, err := c.readLine()
			check(t, err)
			if strings.HasPrefix(line, "x ") {
				return strings.TrimSuffix(untagged, "\n"), line
			}
			untagged += line + "\n"
		}
	}
	at := "imap://" + strings.Replace(alice, "@", "%40", 1) + "@mail.example.org/INBOX/;uid=1"
	gen := func(rump string) string {
		t.Helper()
		untagged, tagged := ask(a, "GENURLAUTH "+quote(rump)+" INTERNAL")
		url := strings.Trim(strings.TrimPrefix(untagged, "* GENURLAUTH "), `"`)
		if !strings.HasPrefix(url, rump+":INTERNAL:01") || !strings.HasPrefix(tagged, "x OK") {
			t.Fatalf("GENURLAUTH %s: %q, %q", rump, untagged, tagged)
		}
		return url
	}
	want := func(what string, c *lineConn, url, content string) {
		t.Helper()
		untagged, tagged := ask(c, "URLFETCH "+quote(url))
		wanted := `* URLFETCH "` + url + `" NIL`
		if content != "" {
			wanted = fmt.Sprintf("* URLFETCH \"%s\" {%d}\n%s", url, len(content), strings.ReplaceAll(content, "\r\n", "\n"))
		}
		if untagged != wanted || !strings.HasPrefix(tagged, "x OK") {
			t.Errorf("%s: %q, %q; want %q", what, untagged, tagged, wanted)
		}
	}
	all := "Subject: shared\r\n\r\nhello\r\n"

	anyone := gen(at + ";urlauth=anonymous")
	want("another", b, anyone, all)
	want("the owner", a, anyone, all)
	want("a part", b, gen(at+"/;section=header/;partial=0.7;urlauth=authuser"), "Subject")
	want("for bob, to bob", b, gen(at+";urlauth=user+"+bob), all)
	want("for bob, to alice", a, gen(at+";urlauth=user+"+bob), "")
	want("for a submission server", b, gen(at+";urlauth=submit+"+bob), "")
	want("in time", b, gen(at+";expire="+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+";urlauth=anonymous"), all)
	want("expired", b, gen(at+";expire=2020-01-01T00:00:00Z;urlauth=anonymous"), "")
	want("no such message", b, gen(strings.Replace(at, "uid=1", "uid=9", 1)+";urlauth=anonymous"), "")
	want("no such section", b, gen(at+"/;section=5;urlauth=anonymous"), "")

	// What was not authorized so.
	want("another message", b, strings.Replace(anyone, "uid=1", "uid=2", 1), "")
	last := "0"
	if strings.HasSuffix(anyone, last) {
		last = "1"
	}
	want("another token", b, anyone[:len(anyone)-1]+last, "")
	want("without a token", b, at+";urlauth=anonymous", "")
	want("without authorization", a, at, "")
	want("of nobody", b, strings.Replace(anyone, "user", "nobody", 1), "")
	want("no URL", b, "nonsense", "")
	want("another mailbox", b, strings.Replace(anyone, "INBOX", "Sent", 1), "")

	for _, command := range []string{
		"GENURLAUTH " + quote(at+";urlauth=anonymous") + " XSAMPLE", "GENURLAUTH", "GENURLAUTH " + quote(at), "URLFETCH", "RESETKEY INBOX XSAMPLE",
		"URLFETCH" + strings.Repeat(` "x"`, 101),
	} {
		if _, tagged := ask(a, command); !strings.HasPrefix(tagged, "x BAD") {
			t.Errorf("%.60s: %q, want BAD", command, tagged)
		}
	}
	for _, rump := range []string{
		at, anyone, strings.Replace(at, "INBOX", "Nowhere", 1) + ";urlauth=anonymous", "/INBOX/;uid=1;urlauth=anonymous",
		strings.Replace(at, "/INBOX", ";AUTH=*@x/INBOX", 1) + ";urlauth=anonymous",
	} {
		if _, tagged := ask(a, "GENURLAUTH "+quote(rump)+" INTERNAL"); !strings.HasPrefix(tagged, "x NO [BADURL ") {
			t.Errorf("GENURLAUTH %s: %q, want BADURL", rump, tagged)
		}
	}
	if _, tagged := ask(b, "GENURLAUTH "+quote(at+";urlauth=anonymous")+" INTERNAL"); !strings.HasPrefix(tagged, "x NO [BADURL ") {
		t.Errorf("GENURLAUTH of another's: %q", tagged)
	}

	// The key goes with RESETKEY, and new URLs have a new one.
	if _, tagged := ask(a, "RESETKEY Sent"); !strings.HasPrefix(tagged, "x OK [URLMECH INTERNAL]") {
		t.Errorf("RESETKEY of another mailbox: %q", tagged)
	}
	want("after another mailbox's key was reset", b, anyone, all)
	for _, command := range []string{"RESETKEY INBOX INTERNAL", "RESETKEY"} {
		before := gen(at + ";urlauth=anonymous")
		want("new", b, before, all)
		if _, tagged := ask(a, command); !strings.HasPrefix(tagged, "x OK [URLMECH INTERNAL]") {
			t.Errorf("%s: %q", command, tagged)
		}
		want("after "+command, b, before, "")
		want("the first after "+command, b, anyone, "")
	}
	// METADATA has nothing of it.
	gen(at + ";urlauth=anonymous")
	if untagged, tagged := ask(a, "GETMETADATA (DEPTH infinity) INBOX (/private /shared)"); untagged != "" || !strings.HasPrefix(tagged, "x OK") {
		t.Errorf("GETMETADATA: %q, %q", untagged, tagged)
	}
}
