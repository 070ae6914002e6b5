package imap

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

const fakeMessage = "From: a@example.net\r\nSubject: =?utf-8?q?=C3=BC?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n" +
	"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"

const prelude = "1 LOGIN a b\r\n2 SELECT INBOX\r\n"

// sound tells what is wrong with what a server said: lines end in CRLF, begin as they must, and literals are whole.
func sound(said string) error {
	rest := []byte(said)
	continued := false
	for len(rest) > 0 {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return fmt.Errorf("%q does not end in CRLF", rest)
		}
		if bytes.ContainsAny(line, "\r\n\x00") {
			return fmt.Errorf("%q holds a control octet", line)
		}
		if !continued && !bytes.Contains(line, []byte(" ")) {
			return fmt.Errorf("%q begins no response", line)
		}
		rest, continued = after, false
		if open := bytes.LastIndexByte(line, '{'); open >= 0 && line[len(line)-1] == '}' {
			n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
			if err == nil {
				if n > len(rest) {
					return fmt.Errorf("literal of %d with %d left", n, len(rest))
				}
				rest, continued = rest[n:], true
			}
		}
	}
	return nil
}

// panics is how many there were.
func panics(t testing.TB, svc *Service) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(svc.metrics.panics); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// FuzzConnection: whatever a client sends, the connection ends when the client has said all, nothing panics, and what the
// server says is sound.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{
		"a FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE BODY[] BODY[2.HEADER] BINARY[3] BODY[HEADER.FIELDS (Subject)]<3.4>)\r\n",
		"a STORE 1 +FLAGS (\\Deleted $X)\r\nb EXPUNGE\r\nc FETCH 1 FLAGS\r\nd LOGOUT\r\n",
		"a SEARCH RETURN (SAVE ALL) OR TEXT one SUBJECT \"ü\"\r\nb COPY $ Archive\r\nc UID MOVE 1:* Archive\r\nd NOOP\r\n",
		"a APPEND INBOX (\\Seen) {17+}\r\nSubject: 1\r\n\r\nx\r\n (\\Draft) {17+}\r\nSubject: 2\r\n\r\ny\r\n\r\nb IDLE\r\nDONE\r\n",
		"a LIST (SUBSCRIBED) \"\" (% *) RETURN (STATUS (MESSAGES))\r\nb LSUB \"\" *\r\nc CREATE x/y\r\nd RENAME x/y z\r\ne DELETE z\r\n",
		"a ENABLE IMAP4rev2 CONDSTORE UTF8=ACCEPT\r\nb SELECT Archive (CONDSTORE)\r\nc UID STORE 1:* (UNCHANGEDSINCE 3) FLAGS.SILENT ()\r\nd CLOSE\r\n",
		"a NONSENSE {5+}\r\nhello {3+}\r\nabc\r\nb UNSELECT\r\nc EXAMINE INBOX\r\nd UID FETCH 1:* (MODSEQ) (CHANGEDSINCE 1)\r\n",
		"a UID SEARCH CHARSET UTF-8 HEADER x {2}\r\nyz SENTSINCE 1-Jan-2000 LARGER 5 NOT DELETED\r\nb ID (\"a\" NIL)\r\nc NAMESPACE\r\nd STATUS INBOX (SIZE)\r\n",
		"a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (1 2 1:3 (1 1)))\r\nc UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED PARTIAL -1:-2)\r\nd CLOSE\r\n",
		"a ENABLE UIDONLY\r\nb UID FETCH 1:* FLAGS\r\nc FETCH 1 FLAGS\r\nd UIDBATCHES 500 1:2\r\ne UNAUTHENTICATE\r\nf LANGUAGE de en\r\n",
		"a NOTIFY SET STATUS (selected (MessageNew (FLAGS) MessageExpunge)) (subtree (a b) (MailboxName))\r\nb NOOP\r\nc NOTIFY NONE\r\n",
		"a COMPRESS DEFLATE\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 16<<10 {
			t.Skip()
		}
		svc := fakeService(t, newFakeStore(fakeMessage, "Subject: x\n\nbare\n", "", fakeMessage))
		said := converse(svc, prelude+string(in))
		if n := panics(t, svc); n != 0 {
			t.Fatalf("%q: panicked", in)
		}
		if err := sound(said); err != nil {
			t.Fatalf("%q: %v\n%q", in, err, said)
		}
		if !strings.Contains(said, "\r\n2 OK [READ-WRITE]") {
			t.Fatalf("%q: no SELECT in %q", in, said)
		}
		if n := svc.cache.Len(); n != 0 {
			t.Fatalf("%q: %d mailboxes are left open", in, n)
		}
		if n := len(svc.hub.accounts); n != 0 {
			t.Fatalf("%q: %d accounts are left watched", in, n)
		}
	})
}

