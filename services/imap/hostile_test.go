package imap_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is a row of TestHostile: what is sent, and the status that comes back.
type hostile struct {
	send string
	// want are the statuses that are right, with | between; BYE: the connection ends after a last word.
	want string
}

// many repeats.
func many(s string, n int) string { return strings.Repeat(s, n) }

// verbs are all there are.
var verbs = strings.Fields(`CAPABILITY ID NOOP LANGUAGE STARTTLS LOGIN AUTHENTICATE UNAUTHENTICATE COMPRESS ENABLE NOTIFY NAMESPACE LIST LSUB
	CREATE DELETE RENAME SUBSCRIBE UNSUBSCRIBE STATUS APPEND SELECT EXAMINE GETQUOTA GETQUOTAROOT SETQUOTA GETMETADATA SETMETADATA GETACL SETACL
	DELETEACL LISTRIGHTS MYRIGHTS REPLACE CHECK CLOSE UNSELECT EXPUNGE FETCH STORE SEARCH SORT THREAD COPY MOVE UIDBATCHES ESEARCH CANCELUPDATE GENURLAUTH RESETKEY URLFETCH`)

// hostileLines are commands in the selected state, with tag x.
func hostileLines() []hostile {
	rows := []hostile{
		// Numbers and sets.
		{"x FETCH 0 FLAGS", "BAD"}, {"x FETCH 4294967296 FLAGS", "BAD"}, {"x FETCH 99999999999999999999 FLAGS", "BAD"},
		{"x FETCH -1 FLAGS", "BAD"}, {"x FETCH 1:0 FLAGS", "BAD"}, {"x FETCH 1: FLAGS", "BAD"}, {"x FETCH :1 FLAGS", "BAD"},
		{"x FETCH 1,,2 FLAGS", "BAD"}, {"x FETCH ,1 FLAGS", "BAD"}, {"x FETCH 1, FLAGS", "BAD"}, {"x FETCH 1:2:3 FLAGS", "BAD"},
		{"x FETCH +1 FLAGS", "BAD"}, {"x FETCH 1e3 FLAGS", "BAD"}, {"x FETCH 0x1 FLAGS", "BAD"}, {"x FETCH ** FLAGS", "BAD"},
		{"x FETCH 1000000000 FLAGS", "BAD"}, {"x FETCH 1:1000000000 FLAGS", "BAD"}, {"x UID FETCH 1:1000000000 FLAGS", "OK"},
		{"x UID FETCH 1:4294967295 (UID)", "OK"}, {"x UID FETCH 4294967295:1 (UID)", "OK"}, {"x UID FETCH 5:4294967295 (BODY[])", "OK"},
		{"x UID STORE 5:4000000000 +FLAGS (\\Deleted)", "OK"}, {"x UID COPY 5:4000000000 Archive", "OK"}, {"x UID MOVE 5:4000000000 Archive", "OK"},
		{"x UID EXPUNGE 5:4000000000", "OK"}, {"x UID SEARCH UID 1:4294967295", "OK"}, {"x SEARCH 1:1000000000", "OK"},
		{"x UID FETCH " + many("1:4294967295,", 3000) + "1 (UID)", "OK"}, {"x UID SEARCH UID " + many("4294967295,1,", 3000) + "2", "OK"},
		{"x UID FETCH " + many("1,3,", 30_000) + "1 FLAGS", "BAD"},
		{"x FETCH 1 BODY[]<0.0>", "BAD"}, {"x FETCH 1 BODY[]<99999999999999999999.1>", "BAD"}, {"x FETCH 1 BODY[]<1.99999999999999999999>", "BAD"},
		{"x FETCH 1 BODY.PEEK[]<9223372036854775807.9223372036854775807>", "OK"}, {"x FETCH 1 BODY[]<-1.5>", "BAD"}, {"x FETCH 1 BODY[]<1>", "BAD"},
		{"x FETCH 1 BODY[0]", "BAD"}, {"x FETCH 1 BODY[1.0]", "BAD"}, {"x FETCH 1 BODY[1..2]", "BAD"}, {"x FETCH 1 BODY[.1]", "BAD"},
		{"x FETCH 1 BODY[1.]", "BAD"}, {"x FETCH 1 BODY[4294967296]", "BAD"}, {"x FETCH 1 BODY.PEEK[1073741824]", "OK"},
		{"x FETCH 1 BODY.PEEK[" + many("1.", 99) + "1]", "OK"}, {"x FETCH 1 BODY[" + many("1.", 200) + "1]", "BAD"}, {"x FETCH 1 BODY[HEADER.FIELDS ()]", "BAD"},
		{"x FETCH 1 BODY[HEADER.FIELDS (" + many("a ", 300) + "a)]", "BAD"}, {"x FETCH 1 BODY[HEADER.FIELDS]", "BAD"}, {"x FETCH 1 BODY[MIME]", "BAD"},
		{"x FETCH 1 BODY[1.HEADER.TEXT]", "BAD"}, {"x FETCH 1 BODY[TEXT", "BAD"}, {"x FETCH 1 BODY]", "BAD"}, {"x FETCH 1 BINARY[HEADER]", "BAD"},
		{"x FETCH 1 BINARY.SIZE[1]<0.5>", "BAD"}, {"x FETCH 1 (" + many("UID ", 300) + "UID)", "OK"}, {"x FETCH 1 ()", "BAD"},
		{"x FETCH 1 (" + func() (s string) {
			for i := range 300 {
				s += fmt.Sprintf("BODY.PEEK[%d] ", i+1)
			}
			return s
		}() + "UID)", "BAD"},
		{"x FETCH 1 FLAGS (CHANGEDSINCE 99999999999999999999)", "BAD"}, {"x FETCH 1 FLAGS (CHANGEDSINCE -1)", "BAD"}, {"x FETCH 1 FLAGS (NONSENSE)", "BAD"},
		{"x UID FETCH 1 FLAGS (PARTIAL 0:1)", "BAD"}, {"x UID FETCH 1 FLAGS (PARTIAL 1:-1)", "BAD"}, {"x UID FETCH 1:* UID (PARTIAL 1:4294967295)", "OK"},
		{"x UID FETCH 1 FLAGS (PARTIAL 1:4294967296)", "BAD"}, {"x STORE 1 (UNCHANGEDSINCE 99999999999999999999) FLAGS ()", "BAD"},
		{"x UIDBATCHES 0", "BAD"}, {"x UIDBATCHES 4294967296", "BAD"}, {"x SEARCH LARGER 99999999999999999999", "BAD"}, {"x SEARCH MODSEQ 99999999999999999999", "BAD"},
		{"x SEARCH YOUNGER 0", "BAD"}, {"x SEARCH RETURN (PARTIAL 0:0) ALL", "BAD"}, {"x SEARCH SINCE 32-Jan-2024", "BAD"}, {"x SEARCH SINCE 1-Foo-2024", "BAD"},
		{"x SEARCH SINCE 29-Feb-2023", "BAD"}, {"x SEARCH ON 1-Jan-99999", "BAD"},
		// Nesting.
		{"x SEARCH " + many("(", 21) + "ALL" + many(")", 21), "BAD"}, {"x SEARCH " + many("(", 20_000), "BAD"}, {"x SEARCH " + many("NOT ", 10_000) + "ALL", "BAD"},
		{"x SEARCH " + many("OR ", 10_000) + "ALL", "BAD"}, {"x SEARCH " + many("OR ALL ", 9_000) + "ALL", "BAD"}, {"x SEARCH " + many("ALL ", 15_000) + "ALL", "BAD"},
		{"x SEARCH " + many("FUZZY ", 10_000) + "ALL", "BAD"}, {"x FETCH 1 " + many("(", 1000), "BAD"}, {"x LIST " + many("(", 1000), "BAD"},
		{"x LIST \"\" (" + many("* ", 2000) + "*)", "BAD"}, {"x STATUS INBOX " + many("(", 1000), "BAD"}, {"x STATUS INBOX (" + many("MESSAGES ", 100) + "UNSEEN)", "BAD"},
		{"x NOTIFY SET " + many("(", 1000), "BAD"}, {"x NOTIFY SET " + many("(personal (MessageNew MessageExpunge)) ", 500) + "(inboxes NONE)", "NO"},
		{"x ESEARCH IN " + many("(", 1000), "BAD"}, {"x ESEARCH IN (mailboxes (" + many("a ", 2000) + "a)) ALL", "BAD"}, {"x ESEARCH IN (" + many("personal ", 200) + "personal) ALL", "BAD"},
		{"x THREAD " + many("(", 1000), "BAD"}, {"x SORT (" + many("REVERSE ", 1000) + "DATE) UTF-8 ALL", "BAD"}, {"x SORT (" + many("DATE ", 1000) + "DATE) UTF-8 ALL", "BAD"},
		{"x ID (" + many(`"a" "b" `, 500) + `"a" "b")`, "BAD"}, {`x ID ("` + many("a", 60_000) + `" "b")`, "BAD"}, {"x ENABLE " + many("X", 60_000), "OK"},
		{"x SETACL INBOX anyone " + many("l", 60_000), "OK"}, {"x SETACL INBOX " + many("a", 60_000) + " l", "BAD"}, {"x SETQUOTA \"\" (" + many("STORAGE 1 ", 100) + "MESSAGE 1)", "BAD"},
		{"x GETMETADATA INBOX (" + many("/shared/a ", 1000) + "/shared/b)", "OK"}, {"x GETMETADATA INBOX /" + many("a/", 30_000), "BAD"}, {"x GETMETADATA INBOX (MAXSIZE 4294967296) /shared/a", "BAD"},
		{"x SETMETADATA INBOX (" + many(`/shared/a NIL `, 1000) + "/shared/b NIL)", "BAD"}, {"x SETMETADATA INBOX " + many("(", 1000), "BAD"},
		{"x CANCELUPDATE " + many(`"a" `, 1000) + `"a"`, "BAD"},
		// Names, UTF-8, UTF-7.
		{"x CREATE " + many("a/", 21) + "a", "NO"}, {"x CREATE " + many("a", 60_000), "NO"}, {"x CREATE \"/\"", "NO"}, {"x CREATE \"a//b\"", "NO"}, {"x CREATE \"a%b\"", "NO"},
		{"x CREATE \"a\x01b\"", "BAD"}, {"x CREATE \"a\x7fb\"", "BAD"}, {"x CREATE \"\xff\xfe\"", "BAD"}, {"x CREATE \"\xc3\"", "BAD"}, {"x CREATE \"\xed\xa0\x80\"", "BAD"},
		{"x CREATE \"\xc0\xaf\"", "BAD"}, {"x CREATE \"\xe2\x80\xa8\"", "BAD"}, {"x CREATE \"&\"", "BAD"}, {"x CREATE \"&AA\"", "BAD"}, {"x CREATE \"&!!-\"", "BAD"}, {"x CREATE \"&2AA-\"", "BAD"},
		{"x CREATE \"&AGE-\"", "BAD"}, {"x CREATE \"&AAo-\"", "BAD"}, {"x CREATE \"" + many("&-", 400) + "\"", "NO"}, {"x CREATE \xff", "BAD"}, {"x RENAME INBOX \"\xff\"", "BAD"},
		{"x LIST \"\" \"\xff\"", "BAD"}, {"x LIST \"\" \"" + many("%*", 5000) + "\"", "BAD"}, {"x LIST \"" + many("a", 60_000) + "\" *", "BAD"}, {"x LIST \"\" " + many("%/", 200), "OK"},
		{"x SEARCH CHARSET UTF-7 ALL", "NO"}, {"x SEARCH CHARSET \"" + many("x", 5000) + "\" ALL", "NO"}, {"x SEARCH SUBJECT \"\xff\xfe\"", "BAD"}, {"x SEARCH TEXT \"" + many("x", 60_000) + "\"", "OK"},
		{"x SEARCH KEYWORD " + many("x", 60_000), "OK"}, {"x SEARCH HEADER \"\" \"\"", "OK"}, {"x SEARCH NONSENSE", "BAD"},
		// Strings and octets.
		{"x LIST \"\" \"abc", "BAD"}, {"x LIST \"\" \"a\\b\"", "BAD"}, {"x LIST \"\" \"a\x00b\"", "BAD"}, {"x LIST \"\" \"a\rb\"", "BAD"}, {"x\x00 NOOP", "BAD"}, {"x NO\x00OP", "BAD"}, {"x NOOP\x00", "BAD"},
		{"x NOOP \xff", "BAD"}, {"x STORE 1 FLAGS (\xff)", "BAD"}, {"x STORE 1 FLAGS (\\Nonsense)", "BAD"}, {"x STORE 1 FLAGS (\\*)", "BAD"}, {"x STORE 1 FLAGS (\\)", "BAD"},
		{"x STORE 1 FLAGS (" + many("a", 200) + ")", "BAD"}, {"x STORE 1 FLAGS (" + func() (s string) {
			for i := range 200 {
				s += fmt.Sprintf("k%d ", i)
			}
			return s
		}() + "z)", "BAD"}, {"x STORE 1 FLAG ()", "BAD"}, {"x STORE 1 +FLAGS", "BAD"},
		// Commands.
		{"", "BAD"}, {" ", "BAD"}, {"x", "BAD"}, {"x ", "BAD"}, {" x NOOP", "BAD"}, {"x  NOOP", "BAD"}, {"+ NOOP", "BAD"}, {"x+y NOOP", "BAD"}, {"* NOOP", "BAD"}, {"( NOOP", "BAD"},
		{many("t", 100) + " NOOP", "BAD"}, {many("t", 60_000), "BAD"}, {"x " + many("V", 60_000), "BAD"}, {"x UID", "BAD"}, {"x UID UID FETCH 1 FLAGS", "BAD"}, {"x UID NOOP", "BAD"}, {"x UID SELECT INBOX", "BAD"},
		{"GET / HTTP/1.1", "BAD"}, {"\x16\x03\x01\x02\x00\x01\x00", "BAD"}, {many("x", 200_000), "BAD"}, {"x NOOP" + many(" ", 60_000), "BAD"}, {"x IDLE now", "BAD"}, {"x LOGOUT now", "BAD"},
		// Literals: refused ones are not taken for commands.
		{"x SELECT {8+}\r\nx LOGOUT", "NO"}, {"x SELECT {70000+}\r\n" + many("x LOGOUT\r\n", 7000), "BAD"}, {"x NOOP {10+}\r\nx LOGOUT\r\n", "BAD"}, {"x SELECT {99999999999999999999}", "BAD"},
		{"x SELECT {18446744073709551616}", "BAD"}, {"x SELECT {-1}", "BAD"}, {"x SELECT {1", "BAD"}, {"x SELECT {}", "BAD"}, {"x SELECT {1 +}", "BAD"}, {"x SELECT {5}}", "BAD"}, {"x SELECT ~{5+}\r\nINBOX", "BAD"},
		{"x SELECT {3+}\r\na\x00b", "BAD"}, {"x LIST {0+}\r\n {0+}\r\n", "OK"}, {"x SELECT " + many("{0+}\r\n", 3000), "BAD"}, {"x SEARCH " + many("SUBJECT {1+}\r\nx ", 200) + "ALL", "OK"},
		{"x SEARCH SUBJECT {60000+}\r\n" + many("y", 60_000) + " SUBJECT {60000+}\r\n" + many("y", 60_000) + " SUBJECT {60000+}\r\n" + many("y", 60_000) + " SUBJECT {60000+}\r\n" + many("y", 60_000) + " SUBJECT {60000+}\r\n" + many("y", 60_000), "BAD"},
		// APPEND.
		{"x APPEND INBOX {0+}\r\n", "NO"}, {"x APPEND INBOX {99999999999}", "NO"}, {"x APPEND INBOX \"1-Jan-2024\" {1+}\r\nx", "BAD"}, {"x APPEND INBOX \"99-Jan-2024 00:00:00 +0000\" {1+}\r\nx", "BAD"},
		{"x APPEND INBOX (" + many("\\Seen ", 8000) + "\\Seen) {1+}\r\nx", "OK"}, {"x APPEND INBOX (\\Nonsense) {1+}\r\nx", "BAD"}, {"x APPEND INBOX {3+}\r\na\x00b", "NO"}, {"x APPEND INBOX {1+}\r\nx{1+}\r\nx", "BAD"},
		{"x APPEND INBOX {1+}\r\nx nonsense {8+}\r\nx LOGOUT", "BAD"}, {"x APPEND INBOX UTF8 (~{1+}\r\nx)", "BAD"}, {"x APPEND \"\xff\" {1+}\r\nx", "BAD"}, {"x APPEND Nowhere {8+}\r\nx LOGOUT", "NO"},
		{"x APPEND INBOX CATENATE (URL \"/INBOX/;UID=1\" " + many("URL \"/INBOX/;UID=1\" ", 300) + "URL \"/INBOX/;UID=1\")", "BAD"}, {"x APPEND INBOX CATENATE (" + many("TEXT {1+}\r\nx ", 300) + "TEXT {1+}\r\nx)", "BAD"},
		{"x APPEND INBOX CATENATE (URL \"" + many("/", 30_000) + "\")", "NO"}, {"x APPEND INBOX CATENATE (URL {8000+}\r\n" + many("u", 8000) + ")", "NO"}, {"x APPEND INBOX CATENATE (TEXT {99999999999}", "NO"},
		{"x APPEND INBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=" + many("1.", 200) + "1\")", "NO"}, {"x APPEND INBOX CATENATE (URL \"/%zz/;UID=1\")", "NO"}, {"x APPEND INBOX CATENATE " + many("(", 1000), "BAD"},
		{"x UID REPLACE 1:* INBOX {1+}\r\nx", "BAD"}, {"x REPLACE 0 INBOX {1+}\r\nx", "BAD"}, {"x REPLACE 9 INBOX {8+}\r\nx LOGOUT", "BAD"},
		{"x AUTHENTICATE PLAIN =", "BAD"}, {"x STARTTLS", "BAD"}, {"x COMPRESS GZIP", "NO"}, {"x LANGUAGE " + many("x ", 5000) + "x", "BAD"},
	}
	if testing.Short() {
		return rows
	}
	for _, v := range verbs {
		for _, arguments := range []string{" (", " \"", " {5+}\r\n\x00\x00\x00\x00\x00", " )", " \xff\xfe (((", " " + many("a ", 20_000)} {
			want := "BAD|NO"
			if v == "ENABLE" && len(arguments) > 10_000 {
				want = "OK|BAD"
			}
			rows = append(rows, hostile{"x " + v + arguments, want})
		}
	}
	return rows
}

