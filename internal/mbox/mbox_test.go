package mbox_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mbox"
)

// read gives what a file has: its dialect, what is said of the messages, and the messages.
func read(t testing.TB, file string, dialect mbox.Dialect) (mbox.Dialect, []mbox.Meta, []string) {
	t.Helper()
	f, err := mbox.Open(strings.NewReader(file), int64(len(file)), dialect)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	var metas []mbox.Meta
	var texts []string
	for {
		m, err := f.Next()
		if err == io.EOF {
			return f.Dialect(), metas, texts
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		b, err := io.ReadAll(m.Open())
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		metas, texts = append(metas, m.Meta), append(texts, string(b))
	}
}

const from = "From alice@example.org Sat Nov 21 10:11:12 2026\n"

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestDialects(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		dialect    mbox.Dialect
		want       []string
	}{
		{"nothing", "", mbox.RD, nil},
		{"one, cut off", from + "A: 1\n\nx", mbox.RD, []string{"A: 1\n\nx"}},
		{"no body", from + "A: 1\n\n" + from + "A: 2\n\n", mbox.RD, []string{"A: 1\n\n", "A: 2\n\n"}},
		{"no empty line behind a header", from + "A: 1\n" + from + "A: 2\n\nx\n", mbox.RD, []string{"A: 1\n", "A: 2\n\nx\n"}},
		{"Mozilla's", "From \nA: 1\n\nx\n\nFrom - Sat Nov 21 10:11:12 2026\nA: 2\n\nFrom \nhere\n\nFrom -\nA: 3\n\n", mbox.RD,
			[]string{"A: 1\n\nx\n", "A: 2\n\nFrom \nhere\n", "A: 3\n\n"}},
		{"mboxo", from + "A: 1\n\n>From me\nx\n\n" + from + "A: 2\n\ny\n\n", mbox.O, []string{"A: 1\n\nFrom me\nx\n", "A: 2\n\ny\n"}},
		{"mboxrd", from + "A: 1\n\n>From me\n>>From you\n>>>From all\n>x\n\n", mbox.RD, []string{"A: 1\n\nFrom me\n>From you\n>>From all\n>x\n"}},
		{"mboxcl", from + "A: 1\nContent-Length: 13\n\n>From me\n\nx\n\n\n" + from + "A: 2\nContent-Length: 2\n\ny\n\n", mbox.CL,
			[]string{"A: 1\n\nFrom me\n\nx\n\n", "A: 2\n\ny\n"}},
		{"mboxcl2", from + "A: 1\nContent-Length: 63\n\nx\n\n" + from + "B: 1\n\n>From\n" + "\n" + from + "A: 2\nContent-Length: 1\n\ny", mbox.CL2,
			[]string{"A: 1\n\nx\n\n" + from + "B: 1\n\n>From\n", "A: 2\n\ny"}},
		{"length of nothing", from + "A: 1\nContent-Length: 7000\n\nx\n\n" + from + "A: 2\n\ny\n\n", mbox.RD,
			[]string{"A: 1\nContent-Length: 7000\n\nx\n", "A: 2\n\ny\n"}},
		{"length into the middle", from + "A: 1\nContent-Length: 1\n\nxyz\n\n" + from + "A: 2\n\ny\n\n", mbox.RD,
			[]string{"A: 1\nContent-Length: 1\n\nxyz\n", "A: 2\n\ny\n"}},
		{"text that begins so", from + "A: 1\n\nx\n\nFrom time to time\nI write.\n\nFrom me Sat Nov 21 10:11:12 2026\nno header\n\n" + from + "A: 2\n\ny\n", mbox.RD,
			[]string{"A: 1\n\nx\n\nFrom time to time\nI write.\n\nFrom me Sat Nov 21 10:11:12 2026\nno header\n", "A: 2\n\ny\n"}},
		{"empty lines around", "\n\n" + from + "A: 1\n\nx\n\n\n\n" + from + "A: 2\n\ny\n", mbox.RD, []string{"A: 1\n\nx\n\n\n", "A: 2\n\ny\n"}},
		{"no empty lines between messages", from + "A: 1\n\nx\n" + from + "A: 2\n\ny\n" + from + "A: 3\n", mbox.RD, []string{"A: 1\n\nx\n", "A: 2\n\ny\n", "A: 3\n"}},
		{"an octet that editors add", mbox.ByteOrderMark + from + "A: 1\n\nx\n\n" + from + "A: 2\n\ny\n\n", mbox.RD, []string{"A: 1\n\nx\n", "A: 2\n\ny\n"}},
		{"UUCP", from + ">From bob Sat Nov 21 10:00:00 2026 remote from there\nA: 1\n\nx\n", mbox.RD, []string{"A: 1\n\nx\n"}},
	} {
		for _, ends := range []string{"LF", "CRLF"} {
			file := tt.file
			if ends == "CRLF" {
				if strings.Contains(file, "Content-Length") {
					continue // the lengths are others
				}
				file = crlf(file)
			}
			dialect, _, got := read(t, file, mbox.Auto)
			if dialect != tt.dialect {
				t.Errorf("%s, %s: dialect %v, want %v", tt.name, ends, dialect, tt.dialect)
			}
			var want []string
			for _, w := range tt.want {
				want = append(want, crlf(w))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: got %q, want %q", tt.name, ends, got, want)
			}
		}
	}
}

