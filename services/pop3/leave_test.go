package pop3_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/pop3"
)

// say sends a line and gives the first line of the reply.
func (c *lineConn) say(t testing.TB, command string) string {
	t.Helper()
	_, err := fmt.Fprintf(c, "%s\r\n", command)
	check(t, err)
	line, err := c.readLine()
	check(t, err)
	return line
}

// enter tries to log in.
func (f *farm) enter(t testing.TB, user string) (*lineConn, string) {
	t.Helper()
	c := dial(t, f.addr)
	_, err := c.readLine()
	check(t, err)
	c.must(t, "USER "+user)
	return c, c.say(t, "PASS "+password)
}

// capabilities are the lines of CAPA.
func (c *lineConn) capabilities(t testing.TB) string {
	t.Helper()
	c.must(t, "CAPA")
	return string(c.body(t))
}

// TestExpire: with EXPIRE 0 goes what the session has fetched, and with more what was read and is old (RFC 2449 §6.7).
func TestExpire(t *testing.T) {
	days := 0
	f := startFarm(t, func(cfg *pop3.Config) { cfg.ExpireDays = &days })
	user, account := f.user(t)
	f.file(t, account, standing...)
	c := f.login(t, user)
	if caps := c.capabilities(t); !strings.Contains(caps, "\r\nEXPIRE 0\r\n") {
		t.Errorf("CAPA: %q", caps)
	}
	c.must(t, "RETR 2")
	c.body(t)
	c.Close() // without QUIT nothing goes
	for {
		next, greeting := f.enter(t, user)
		if strings.HasPrefix(greeting, "+OK 3 ") {
			c = next
			break
		}
		if !strings.HasPrefix(greeting, "-ERR [IN-USE]") {
			t.Fatalf("after a session without QUIT: %q", greeting)
		}
	}
	c.must(t, "RETR 1")
	c.body(t)
	c.must(t, "QUIT")
	if n := f.inbox(t, account).Messages; n != 2 {
		t.Errorf("%d messages are left, want 2", n)
	}
}

func TestExpireDays(t *testing.T) {
	days := 30
	f := startFarm(t, func(cfg *pop3.Config) { cfg.ExpireDays = &days })
	user, account := f.user(t)
	f.file(t, account, standing...)
	c := f.login(t, user)
	if caps := c.capabilities(t); !strings.Contains(caps, "\r\nEXPIRE 30\r\n") {
		t.Errorf("CAPA: %q", caps)
	}
	c.must(t, "RETR 1")
	c.body(t)
	c.must(t, "QUIT")
	if n := f.inbox(t, account).Messages; n != 3 {
		t.Errorf("%d messages are left, want all: none is old", n)
	}
}

// TestLoginDelay: a second session comes too soon (RFC 2449 §8.1.1).
func TestLoginDelay(t *testing.T) {
	f := startFarm(t, func(cfg *pop3.Config) { cfg.LoginDelay = 30 * time.Minute })
	user, account := f.user(t)
	f.file(t, account, standing...)
	c := f.login(t, user)
	if caps := c.capabilities(t); !strings.Contains(caps, "\r\nLOGIN-DELAY 1800\r\n") {
		t.Errorf("CAPA: %q", caps)
	}
	c.must(t, "QUIT")
	for range 2 {
		if _, reply := f.enter(t, user); !strings.HasPrefix(reply, "-ERR [LOGIN-DELAY] ") {
			t.Errorf("at once again: %q", reply)
		}
	}
	other, _ := f.user(t)
	if _, reply := f.enter(t, other); !strings.HasPrefix(reply, "+OK") {
		t.Errorf("somebody else: %q", reply)
	}
}

// TestFolders: a user name may say which folder is the maildrop.
func TestFolders(t *testing.T) {
	f := startFarm(t, func(cfg *pop3.Config) { cfg.FolderSeparator = "#" })
	user, account := f.user(t)
	f.file(t, account, standing...)
	_, err := f.mailboxes.Create(t.Context(), &storev1.CreateRequest{Account: account, Name: "Old/Größe"})
	check(t, err)
	list, err := f.mailboxes.List(t.Context(), &storev1.ListRequest{Account: account})
	check(t, err)
	for _, m := range list.GetMailboxes() {
		if m.GetName() == "INBOX" {
			_, err := f.mailboxes.Copy(t.Context(), &storev1.CopyRequest{Account: account, Mailbox: m.GetId(), Target: "Old/Größe", Uids: mailbox.AppendUIDSet(nil, mailbox.UIDSet{{First: 1, Last: 1}})})
			check(t, err)
		}
	}
	inbox, reply := f.enter(t, user+"#inbox")
	if !strings.HasPrefix(reply, "+OK 3 ") {
		t.Errorf("INBOX by its name: %q", reply)
	}
	// Another folder has a lock of its own.
	c, reply := f.enter(t, user+"#Old/Größe")
	if !strings.HasPrefix(reply, "+OK 1 ") {
		t.Fatalf("a folder: %q", reply)
	}
	c.must(t, "DELE 1")
	c.must(t, "QUIT")
	inbox.must(t, "QUIT")
	if n := f.inbox(t, account).Messages; n != 3 {
		t.Errorf("%d messages in INBOX, want 3", n)
	}
	if _, reply = f.enter(t, user+"#Old/Größe"); !strings.HasPrefix(reply, "+OK 0 ") {
		t.Errorf("the folder again: %q", reply)
	}
	for _, name := range []string{"#Nowhere", "#Old/", "#old/größe"} {
		if _, reply = f.enter(t, user+name); !strings.HasPrefix(reply, "-ERR [SYS/PERM] ") {
			t.Errorf("%s: %q", name, reply)
		}
	}
}
