package imapsource_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/imapsource"
)

// tagged finds the T of a line that ends a command.
var tagged = regexp.MustCompile(`(?m)^T( (?:OK|NO|BAD))`)

// scripted is a server that says to each command what the test tells for its verb; T stands for the tag. Without a word for it: OK.
func scripted(t *testing.T, capabilities string, answers map[string]string) *imapsource.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "* OK hello\r\n")
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			tag, line, _ := strings.Cut(lines.Text(), " ")
			text := "T OK done\r\n"
			if line == "CAPABILITY" {
				text = "* CAPABILITY IMAP4rev1 " + capabilities + "\r\n" + text
			}
			longest := ""
			for verb, answer := range answers {
				if strings.HasPrefix(line, verb) && len(verb) > len(longest) {
					longest, text = verb, strings.ReplaceAll(answer, "\n", "\r\n")
				}
			}
			fmt.Fprint(c, tagged.ReplaceAllString(text, tag+"$1"))
			if !tagged.MatchString(text) { // it hangs up
				return
			}
		}
	}()
	conn, err := imapsource.Dial(t.Context(), imapsource.Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: imapsource.TLSNone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestFolders(t *testing.T) {
	for _, tt := range []struct {
		name, capabilities string
		answers            map[string]string
		want               string
	}{
		{"nothing but rev1", "", map[string]string{
			"LIST": "* LIST (\\HasChildren) \"/\" inbox\n* LIST () \"/\" \"A \\\"b\\\"\"\n* LIST (\\Noselect) NIL {3}\na/b\nT OK\n",
			"LSUB": "* LSUB () \"/\" \"A \\\"b\\\"\"\n* LSUB () \"/\" gone\nT OK\n"}, `INBOX,A "b"+,a_b`},
		{"prefix told", "NAMESPACE LIST-EXTENDED SPECIAL-USE", map[string]string{
			"NAMESPACE": "* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) NIL\nT OK\n",
			"LIST":      "* LIST (\\Subscribed) \".\" INBOX\n* LIST (\\Sent) \".\" INBOX.Sent\n* LIST () \".\" user.bob\n* LIST () \".\" INBOX.a/b.c (\"CHILDINFO\" (\"SUBSCRIBED\"))\nT OK\n"},
			`INBOX+,Sent,a_b/c`},
		{"prefix found", "", map[string]string{"LIST": "* LIST () \".\" INBOX\n* LIST () \".\" INBOX.x\n* LIST () \".\" INBOX.x.y\nT OK\n"}, `INBOX,x,x/y`},
		{"no prefix", "", map[string]string{"LIST": "* LIST () \".\" INBOX.x\n* LIST () \".\" z\nT OK\n"}, `INBOX/x,z,INBOX`},
		{"atoms with a tilde", "", map[string]string{"LIST": "* LIST () \"/\" ~x\n* LIST () \"/\" ~\n* LIST () \"/\" ~{3}\na~b\nT OK\n"}, "~x,~,a~b,INBOX"},
		{"UTF-7", "", map[string]string{"LIST": "* LIST () \"/\" \"Entw&APw-rfe &- &2D3eAA-\"\n* LIST () \"/\" \"bad &x\"\n* LIST () \"/\" \"raw \xfc\"\nT OK\n"}, "Entwürfe & 😀,bad &x,raw _,INBOX"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := scripted(t, tt.capabilities, tt.answers).Folders()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range list {
				name := f.Name
				if f.Subscribed {
					name += "+"
				}
				names = append(names, name)
			}
			if got := strings.Join(names, ","); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBodies takes bodies however they are told, by their UIDs.
func TestBodies(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers map[string]string
		want    string
		lost    bool
	}{
		{"in another order, and one unasked", map[string]string{"UID FETCH": "* 2 FETCH (UID 8 BODY[] {2}\nbb FLAGS (\\Seen))\n* 9 FETCH (FLAGS (x[y))\n* 1 FETCH (UID 7 BODY[] \"a\\\"\")\n* 3 FETCH (UID 9 BODY[] {1}\nx)\nT OK\n"}, `8=bb 7=a"`, false},
		{"UID behind the body", map[string]string{
			"UID FETCH 7:8": "* 1 FETCH (BODY[] {1}\na UID 7)\nT OK\n", "UID FETCH 7 ": "* 1 FETCH (BODY[] {1}\na UID 7)\nT OK\n",
			"UID FETCH 8 ": "* 2 FETCH (RFC822 {1}\nb UID 8)\nT OK\n"}, "7=a 8=b", false},
		{"one that cannot be read", map[string]string{
			"UID FETCH 7:8": "* 2 FETCH (UID 8 BODY[] {1}\nb)\nT NO [SERVERBUG] broken\n", "UID FETCH 7 ": "* 1 FETCH (UID 7 BODY[] NIL)\nT NO broken\n"}, "8=b 7!", false},
		{"cut within", map[string]string{"UID FETCH": "* 1 FETCH (UID 7 BODY[] {100}\na"}, "", true},
		{"a literal that is none", map[string]string{"UID FETCH": "* 1 FETCH (UID 7 BODY[] {-5}\na)\nT OK\n"}, "", true},
		{"a list without end", map[string]string{"UID FETCH": "* 1 FETCH (UID 7 FLAGS (\\Seen\nT OK\n"}, "", true},
		{"hung up", map[string]string{"UID FETCH": "* BYE enough\n"}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := scripted(t, "", tt.answers)
			var got []string
			err := c.Bodies([]uint32{7, 8}, func(uid uint32, _ int64, r io.Reader) error {
				text, err := io.ReadAll(r)
				if err == nil {
					got = append(got, fmt.Sprintf("%d=%s", uid, text))
				}
				return err
			}, func(uid uint32, _ string) { got = append(got, fmt.Sprintf("%d!", uid)) })
			if (err != nil) != tt.lost || strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if imapsource.IsRefused(err) {
				t.Errorf("%v is told as if the connection went on", err)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	c := scripted(t, "", map[string]string{"UID FETCH": "* 1 FETCH (UID 7 FLAGS (\\Seen $a) INTERNALDATE NIL RFC822.SIZE 5)\n" +
		"* 2 FETCH (FLAGS () INTERNALDATE \" 1-Feb-2003 04:05:06 +0100\" UID 8 X-GM-LABELS (\"a\" (b {1}\nc)) RFC822.SIZE 6 )\n* 1 FETCH (UID 7 FLAGS (\\Answered))\n* 3 FETCH (UID 9 INTERNALDATE \"31-Nov-0000 99:99:99 +0000\" RFC822.SIZE -)\nT OK\n"})
	got, err := c.Describe([]uint32{7, 8, 9})
	if err != nil {
		t.Fatal(err)
	}
	if m := got[7]; m == nil || !m.Received.IsZero() || m.Size != 5 || !slices.Equal(m.Flags, []string{`\Answered`}) {
		t.Errorf("UID 7: %+v", m)
	}
	if m := got[8]; m == nil || m.Received.Unix() != 1044068706 || m.Size != 6 || len(m.Flags) != 0 {
		t.Errorf("UID 8: %+v", m)
	}
	if m := got[9]; m == nil || !m.Received.IsZero() || m.Size != 0 {
		t.Errorf("UID 9: %+v", m)
	}
}

func TestUIDs(t *testing.T) {
	for _, tt := range []struct{ capabilities, answer, want string }{
		{"", "* SEARCH 5 3 4\n* SEARCH\nT OK\n", "3:5"},
		{"ESEARCH", "* ESEARCH (TAG \"x\") UID ALL 9:7,1\nT OK\n", "1,7:9"},
		{"ESEARCH", "* ESEARCH (TAG \"x\") UID\nT OK\n", ""},
		{"ESEARCH", "* ESEARCH (TAG \"x\") UID ALL 1:4294967295\nT OK\n", "error"},
		{"", "* SEARCH 1 x\nT OK\n", "error"},
	} {
		uids, err := scripted(t, tt.capabilities, map[string]string{"UID SEARCH": tt.answer}).UIDs(1000)
		got := imapsource.Set(uids)
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%q: got %q (%v), want %q", tt.answer, got, err, tt.want)
		}
	}
}

func TestLogin(t *testing.T) {
	for _, tt := range []struct {
		name, capabilities string
		login              imapsource.Login
		answers            map[string]string
		ok                 bool
	}{
		{"PLAIN", "AUTH=PLAIN SASL-IR", imapsource.Login{User: "a", Password: "b"}, map[string]string{"AUTHENTICATE": "T BAD\n", "AUTHENTICATE PLAIN AGEAYg==": "T OK\n"}, true},
		{"authorization identity", "AUTH=PLAIN SASL-IR", imapsource.Login{User: "a", Password: "b", Master: "m"}, map[string]string{"AUTHENTICATE": "T NO\n", "AUTHENTICATE PLAIN YQBtAGI=": "T OK\n"}, true},
		{"master user", "AUTH=PLAIN SASL-IR", imapsource.Login{User: "a", Password: "b", Master: "m", Separator: "*"}, map[string]string{"AUTHENTICATE": "T NO\n", "AUTHENTICATE PLAIN AGEqbQBi": "T OK\n"}, true},
		{"XOAUTH2 that is refused", "AUTH=XOAUTH2 SASL-IR", imapsource.Login{User: "a", Token: "t"}, map[string]string{"AUTHENTICATE": "+ eyJzIjoiNDAxIn0=\nT NO [AUTHENTICATIONFAILED] no\n"}, false},
		{"OAUTHBEARER", "AUTH=OAUTHBEARER AUTH=XOAUTH2 SASL-IR", imapsource.Login{User: "a", Token: "t"}, map[string]string{"AUTHENTICATE XOAUTH2": "T NO\n"}, true},
		{"no mechanism for a token", "AUTH=PLAIN", imapsource.Login{User: "a", Token: "t"}, nil, false},
		{"no passwords", "LOGINDISABLED", imapsource.Login{User: "a", Password: "b"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := scripted(t, tt.capabilities, tt.answers).Login(tt.login)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, imapsource.ErrLogin) {
				t.Errorf("%v, want success %v", err, tt.ok)
			}
		})
	}
}