// TestPanic: a panic of ours ends one connection, with BYE, and leaves nothing behind.
func TestPanic(t *testing.T) {
	store := newFakeStore(fakeMessage)
	store.fail = func(call string) error {
		if call == "Emails" {
			panic("broken")
		}
		return nil
	}
	svc := fakeService(t, store)
	said := converse(svc, prelude+"a FETCH 1 ENVELOPE\r\nb NOOP\r\n")
	if !strings.HasSuffix(said, "* BYE [SERVERBUG] internal error\r\n") {
		t.Errorf("got %q", said)
	}
	if panics(t, svc) != 1 || svc.cache.Len() != 0 {
		t.Errorf("%v panics, %d mailboxes left", panics(t, svc), svc.cache.Len())
	}
}

// TestFailures: what a client is told when another role fails, by call.
func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		call, command string
		code          codes.Code
		want          string
	}{
		{"List", "LIST \"\" *", codes.Unavailable, "a NO [UNAVAILABLE] "},
		{"Find", "STATUS INBOX (MESSAGES)", codes.Internal, "a NO [SERVERBUG] internal error"},
		{"Create", "CREATE x", codes.ResourceExhausted, "a NO [LIMIT] the account has too many mailboxes"},
		{"Rename", "RENAME Archive x", codes.ResourceExhausted, "a NO [LIMIT] the account has too many mailboxes"},
		{"Flag", "STORE 1 +FLAGS (x)", codes.FailedPrecondition, "a NO [LIMIT] 56 keywords are in use in this mailbox"},
		{"Flag", "FETCH 1 BODY[]<0.3>", codes.Unavailable, "a OK "},
		{"Copy", "COPY 1 Archive", codes.ResourceExhausted, "a NO [OVERQUOTA] "},
		{"Append", "APPEND INBOX {3+}\r\nabc", codes.Unavailable, "a NO [UNAVAILABLE] "},
		{"Emails", "FETCH 1 ENVELOPE", codes.DeadlineExceeded, "a NO [UNAVAILABLE] "},
		{"Emails", "SEARCH SUBJECT x", codes.Unavailable, "a NO [UNAVAILABLE] "},
		{"Open", "FETCH 1 BODY.PEEK[]", codes.DataLoss, "a NO [CORRUPTION] "},
		{"Open", "FETCH 1 BODY.PEEK[1]", codes.NotFound, "a NO [CORRUPTION] "},
		{"Open", "SEARCH TEXT x", codes.Unavailable, "a NO [UNAVAILABLE] "},
		{"Expunge", "CLOSE", codes.Unavailable, "a NO [UNAVAILABLE] "},
	} {
		t.Run(tc.call+" "+tc.code.String(), func(t *testing.T) {
			store := newFakeStore(fakeMessage)
			svc := fakeService(t, store)
			armed := false
			store.fail = func(call string) error {
				if call == "Find" && !armed && tc.call == "Find" {
					armed = true // SELECT's own
					return nil
				}
				if call == tc.call {
					return status.Error(tc.code, "secret detail")
				}
				return nil
			}
			said := converse(svc, prelude+"a "+tc.command+"\r\nb NOOP\r\n")
			if err := sound(said); err != nil {
				t.Error(err)
			}
			if !strings.Contains(said, "\r\n"+tc.want) || !strings.Contains(said, "\r\nb OK ") || strings.Contains(said, "secret") {
				t.Errorf("got %q, want %q", said, tc.want)
			}
		})
	}
}

// TestOldIndex: a part index of another version is made anew, and the answers are the same.
func TestOldIndex(t *testing.T) {
	const command = "a FETCH 1 (ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[2.HEADER] BODY.PEEK[HEADER.FIELDS (subject)] BINARY.PEEK[3])\r\n"
	want := converse(fakeService(t, newFakeStore(fakeMessage)), prelude+command)
	store := newFakeStore(fakeMessage)
	for _, e := range store.emails {
		e.PartIndex = append([]byte{0}, e.PartIndex[1:]...)
	}
	if got := converse(fakeService(t, store), prelude+command); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// nowhere takes everything.
type nowhere struct{ n int64 }

func (w *nowhere) Write(p []byte) (int, error) { w.n += int64(len(p)); return len(p), nil }

// BenchmarkFetchFlags is what one message of FETCH 1:* (UID FLAGS) costs, from packed columns to octets.
func BenchmarkFetchFlags(b *testing.B) {
	store := newFakeStore(make([]string, 5000)...)
	svc := fakeService(b, store)
	s := newSession(svc, &memConn{in: bytes.NewReader(nil)}, front.Peer{})
	s.account = 1
	n, err := s.mailbox("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	if err := s.enter(n, true); err != nil {
		b.Fatal(err)
	}
	out := &nowhere{}
	s.out = wire.NewWriter(out)
	for _, items := range [][]item{
		{named("UID"), named("FLAGS")},
		{named("UID"), named("FLAGS"), named("INTERNALDATE"), named("RFC822.SIZE"), named("MODSEQ")},
	} {
		b.Run(fmt.Sprint(len(items), " items"), func(b *testing.B) {
			f := &fetcher{s: s, items: items, needs: needsOf(items)}
			b.ReportAllocs()
			out.n = 0
			for b.Loop() {
				if err := s.sel.snap.Walk(s.sel.snap.All(), f.needs.columns, f.columns); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(out.n / int64(b.N))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/5000, "ns/message")
		})
	}
}