// talk is a session that is logged in.
func (f *farm) talk(t testing.TB, user string) *lineConn {
	t.Helper()
	c := dial(t, f.addr, false)
	if _, err := c.readLine(); err != nil {
		t.Fatal(err)
	}
	c.must(t, "LOGIN "+user+" "+quote(password))
	return c
}

// status sends octets and gives the status of the tagged response, or of an untagged one where the command had no tag.
func (c *lineConn) status(send string) (string, error) {
	c.SetWriteDeadline(time.Now().Add(dialogueWait))
	if _, err := io.WriteString(c, send+"\r\n"); err != nil {
		return "", err
	}
	for {
		line, err := c.readLine()
		if err != nil {
			return "", fmt.Errorf("%w after %.100q", err, line)
		}
		c.seen = nil
		if m := statusLine.FindStringSubmatch(line); m != nil {
			return m[1] + m[2], nil
		}
	}
}

var statusLine = regexp.MustCompile(`^(?:x|\*|GET) (BAD|BYE)|^x (OK|NO)`)

// must runs a command that is to be answered OK.
func (c *lineConn) must(t testing.TB, command string) {
	t.Helper()
	if got, err := c.status("x " + command); got != "OK" || err != nil {
		t.Fatalf("%s: %s, %v", command, got, err)
	}
}

