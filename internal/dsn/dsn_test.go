package dsn_test

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/dsn"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/message"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	arrival = time.Date(2025, 7, 1, 8, 52, 37, 0, time.UTC)
	attempt = time.Date(2025, 7, 1, 10, 0, 0, 0, time.FixedZone("", 7200))
)

const original = "Received: from x by y\r\n\tfor z\r\nFrom: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\n"

// base is a report with what all have.
func base(recipients ...dsn.Recipient) dsn.Report {
	parent, err := envelope.ParseQueueID("06DZAMPVE0WJ7Z3V5K9Q2R8T4M")
	if err != nil {
		panic(err)
	}
	return dsn.Report{
		QueueID: envelope.ChildID(parent, 0, 0), Parent: parent, Host: "mail.example.org", To: "alice@example.org",
		Time: arrival.Add(time.Hour), Arrival: arrival, Recipients: recipients, Header: []byte(original),
	}
}

var failed = dsn.Recipient{
	Final: "bob@example.net", Action: dsn.Failed, Status: "5.1.1", RemoteMTA: "mx.example.net",
	Diagnostic: "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in virtual mailbox table", LastAttempt: attempt,
}

// cases are the reports of the golden files.
func cases() map[string]dsn.Report {
	all := map[string]dsn.Report{"failed": base(failed)}

	r := base(failed, dsn.Recipient{
		Final: "carol@example.net", Original: "rfc822;sales@example.org", Action: dsn.Failed, Status: "5.2.2", Diagnostic: "552 5.2.2 mailbox full",
	}, dsn.Recipient{
		Final: "dave@example.com", Action: dsn.Delayed, Status: "4.4.1", Diagnostic: "connection timed out", LastAttempt: attempt,
		WillRetryUntil: arrival.Add(5 * 24 * time.Hour),
	})
	r.EnvID = "QQ314159"
	r.Full, r.Message = true, []byte(original+"Let us have lunch.\r\n")
	all["failed-full"] = r

	r = base(dsn.Recipient{
		Final: "dave@example.com", Action: dsn.Delayed, Status: "4.4.1", RemoteMTA: "mx.example.com", Diagnostic: "421 too\r\nbusy",
		LastAttempt: attempt, WillRetryUntil: arrival.Add(5 * 24 * time.Hour),
	})
	r.Full, r.Message = true, []byte(original+"Let us have lunch.\r\n")
	all["delayed"] = r

	all["success"] = base(
		dsn.Recipient{Final: "bob@example.org", Action: dsn.Delivered, Status: "2.1.5", Diagnostic: "250 2.1.5 delivered", LastAttempt: attempt},
		dsn.Recipient{Final: "carol@example.net", Action: dsn.Relayed, Status: "2.1.9", RemoteMTA: "mx.example.net", LastAttempt: attempt},
		dsn.Recipient{Final: "list@example.org", Action: dsn.Expanded, Status: "2.1.5"},
	)

	r = base(dsn.Recipient{Final: "bøb@exämple.net", Original: "utf-8;bøb@exämple.net", Action: dsn.Failed, Status: "5.6.7", Diagnostic: "553 5.6.7 no SMTPUTF8"})
	r.To, r.SMTPUTF8 = "älice@example.org", true
	r.Header = []byte("From: Älice <älice@example.org>\r\nSubject: grüße\r\n\r\n")
	all["smtputf8"] = r

	r = base(dsn.Recipient{Final: "bøb@exämple.net", Original: "rfc822;bøb@exämple.net", Action: dsn.Failed, Status: "nonsense", Diagnostic: "553 nø"})
	all["not-smtputf8"] = r

	r = base(failed)
	r.Full, r.Message = true, []byte("From: a@b\nSubject: LF only\n\nf\xfcr dich, \x00 ohne Ende")
	all["eight-bit"] = r
	return all
}

func TestGolden(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			got := dsn.Build(r)
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
			}
			if again := dsn.Build(r); !bytes.Equal(again, got) {
				t.Errorf("%s, written again:\n%s\nwant:\n%s", name, again, got)
			}
		})
	}
}

// parsed is a DSN as the standard library reads it.
type parsed struct {
	header  mail.Header
	types   []string
	bodies  []string
	message textproto.MIMEHeader
	each    []textproto.MIMEHeader
}

