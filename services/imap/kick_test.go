package imap_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/presence"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// TestKick: whatever a session does, it is told BYE with the reason and ends; others stay. What is shown of it is what it did.
func TestKick(t *testing.T) {
	f := startFarm(t, nil)
	user := f.user(t)
	operator := presence.Farewell{Reason: adminv1.EndReason_END_REASON_OPERATOR, Text: "enough"}
	for _, tc := range []struct {
		name    string
		begin   func(w *watcher)
		why     presence.Farewell
		want    string
		shown   string
		between bool // an answer to the command in progress comes first
	}{
		{name: "waits", begin: func(*watcher) {}, why: operator, want: "* BYE enough", shown: `LOGIN "" false`},
		{name: "selected", begin: func(w *watcher) { w.do(`ID ("name" "Tester" "version" "1.2")`); w.do("EXAMINE INBOX") }, why: operator,
			want: "* BYE enough", shown: `EXAMINE "INBOX" true`},
		{name: "idles", begin: func(w *watcher) {
			w.do("SELECT INBOX")
			fmt.Fprint(w.c, "i IDLE\r\n")
			w.line(t, "+ idling")
		}, why: presence.Farewell{Reason: adminv1.EndReason_END_REASON_PASSWORD}, want: "* BYE [EXPIRED] the password was changed, log in again", shown: `IDLE "INBOX" false`},
		{name: "sends a literal", begin: func(w *watcher) {
			fmt.Fprint(w.c, "a APPEND INBOX {1000}\r\n")
			w.line(t, "+ ")
			fmt.Fprint(w.c, "Subject: half")
		}, why: presence.Farewell{Reason: adminv1.EndReason_END_REASON_REMOVED}, want: "* BYE [CONTACTADMIN] the account was removed", shown: `APPEND "" false`, between: true},
		{name: "half a command", begin: func(w *watcher) { fmt.Fprint(w.c, "a NO") }, why: operator, want: "* BYE enough", shown: `LOGIN "" false`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stays := watch(t, f, user)
			before := map[presence.Session]bool{}
			for _, s := range f.clients() {
				before[s] = true
			}
			w := watch(t, f, user)
			tc.begin(w)
			var session presence.Session
			for _, s := range f.clients() {
				if !before[s] {
					session = s
				}
			}
			if session == nil {
				t.Fatal("the session is not among the clients")
			}
			session.Kick(tc.why)
			session.Kick(presence.Farewell{Text: "twice"})
			for {
				line, err := w.c.readLine()
				if err != nil {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				if tc.between && !strings.HasPrefix(line, "* BYE") {
					continue
				}
				if line != tc.want {
					t.Errorf("got %q, want %q", line, tc.want)
				}
				break
			}
			if line, err := w.c.readLine(); err != io.EOF {
				t.Errorf("the connection goes on: %q, %v", line, err)
			}
			stays.do("NOOP")
			if got := shown(session); got != tc.shown {
				t.Errorf("shown as %s, want %s", got, tc.shown)
			}
		})
	}
}

// TestShown: octets and commands are counted, TLS and compression told, and UNAUTHENTICATE is seen.
func TestShown(t *testing.T) {
	f := startFarm(t, nil)
	user := f.user(t)
	w := watch(t, f, user, `ID ("vendor" "x" "version" "7" "name" "Mail Reader")`, "SELECT INBOX")
	s := f.clients()[0]
	first := shownAll(s)
	if first.GetUser() != user || first.GetCommands() != 3 || first.GetProgram() != "Mail Reader 7" || first.GetRole() != "imap" || first.GetTls() != "" ||
		first.GetLoginNs() == 0 || first.GetSinceNs() > first.GetLoginNs() {
		t.Errorf("shown: %v", first)
	}
	w.do("NOOP")
	then := shownAll(s)
	if in := then.GetOctetsIn() - first.GetOctetsIn(); in != uint64(len("t4 NOOP\r\n")) {
		t.Errorf("%d octets for NOOP", in)
	}
	if then.GetOctetsOut() <= first.GetOctetsOut() {
		t.Error("no octets of the answer")
	}
	w.do("UNAUTHENTICATE")
	if out := shownAll(s); out.GetUser() != "" || out.GetAccount() != 0 || out.GetFolder() != "" {
		t.Errorf("after UNAUTHENTICATE: %v", out)
	}
	w.c.Close()

	tls := dialTLS(t, f.secure)
	defer tls.Close()
	if _, err := tls.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.clients() {
		if x := shownAll(c); x.GetTls() == "TLS 1.3" {
			return
		}
	}
	t.Error("no session is shown with TLS")
}

// clients are the sessions of both roles.
func (f *farm) clients() (all []presence.Session) {
	for _, r := range f.roles {
		all = append(all, r.Clients()...)
	}
	return all
}

// shownAll is what operators see of a session.
func shownAll(s presence.Session) *adminv1.ClientSession { return s.Card().Show() }

func shown(s presence.Session) string {
	x := shownAll(s)
	return fmt.Sprintf("%s %q %t", x.GetCommand(), x.GetFolder(), x.GetReadOnly())
}

// line reads a line that begins so.
func (w *watcher) line(t *testing.T, begin string) {
	t.Helper()
	if line, err := w.c.readLine(); err != nil || !strings.HasPrefix(line, begin) {
		t.Fatalf("got %q, %v; want %q", line, err, begin)
	}
}