// TestHostile: what no client should send is refused with a word, the session goes on, and so does another one meanwhile.
func TestHostile(t *testing.T) {
	f := startFarm(t, nil)
	rows := hostileLines()
	if len(rows) < 150 {
		t.Fatalf("%d rows", len(rows))
	}
	stop := f.bystander(t)
	queue := make(chan hostile)
	var workers sync.WaitGroup
	for range 4 {
		user, account := f.account(t)
		f.fill(t, account, "INBOX", numbered(0, 4)...)
		workers.Go(func() {
			for row := range queue {
				f.try(t, user, row)
			}
		})
	}
	for _, row := range rows {
		queue <- row
	}
	close(queue)
	workers.Wait()
	stop()
}

// try sends one row on a connection of its own.
func (f *farm) try(t *testing.T, user string, row hostile) {
	c := f.talk(t, user)
	defer c.Close()
	c.must(t, "SELECT INBOX")
	got, err := c.status(row.send)
	if err != nil || !regexp.MustCompile("^("+row.want+")$").MatchString(got) {
		t.Errorf("%.120q: %s, %v; want %s", row.send, got, err, row.want)
		return
	}
	// What was refused was not executed, and left nothing behind in the stream.
	io.WriteString(c, "\r\n")
	for {
		line, err := c.readLine()
		if err != nil {
			t.Errorf("%.120q: then %v", row.send, err)
			return
		}
		if strings.HasPrefix(line, `^\* (BAD|BYE)`) {
			t.Errorf("%.120q: then %q", row.send, line)
			return
		}
		if strings.HasPrefix(line, "* BAD") {
			break
		}
	}
	if got, err := c.status("x NOOP"); got != "OK" || err != nil {
		t.Errorf("%.120q: NOOP behind it: %s, %v", row.send, got, err)
	}
}