// TestPassed: what is taken for text and looks like the begin of a message is counted; text is not.
func TestPassed(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want int
	}{
		"text":                          {"\nFrom time to time\nI write.\nFrom me\nA: b\n>From a@b Sat Nov 21 10:11:12 2026\nA: b\n", 0},
		"no header behind":              {"\n" + from + "I wrote\n" + from + "\n", 2},
		"a date of another form":        {"\nFrom a@b 2026-11-21 10:11:12\nA: b\n", 1},
		"bare without an empty line":    {"From -\nA: b\n", 1},
		"one that begins a message too": {"I wrote\n" + from + "A: 2\n\n", 0},
	} {
		file := from + "A: 1\n\nx\n" + tt.text
		f, err := mbox.Open(strings.NewReader(file), int64(len(file)), mbox.RD)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Next()
		}
		n, first := f.Passed()
		if err != io.EOF || n != tt.want || n > 0 && !strings.HasPrefix(file[first:], "From ") {
			t.Errorf("%s: %d lines passed, the first at %d, %v; want %d", name, n, first, err, tt.want)
		}
	}
}

func TestMeta(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 11, 12, 0, time.UTC)
	for _, tt := range []struct {
		name, from, fields string
		want               mbox.Meta
	}{
		{"Dovecot", "a@b Sat Nov 21 10:11:12 2026", "Status: RO\nX-Status: AF\nX-Keywords: NonJunk $Label1     \nX-UID: 17\nX-IMAPbase: 1234567890 0000000042 NonJunk\n $Label1",
			mbox.Meta{Sender: "a@b", Received: at, Flags: []string{`\Seen`, `\Answered`, `\Flagged`, "NonJunk", "$Label1"}, UID: 17, UIDValidity: 1234567890, LastUID: 42}},
		{"Thunderbird", "- Sat Nov 21 10:11:12 2026", "X-Mozilla-Status: 0007\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1 later",
			mbox.Meta{Sender: "-", Received: at, Flags: []string{`\Seen`, `\Answered`, `\Flagged`, "$label1", "later"}}},
		{"Thunderbird, deleted", "- Sat Nov 21 10:11:12 2026", "X-Mozilla-Status: 0009", mbox.Meta{Sender: "-", Received: at, Flags: []string{`\Seen`, `\Deleted`}, Removed: true}},
		{"notes of a program", "MAILER-DAEMON Sat Nov 21 10:11:12 2026", "X-IMAP: 99 0000000007", mbox.Meta{Sender: "MAILER-DAEMON", Received: at, UIDValidity: 99, LastUID: 7, Internal: true}},
		{"ours", "a@b Sat Nov 21 10:11:12 2026", "X-Mailfarm-UIDL: q.1\nX-Mailfarm-Saved: 1700000000", mbox.Meta{Sender: "a@b", Received: at, UIDL: "q.1", Saved: time.Unix(1_700_000_000, 0)}},
		{"not old", "a@b Sat Nov 21 10:11:12 2026", "Status: O", mbox.Meta{Sender: "a@b", Received: at}},
		{"with a zone", "a b Sat Nov 21 11:11:12 2026 +0100", "Status:", mbox.Meta{Sender: "a b", Received: at}},
		{"with a zone's name", "a@b Sat Nov 21 05:11:12 EST 2026", "Status:", mbox.Meta{Sender: "a@b", Received: at}},
		{"without seconds", "a@b Sat Nov 21 10:11 2026", "Status:", mbox.Meta{Sender: "a@b", Received: at.Add(-12 * time.Second)}},
		{"without a date", "a@b", "Status: R", mbox.Meta{Flags: []string{`\Seen`}}},
	} {
		_, metas, texts := read(t, "From "+tt.from+"\nSubject: x\n"+tt.fields+"\nTo: y\n\nz\n", mbox.Auto)
		if len(metas) != 1 || !reflect.DeepEqual(metas[0], tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, metas, tt.want)
		}
		if want := "Subject: x\r\nTo: y\r\n\r\nz\r\n"; texts[0] != want {
			t.Errorf("%s: got %q, want %q", tt.name, texts[0], want)
		}
	}
	// Labels of Gmail's tell flags where the file does not, and stay.
	for _, tt := range []struct {
		fields string
		want   []string
	}{
		{"X-Gmail-Labels: Inbox,Important,Opened,Starred\n", []string{`\Seen`, `\Flagged`}},
		{"X-Gmail-Labels: Opened,Unread,Starred\n", []string{`\Flagged`}},
		{"X-Gmail-Labels: =?UTF-8?Q?Gr=C3=BCn,Sent,?=\n =?UTF-8?Q?Drafts?=\n", []string{`\Seen`, `\Draft`}},
		{"X-Gmail-Labels: Posteingang,Ungelesen\n", nil},
		{"X-Gmail-Labels: Opened,Starred\nStatus: O\n", nil},
		{"X-Mozilla-Status: 0002\nX-Gmail-Labels: Opened\n", []string{`\Answered`}},
	} {
		_, metas, texts := read(t, from+tt.fields+"\nz\n", mbox.Auto)
		file := strings.Contains(tt.fields, "Status:")
		if !reflect.DeepEqual(metas[0].Flags, tt.want) || metas[0].Labelled == file || !file && texts[0] != crlf(tt.fields+"\nz\n") {
			t.Errorf("%q: %+v, %q", tt.fields, metas[0], texts[0])
		}
	}
	// A unique id that the message has had is told, and stays.
	if _, metas, texts := read(t, from+"X-UIDL: abc\n\nz\n", mbox.Auto); metas[0].UIDL != "abc" || texts[0] != "X-UIDL: abc\r\n\r\nz\r\n" {
		t.Errorf("X-UIDL: %+v, %q", metas, texts)
	}
}