func parse(t testing.TB, b []byte) parsed {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" {
		t.Fatalf("%s, %v", mediaType, err)
	}
	p := parsed{header: m.Header}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, b)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		p.types = append(p.types, part.Header.Get("Content-Type"))
		p.bodies = append(p.bodies, string(body))
	}
	if len(p.types) < 2 || p.types[1] != "message/"+params["report-type"] {
		t.Fatalf("parts %q, report-type %q", p.types, params["report-type"])
	}
	status := textproto.NewReader(bufio.NewReader(strings.NewReader(p.bodies[1] + "\r\n\r\n")))
	if p.message, err = status.ReadMIMEHeader(); err != nil {
		t.Fatalf("%v in\n%s", err, p.bodies[1])
	}
	for {
		h, err := status.ReadMIMEHeader()
		if len(h) == 0 {
			break
		}
		p.each = append(p.each, h)
		if err != nil {
			break
		}
	}
	return p
}

func TestParseBack(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			b := dsn.Build(r)
			p := parse(t, b)
			to, err := (&mail.AddressParser{}).Parse(p.header.Get("To"))
			if err != nil || to.Address != string(r.To) {
				t.Errorf("to %v, %v", to, err)
			}
			if date, err := p.header.Date(); err != nil || !date.Equal(r.Time) {
				t.Errorf("date %v, %v", date, err)
			}
			if got := p.header.Get("Auto-Submitted"); got != "auto-replied" {
				t.Errorf("auto-submitted %q", got)
			}
			if got := p.message.Get("Reporting-Mta"); got != "dns; mail.example.org" {
				t.Errorf("reporting-mta %q", got)
			}
			if got := p.message.Get("Original-Envelope-Id"); got != r.EnvID {
				t.Errorf("envelope id %q", got)
			}
			if len(p.each) != len(r.Recipients) {
				t.Fatalf("%d recipients, want %d, in\n%s", len(p.each), len(r.Recipients), p.bodies[1])
			}
			for i, want := range r.Recipients {
				h := p.each[i]
				if h.Get("Action") != string(want.Action) || (h.Get("Remote-Mta") != "") != (want.RemoteMTA != "") {
					t.Errorf("recipient %d: %v", i, h)
				}
				if (h.Get("Will-Retry-Until") != "") != (want.Action == dsn.Delayed) {
					t.Errorf("recipient %d: retry until %q", i, h.Get("Will-Retry-Until"))
				}
				if addr := strings.TrimPrefix(h.Get("Final-Recipient"), "rfc822; "); !strings.HasPrefix(addr, "utf-8; ") && addr != string(want.Final) {
					t.Errorf("recipient %d: %q", i, addr)
				}
				if !strings.Contains(p.bodies[0], string(want.Final)) && name != "not-smtputf8" {
					t.Errorf("recipient %d is not named in\n%s", i, p.bodies[0])
				}
			}
			checkOctets(t, r, b)
		})
	}
}

// checkOctets sees to what every DSN keeps: CRLF only, short lines of ours, 7 bits where the original has no more.
func checkOctets(t testing.TB, r dsn.Report, b []byte) {
	t.Helper()
	var x message.Indexer
	x.Write(b)
	ix, _ := x.Finish()
	if ix.Flags&(message.BareCR|message.BareLF|message.NUL) != 0 {
		t.Errorf("flags %#x in %q", ix.Flags, b)
	}
	if ix.Flags&message.EightBit != 0 && !r.SMTPUTF8 {
		for _, s := range [][]byte{r.Header, r.Message} {
			for _, c := range s {
				if c >= 0x80 {
					return
				}
			}
		}
		t.Errorf("8 bits in %q", b)
	}
	if got, want := ix.Flags&message.EightBitHeader != 0, r.NeedsSMTPUTF8(); got && !want && r.SMTPUTF8 {
		t.Errorf("eight bits in a header, needs SMTPUTF8: %t\n%s", want, b)
	}
	if root := ix.Root(); !root.Is("multipart", "report") {
		t.Errorf("%s/%s in %q", root.Type, root.Subtype, b)
	}
}