// bystander is a session that works while others misbehave; stop tells whether it could.
func (f *farm) bystander(t *testing.T) (stop func()) {
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 10)...)
	c := f.talk(t, user)
	c.must(t, "SELECT INBOX")
	var done atomic.Bool
	var work sync.WaitGroup
	rounds := 0
	work.Go(func() {
		for !done.Load() {
			if got, err := c.status("x FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[])"); got != "OK" || err != nil {
				t.Errorf("bystander: %s, %v", got, err)
				return
			}
			rounds++
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		done.Store(true)
		work.Wait()
		if rounds == 0 {
			t.Error("the bystander had no turn")
		}
	}
}

// TestHostileBeforeLogin: nothing but what a stranger needs.
func TestHostileBeforeLogin(t *testing.T) {
	f := startFarm(t, nil)
	stranger := map[string]bool{"CAPABILITY": true, "ID": true, "NOOP": true, "LANGUAGE": true, "STARTTLS": true, "LOGIN": true, "AUTHENTICATE": true}
	for _, v := range verbs {
		for _, arguments := range []string{"", " INBOX", " {5000+}\r\n" + many("x", 5000)} {
			if stranger[v] && arguments != "" || v == "CAPABILITY" || v == "NOOP" || v == "STARTTLS" || v == "ID" || v == "LANGUAGE" {
				continue
			}
			c := dial(t, f.addr, false)
			c.readLine()
			if got, err := c.status("x " + v + arguments); got != "BAD" || err != nil {
				t.Errorf("%s%.20s: %s, %v; want BAD", v, arguments, got, err)
			}
			c.Close()
		}
	}
}

// heapPeak watches the heap until stop, which tells by how many octets it grew at most.
func heapPeak() (stop func() int64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, peak := int64(m.HeapAlloc), int64(0)
	end, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, int64(m.HeapAlloc)-base)
			}
		}
	}()
	return func() int64 {
		close(end)
		<-done
		return peak
	}
}