func TestNoMbox(t *testing.T) {
	for _, file := range []string{"Subject: x\n\n", "\n\n\n", "From", "PK\x03\x04", strings.Repeat("x", 200_000)} {
		if _, err := mbox.Open(strings.NewReader(file), int64(len(file)), mbox.Auto); !errors.Is(err, mbox.ErrFormat) {
			t.Errorf("%.20q: got %v, want ErrFormat", file, err)
		}
	}
}

// TestLineEndsOfOldMacs: the reason is told.
func TestLineEndsOfOldMacs(t *testing.T) {
	file := strings.ReplaceAll(from+"A: 1\n\nx\n\n"+from+"A: 2\n\ny\n", "\n", "\r")
	if _, err := mbox.Open(strings.NewReader(file), int64(len(file)), mbox.Auto); !errors.Is(err, mbox.ErrCR) {
		t.Errorf("got %v, want ErrCR", err)
	}
}

// messages are some that files must bear.
var messages = []string{
	"Subject: a\r\n\r\nFrom me\r\n>From you\r\n>>From all\r\n\r\nFrom x Sat Nov 21 10:11:12 2026\r\nA: 1\r\n\r\n",
	"Subject: b\r\n\r\n",
	"Subject: " + strings.Repeat("long ", 40_000) + "\r\n\r\n" + strings.Repeat("x", 65_535) + "\r\n" + strings.Repeat("y", 65_536) + "\r\n" + strings.Repeat("z", 200_000) + "\r\n",
	"Subject: c\r\nContent-Length-X: 5\r\n\r\n\r\n\r\n\r\nFrom \r\n\r\n",
	"Status: R\r\n\tO\r\nX-Mozilla-Status: 0008\r\nx-uid: 4\r\nX-UIDL: theirs\r\nContent-Length: 7\r\nX-Mailfarm-Own-Status: R\r\nX-Mailfarm-Own-Else: 1\r\nX-IMAP: 1 2\r\n" +
		"X-Mailfarm-Folder: Elsewhere\r\n\r\nStatus: R\r\n",
}

