package imap_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// capabilitiesIn are the capabilities of a response or of a code in one; nil where there are none.
func capabilitiesIn(line string) []string {
	_, list, ok := strings.Cut(line, "CAPABILITY ")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "]")
	return strings.Fields(list)
}

// TestCapabilitiesByState: a client is told what it can use, and the same by greeting, CAPABILITY, LOGIN and AUTHENTICATE
// (RFC 9051 §6.1.1, §6.2.3).
func TestCapabilitiesByState(t *testing.T) {
	f := startFarm(t, nil)
	user, _ := f.account(t)
	say := func(c *lineConn, command string) (untagged, tagged string) {
		t.Helper()
		fmt.Fprintf(c, "x %s\r\n", command)
		for {
			line, err := c.readLine()
			check(t, err)
			if strings.HasPrefix(line, "x ") {
				return untagged, line
			}
			if strings.HasPrefix(line, "* CAPABILITY") {
				untagged = line
			}
		}
	}
	lists := map[string][]string{}
	note := func(state string, list []string) {
		t.Helper()
		if list == nil {
			t.Errorf("%s: no capabilities are told", state)
		}
		if have, ok := lists[state]; ok && !slices.Equal(have, list) {
			t.Errorf("%s: told %q, and then %q", state, have, list)
		}
		lists[state] = list
	}
	ask := func(state string, c *lineConn) {
		t.Helper()
		untagged, _ := say(c, "CAPABILITY")
		note(state, capabilitiesIn(untagged))
	}
	open := func(state, addr string, implicit bool) *lineConn {
		t.Helper()
		c := dial(t, addr, implicit)
		greeting, err := c.readLine()
		check(t, err)
		note(state, capabilitiesIn(greeting))
		ask(state, c)
		return c
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))

	strict := open("clear", f.strict, false)
	if _, tagged := say(strict, "LOGIN "+user+" "+quote(password)); !strings.HasPrefix(tagged, "x NO [PRIVACYREQUIRED]") {
		t.Errorf("LOGIN where it is disabled: %q", tagged)
	}
	say(strict, "STARTTLS")
	tc := tls.Client(strict.Conn, clientTLS())
	strict = &lineConn{Conn: tc, r: bufio.NewReader(tc)}
	ask("TLS", strict)
	_, tagged := say(strict, "LOGIN "+user+" "+quote(password))
	note("in", capabilitiesIn(tagged))
	ask("in", strict)
	_, tagged = say(strict, "UNAUTHENTICATE")
	if !strings.HasPrefix(tagged, "x OK") {
		t.Errorf("UNAUTHENTICATE: %q", tagged)
	}
	ask("TLS", strict)

	implicit := open("TLS", f.secure, true)
	_, tagged = say(implicit, "AUTHENTICATE PLAIN "+plain)
	note("in", capabilitiesIn(tagged))
	ask("in", implicit)
	say(implicit, "SELECT INBOX")
	ask("in", implicit)

	lax := open("clear, passwords allowed", f.addr, false)
	_, tagged = say(lax, "LOGIN "+user+" "+quote(password))
	note("in", capabilitiesIn(tagged))

	for _, tt := range []struct {
		capability string
		in         string
	}{
		{"IMAP4rev2", "clear TLS allowed in"}, {"IMAP4rev1", "clear TLS allowed in"}, {"SASL-IR", "clear TLS allowed in"}, {"LITERAL+", "clear TLS allowed in"},
		{"ID", "clear TLS allowed in"}, {"ENABLE", "clear TLS allowed in"}, {"LANGUAGE", "clear TLS allowed in"},
		{"LOGINDISABLED", "clear"}, {"STARTTLS", "clear allowed"},
		{"AUTH=PLAIN", "TLS allowed"}, {"AUTH=LOGIN", "TLS allowed"}, {"AUTH=SCRAM-SHA-256", "TLS allowed"}, {"AUTH=SCRAM-SHA-256-PLUS", "TLS"},
		{"UNAUTHENTICATE", "in"}, {"COMPRESS=DEFLATE", "in"}, {"IDLE", "in"}, {"NOTIFY", "in"}, {"UIDPLUS", "in"}, {"MOVE", "in"}, {"CONDSTORE", "in"}, {"QRESYNC", "in"},
		{"MULTIAPPEND", "in"}, {"CATENATE", "in"}, {"CONTEXT=SEARCH", "in"}, {"CONTEXT=SORT", "in"}, {"MULTISEARCH", "in"}, {"METADATA", "in"}, {"LIST-METADATA", "in"}, {"URLAUTH", "in"}, {"URL-PARTIAL", "in"},
		{"ACL", "in"}, {"QUOTA", "in"}, {"APPENDLIMIT=67108864", "in"}, {"CREATE-SPECIAL-USE", "in"}, {"UTF8=ACCEPT", "in"},
	} {
		for state, list := range lists {
			word := state[strings.LastIndexByte(state, ' ')+1:]
			want := slices.Contains(strings.Fields(tt.in), word)
			if slices.Contains(list, tt.capability) != want {
				t.Errorf("%s in state %q: shown %v, want %v", tt.capability, state, !want, want)
			}
		}
	}
	for state, list := range lists {
		sorted := slices.Clone(list)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != len(list) {
			t.Errorf("%s: something is told twice: %q", state, list)
		}
	}
}