// TestHostileMessages: messages that are made to be hard are stored, told of and searched, or refused, within bounds.
func TestHostileMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("megabytes")
	}
	f := startFarm(t, nil)
	user, account := f.account(t)
	nested := "Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
	for i := range 5000 {
		nested += fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	messages := map[string]string{
		"deep MIME":     nested,
		"deep messages": many("Content-Type: message/rfc822\r\n\r\n", 20_000) + "x",
		"many parts":    "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + many("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n",
		"long header":   many("X-Field: value of a field\r\n", 400_000) + "\r\nx",
		"long field":    "Subject: " + many("x", 10<<20) + "\r\n\r\nx",
		"folded field":  "To: " + many("a@example.org,\r\n ", 600_000) + "b@example.org\r\n\r\nx",
		"long boundary": "Content-Type: multipart/mixed; boundary=\"" + many("b", 1<<20) + "\"\r\n\r\n--" + many("b", 1<<20) + "\r\n\r\nx\r\n",
		"no line end":   many("x", 10<<20),
		"parameters":    "Content-Type: text/plain" + many("; a=b", 500_000) + "\r\n\r\nx",
		"encoded words": "Subject: " + many("=?utf-8?q?=C3=A4?= ", 300_000) + "\r\n\r\nx",
		"base64":        "Content-Transfer-Encoding: base64\r\n\r\n" + many("AAAA", 3<<20),
		"open comment":  "From: " + many("(", 1<<20) + "\r\n\r\nx",
		"groups":        "To: " + many("a:", 500_000) + "\r\n\r\nx",
	}
	stop := f.bystander(t)
	defer stop()
	for name, m := range messages {
		f.fill(t, account, "INBOX", m)
		c := f.talk(t, user)
		c.must(t, "SELECT INBOX")
		runtime.GC()
		grown := heapPeak()
		for _, command := range []string{
			"FETCH * (ENVELOPE)", "FETCH * (BODYSTRUCTURE BODY)", "FETCH * BODY.PEEK[" + many("1.", 50) + "1]", "FETCH * BODY.PEEK[HEADER.FIELDS (From To)]",
			"FETCH * BODY.PEEK[99999]", "FETCH * BINARY.PEEK[1]<0.100>", "FETCH * BINARY.SIZE[1]", "FETCH * PREVIEW", "SEARCH * SUBJECT x", "SEARCH * TEXT x", "SEARCH * TO nobody",
			"SORT (SUBJECT FROM) UTF-8 *", "THREAD REFERENCES UTF-8 *",
		} {
			if got, err := c.status("x " + command); got != "OK" && got != "NO" || err != nil {
				t.Errorf("%s: %.60s: %s, %v", name, command, got, err)
			}
		}
		if n := grown(); n > 200<<20 {
			t.Errorf("%s of %d octets took %d octets of memory", name, len(m), n)
		}
		c.must(t, "STORE * +FLAGS.SILENT (\\Deleted)")
		c.must(t, "EXPUNGE")
		c.Close()
	}
}