func TestReturned(t *testing.T) {
	whole := []byte(original + "text\r\n")
	large := []byte(original + strings.Repeat("x", dsn.MaxReturned))
	longHeader := []byte(strings.Repeat("X-Field: some value\r\n folded\r\n", 10_000) + "\r\n")
	for _, tc := range []struct {
		name   string
		change func(*dsn.Report)
		want   string // media type, empty for none
		length int    // of the body at most
	}{
		{"header", func(r *dsn.Report) { r.Message = whole }, "text/rfc822-headers", len(original)},
		{"full", func(r *dsn.Report) { r.Message, r.Full = whole, true }, "message/rfc822", len(whole)},
		{"full, but not at hand", func(r *dsn.Report) { r.Full = true }, "text/rfc822-headers", len(original)},
		{"full, but too large", func(r *dsn.Report) { r.Message, r.Full = large, true }, "text/rfc822-headers", len(original)},
		{"full, but only delayed", func(r *dsn.Report) { r.Message, r.Full = whole, true; r.Recipients[0].Action = dsn.Delayed }, "text/rfc822-headers", len(original)},
		{"header of the whole", func(r *dsn.Report) { r.Header, r.Message = nil, whole }, "text/rfc822-headers", len(original)},
		{"long header", func(r *dsn.Report) { r.Header = longHeader }, "text/rfc822-headers", dsn.MaxReturnedHeader},
		{"no header", func(r *dsn.Report) { r.Header = nil }, "", 0},
		{"only an empty line", func(r *dsn.Report) { r.Header = []byte("\r\n") }, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := base(failed)
			tc.change(&r)
			p := parse(t, dsn.Build(r))
			if tc.want == "" {
				if len(p.types) != 2 {
					t.Errorf("parts %q", p.types)
				}
				return
			}
			if len(p.types) != 3 || p.types[2] != tc.want || len(p.bodies[2]) > tc.length || len(p.bodies[2]) < 20 {
				t.Fatalf("parts %q, %d octets, want %s of at most %d", p.types, len(p.bodies[2]), tc.want, tc.length)
			}
			if tc.name == "long header" && !strings.HasSuffix(p.bodies[2], "value\r\n folded\r\n") {
				t.Errorf("cut behind %q", p.bodies[2][len(p.bodies[2])-40:])
			}
		})
	}
}

// Whatever peers and senders say, it stays where it belongs.
func FuzzBuild(f *testing.F) {
	f.Add("bob@example.net", "rfc822;a@b", "550 no\r\nX: y\r\n\r\n--", "env", []byte(original), false, true)
	f.Add("\"a\r\nBcc: x\"@b", "utf-8;ü", "ü\x00", "\r\n\r\n", []byte("\x00:\r\r\n\n--=_"), true, false)
	f.Fuzz(func(t *testing.T, final, orcpt, diagnostic, envid string, msg []byte, utf8, full bool) {
		r := base(dsn.Recipient{
			Final: envelope.ForwardPath(final), Original: orcpt, Action: dsn.Failed, Status: orcpt, RemoteMTA: envid, Diagnostic: diagnostic,
		}, failed)
		r.EnvID, r.Header, r.Message, r.SMTPUTF8, r.Full = envid, nil, msg, utf8, full
		b := dsn.Build(r)
		var x message.Indexer
		x.Write(b)
		ix, _ := x.Finish()
		for _, field := range ix.Fields {
			switch field.Name {
			case "from", "to", "subject", "date", "message-id", "in-reply-to", "references", "auto-submitted", "mime-version", "content-type",
				"content-transfer-encoding":
			default:
				t.Fatalf("field %q in %q", field.Name, b)
			}
		}
		var top []string
		ix.Walk(func(path []int, p *message.Part) bool {
			if len(path) == 1 {
				top = append(top, p.Type+"/"+p.Subtype)
			}
			return len(path) == 0
		})
		if len(top) < 2 || len(top) > 3 {
			t.Fatalf("parts %q in %q", top, b)
		}
		status, err := ix.Part([]int{2})
		if err != nil {
			t.Fatal(err)
		}
		groups := strings.Split(string(b[status.Body.Offset:status.Body.End()]), "\r\n\r\n")
		if len(groups) != 3 {
			t.Fatalf("%d groups in %q", len(groups), groups)
		}
		checkOctets(t, r, b)
	})
}

func BenchmarkBuild(b *testing.B) {
	r := base(failed)
	b.ReportAllocs()
	for b.Loop() {
		dsn.Build(r)
	}
}