func TestRoundTrip(t *testing.T) {
	metas := []mbox.Meta{
		{Sender: "a@example.org", Received: time.Unix(1_700_000_000, 0).UTC(), Flags: []string{`\Seen`, `\Flagged`, "$Work", "later"}, UID: 5, UIDValidity: 77, LastUID: 900, UIDL: "q.5", Saved: time.Unix(1_700_000_001, 0)},
		{Sender: "MAILER-DAEMON", Received: time.Unix(1_700_000_002, 0).UTC(), UID: 6},
		{Sender: "b@example.org", Received: time.Unix(3, 0).UTC(), Flags: []string{`\Answered`, `\Draft`, `\Deleted`}, UID: 800},
		{Sender: "b@example.org", Received: time.Unix(4, 0).UTC()},
		{Sender: "b@example.org", Received: time.Unix(5, 0).UTC(), Folder: "a%20b"},
	}
	for _, dialect := range []mbox.Dialect{mbox.RD, mbox.CL2} {
		var b bytes.Buffer
		w := mbox.NewWriter(&b, dialect)
		for i := range messages {
			if err := w.Write(&metas[i], strings.NewReader(messages[i])); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		found, gotMetas, got := read(t, b.String(), mbox.Auto)
		if found != dialect {
			t.Errorf("%v: found out as %v", dialect, found)
		}
		if !reflect.DeepEqual(got, messages) {
			t.Errorf("%v: messages differ: %.300q", dialect, got)
		}
		if !reflect.DeepEqual(gotMetas, metas) {
			t.Errorf("%v: got %+v, want %+v", dialect, gotMetas, metas)
		}
	}
}

// TestReaderIsBounded reads a file with a line that is larger than what may be in memory.
func TestReaderIsBounded(t *testing.T) {
	const size = 16 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := io.NewSectionReader(wide{}, 0, size)
	f, err := mbox.Open(r, size, mbox.Auto)
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Next()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, m.Open()); err != nil || n < size-100 {
		t.Errorf("read %d octets, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > size/8 {
		t.Errorf("%d octets of memory for %d", n, size)
	}
}

// wide is a message of one line.
type wide struct{}

func (wide) ReadAt(p []byte, at int64) (int, error) {
	head := from + "A: 1\n\n"
	for i := range p {
		p[i] = 'x'
		if at+int64(i) < int64(len(head)) {
			p[i] = head[at+int64(i)]
		}
	}
	return len(p), nil
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(from+"A: 1\nContent-Length: 5\n\n>From\n\n"+from+"\n"), uint8(0))
	f.Add([]byte(from+"Status: R\r\n b\r\n\r\n>>From \r\n"), uint8(2))
	f.Add([]byte(">From \n\nFrom \nContent-Length: 9223372036854775807\n\n"), uint8(4))
	f.Fuzz(func(t *testing.T, file []byte, d uint8) {
		m, err := mbox.Open(bytes.NewReader(file), int64(len(file)), mbox.Dialect(d%5))
		if err != nil {
			return
		}
		var all int64
		for last := int64(-1); ; {
			msg, err := m.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if msg.Offset <= last || msg.Stored() < 0 || m.Offset() <= msg.Offset {
				t.Fatalf("message at %d behind %d, of %d octets, then %d", msg.Offset, last, msg.Stored(), m.Offset())
			}
			last = msg.Offset
			all += msg.Stored()
			if n, err := io.Copy(io.Discard, msg.Open()); err != nil || n > 2*msg.Stored() {
				t.Fatalf("%d octets of %d, %v", n, msg.Stored(), err)
			}
		}
		if all > int64(len(file)) {
			t.Fatalf("%d octets of messages in %d", all, len(file))
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	for _, m := range messages {
		f.Add(m, uint8(0))
	}
	f.Fuzz(func(t *testing.T, body string, d uint8) {
		dialect := []mbox.Dialect{mbox.RD, mbox.CL2}[d%2]
		body = strings.ReplaceAll(strings.ReplaceAll(body, "\r", ""), "\n", "\r\n")
		if dialect == mbox.RD && !strings.HasSuffix(body, "\n") {
			body += "\r\n"
		}
		message := "Subject: x\r\n\r\n" + body
		var b bytes.Buffer
		w := mbox.NewWriter(&b, dialect)
		for i := range 2 {
			if err := w.Write(&mbox.Meta{Sender: "a@b", Received: time.Unix(int64(i), 0)}, strings.NewReader(message)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, _, got := read(t, b.String(), dialect); len(got) != 2 || got[0] != message || got[1] != message {
			t.Fatalf("%v: got %q, want %q", dialect, got, message)
		}
	})
}