// TestCompressionBomb: what a few octets inflate to is bounded like what comes as it is (RFC 4978).
func TestCompressionBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("inflates 400 MB")
	}
	f := startFarm(t, nil)
	stop := f.bystander(t)
	defer stop()
	for _, tt := range []struct{ name, begin, fill, want string }{
		{"one line", "x ", "a", `^\* BYE \[TOOBIG\]`},
		{"empty lines", "", "\r\n", `^\* (BAD|BYE)`},
		{"a literal that is refused", "x SELECT {100000000+}\r\n", "a", `^(x BAD|\* BYE)`},
		{"literals", "x LIST \"\" ", "{0+}\r\n", `^(x BAD|\* BYE)`},
	} {
		user, _ := f.account(t)
		c := f.talk(t, user)
		c.must(t, "COMPRESS DEFLATE")
		var bomb bytes.Buffer
		w, _ := flate.NewWriter(&bomb, flate.BestCompression)
		io.WriteString(w, tt.begin)
		block := []byte(many(tt.fill, 64<<10/len(tt.fill)))
		for range 100 << 20 / len(block) {
			w.Write(block)
		}
		io.WriteString(w, "\r\n")
		w.Flush()
		grown := heapPeak()
		go func() {
			c.SetWriteDeadline(time.Now().Add(dialogueWait))
			c.Write(bomb.Bytes())
		}()
		answer := bufio.NewReader(flate.NewReader(c.Conn))
		line, err := answer.ReadString('\n')
		if err != nil || !regexp.MustCompile(tt.want).MatchString(line) {
			t.Errorf("%s: %q, %v; want %s", tt.name, line, err, tt.want)
		}
		if n := grown(); n > 64<<20 {
			t.Errorf("%s of %d octets took %d octets of memory", tt.name, bomb.Len(), n)
		}
		c.Close()
	}
}
