package imap_test

import (
	"regexp"
	"strings"
	"testing"
)

var objectItems = regexp.MustCompile(`FETCH \(UID (\d+) EMAILID \((M[A-Za-z0-9_-]+)\) THREADID \((T[A-Za-z0-9_-]+)\)\)`)

// TestObjectIDs: a conversation has one THREADID and a message one EMAILID in all its mailboxes; both are found by, and a
// mailbox keeps its MAILBOXID when it is renamed (RFC 8474).
func TestObjectIDs(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", "Message-ID: <q@example.net>\r\nSubject: q\r\n\r\nx\r\n",
		"Message-ID: <a@example.net>\r\nIn-Reply-To: <q@example.net>\r\nSubject: Re: q\r\n\r\nx\r\n",
		"Message-ID: <o@example.net>\r\nSubject: other\r\n\r\nx\r\n")
	w := watch(t, f, user, "SELECT INBOX", "COPY 2 Archive")
	ids := func(n int) (emails, threads []string) {
		t.Helper()
		w.c.seen = nil
		w.do("UID FETCH 1:* (EMAILID THREADID)")
		for _, line := range w.c.seen {
			if m := objectItems.FindStringSubmatch(line); m != nil {
				emails, threads = append(emails, m[2]), append(threads, m[3])
			}
		}
		if len(emails) != n {
			t.Fatalf("%d of %d messages have ids: %q", len(emails), n, w.c.seen)
		}
		return emails, threads
	}
	emails, threads := ids(3)
	if threads[0] != threads[1] || threads[0] == threads[2] || emails[0] == emails[1] {
		t.Errorf("emails %v, threads %v", emails, threads)
	}
	says := func(command, want string) {
		t.Helper()
		w.c.seen = nil
		w.do(command)
		if !strings.Contains(strings.Join(w.c.seen, "\n"), want) {
			t.Errorf("%s: got %q, want %q", command, w.c.seen, want)
		}
	}
	says("SEARCH THREADID "+threads[0], "* SEARCH 1 2")
	says("SEARCH EMAILID "+emails[2], "* SEARCH 3")
	w.do("SELECT Archive")
	copies, of := ids(1)
	if copies[0] != emails[1] || of[0] != threads[1] {
		t.Errorf("the copy of %s in %s is %s in %s", emails[1], threads[1], copies[0], of[0])
	}
	w.c.seen = nil
	w.do("CREATE One")
	_, id, ok := strings.Cut(w.c.seen[len(w.c.seen)-1], "[MAILBOXID (F")
	id, _, _ = strings.Cut(id, ")")
	if !ok || id == "" {
		t.Fatalf("CREATE: %q", w.c.seen)
	}
	w.do("RENAME One Two")
	says("STATUS Two (MAILBOXID)", "MAILBOXID (F"+id+")")
	says("SELECT Two", "* OK [MAILBOXID (F"+id+")]")
}
