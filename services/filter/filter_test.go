package filter

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/internal/rpc"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = `
good.example.com.        60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.good.example.com. 60 IN TXT "v=DMARC1; p=reject"
quar.example.net.        60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.quar.example.net. 60 IN TXT "v=DMARC1; p=quarantine"
none.example.net.        60 IN TXT "v=spf1 ip4:192.0.2.1 ~all"
_dmarc.none.example.net. 60 IN TXT "v=DMARC1; p=none"
bare.example.net.        60 IN A   192.0.2.1
`

// farm is a filter with a DNS server, called over gRPC within the process.
type farm struct {
	t       testing.TB
	dns     *dnstest.Server
	service *Service
	client  filterv1.FilterClient // over gRPC
	direct  filterv1.FilterClient
	resolve *resolve.Resolver
	bus     *fakeBus
	bodies  *fakeBodies
}

func start(t testing.TB, change func(*Config)) *farm {
	t.Helper()
	f := &farm{t: t, dns: dnstest.Start(t, zone), bus: &fakeBus{}, bodies: newFakeBodies(t)}
	var err error
	f.resolve, err = resolve.New(resolve.Config{Servers: []string{f.dns.Addr()}, Timeout: 5 * time.Second, Attempts: 1}, resolve.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{AuthservID: "mx.example.org"}
	if change != nil {
		change(&cfg)
	}
	f.service, err = New(cfg, Deps{
		Bus: f.bus, Bodies: f.bodies, Resolve: f.resolve, Trace: obs.NoTrace{}, Log: slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	f.service.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); f.resolve.Close() })
	f.client, f.direct = filterv1.NewFilterClient(conn), f.service.Direct()
	return f
}

func env(from, client string) *mailv1.Envelope {
	id := envelope.NewQueueID(time.Now())
	return &mailv1.Envelope{QueueId: id[:], ReversePath: from, Client: &mailv1.Client{Address: client, Helo: "client.example.com"}}
}

// check sends a message in pieces of size octets, over gRPC and directly, and wants the same verdict.
func (f *farm) check(start *filterv1.CheckStart, msg string, size int) *mailv1.Verdict {
	f.t.Helper()
	v, err := tryCheck(f.t.Context(), f.client, start, msg, size)
	if err != nil {
		f.t.Fatal(err)
	}
	direct, err := tryCheck(f.t.Context(), f.direct, start, msg, size)
	if err != nil || !proto.Equal(v, direct) {
		f.t.Fatalf("over gRPC the verdict is %v, directly %v, %v", v, direct, err)
	}
	return v
}

func tryCheck(ctx context.Context, client filterv1.FilterClient, start *filterv1.CheckStart, msg string, size int) (*mailv1.Verdict, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := client.Check(ctx)
	if err != nil {
		return nil, err
	}
	s.Send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Start{Start: start}})
	for len(msg) > 0 {
		n := min(size, len(msg))
		if err := s.Send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Data{Data: []byte(msg[:n])}}); err != nil && err != io.EOF {
			return nil, err
		}
		msg = msg[n:]
	}
	resp, err := s.CloseAndRecv()
	return resp.GetVerdict(), err
}

func names(v *mailv1.Verdict) string {
	var s []string
	for _, r := range v.GetReasons() {
		s = append(s, r.Name)
	}
	return strings.Join(s, " ")
}

// shown is the message as a reader sees it.
func shown(msg string, o *mailv1.Overlay) string {
	var b strings.Builder
	b.Write(o.GetPrefix())
	pos := int64(0)
	for _, c := range o.GetCuts() {
		b.WriteString(msg[pos:c.Offset])
		pos = c.Offset + c.Length
	}
	return b.String() + msg[pos:]
}

func plain(from string) string {
	return "From: Alice <" + from + ">\r\nTo: bob@example.org\r\nSubject: hello\r\nDate: " + time.Now().Format(time.RFC1123Z) +
		"\r\nMessage-ID: <1@example.com>\r\n\r\nHello Bob,\r\nhow are you?\r\n"
}

const (
	accept     = mailv1.Action_ACTION_ACCEPT
	junk       = mailv1.Action_ACTION_JUNK
	reject     = mailv1.Action_ACTION_REJECT
	quarantine = mailv1.Action_ACTION_QUARANTINE
)

func TestVerdicts(t *testing.T) {
	good := plain("alice@good.example.com")
	for _, row := range []struct {
		name, from, client, msg string
		change                  func(*Config)
		action                  mailv1.Action
		reasons                 string
	}{
		{"good mail", "alice@good.example.com", "192.0.2.1", good, nil, accept, "SPF_PASS DKIM_NONE DMARC_PASS"},
		{"SPF and DMARC fail, policy reject", "alice@good.example.com", "198.51.100.1", good, nil, junk, "SPF_FAIL DKIM_NONE DMARC_REJECT"},
		{"the same, rejecting", "alice@good.example.com", "198.51.100.1", good,
			func(c *Config) { c.DMARCReject = "reject" }, reject, "SPF_FAIL DKIM_NONE DMARC_REJECT"},
		{"the same, whatever the threshold", "alice@good.example.com", "198.51.100.1", good,
			func(c *Config) { c.JunkAt = 500 }, junk, "SPF_FAIL DKIM_NONE DMARC_REJECT"},
		{"the same, left to the score", "alice@good.example.com", "198.51.100.1", good,
			func(c *Config) { c.JunkAt, c.DMARCReject = 500, "score" }, accept, "SPF_FAIL DKIM_NONE DMARC_REJECT"},
		{"policy quarantine", "x@bare.example.net", "192.0.2.1", plain("a@quar.example.net"), nil, junk, "SPF_NONE DKIM_NONE DMARC_QUARANTINE"},
		{"policy none", "a@none.example.net", "198.51.100.1", plain("a@none.example.net"), nil, accept, "SPF_SOFTFAIL DKIM_NONE DMARC_FAIL"},
		{"nothing published", "a@bare.example.net", "198.51.100.1", plain("a@bare.example.net"), nil, accept, "SPF_NONE DKIM_NONE DMARC_NONE"},
		{"GTUBE", "alice@good.example.com", "192.0.2.1", good + string(gtube) + "\r\n", nil, junk, "SPF_PASS DKIM_NONE DMARC_PASS GTUBE"},
		{"GTUBE, rejecting", "alice@good.example.com", "192.0.2.1", good + string(gtube) + "\r\n",
			func(c *Config) { c.RejectAt = 100 }, reject, "SPF_PASS DKIM_NONE DMARC_PASS GTUBE"},
		{"GTUBE in the header is no test", "alice@good.example.com", "192.0.2.1", "X-Test: " + string(gtube) + "\r\n" + good, nil, accept, "SPF_PASS DKIM_NONE DMARC_PASS"},
		{"never junk", "alice@good.example.com", "192.0.2.1", good + string(gtube) + "\r\n",
			func(c *Config) { c.JunkAt = -1 }, accept, "SPF_PASS DKIM_NONE DMARC_PASS GTUBE"},
		{"a score changed", "a@none.example.net", "198.51.100.1", plain("a@none.example.net"),
			func(c *Config) { c.Scores = map[string]float64{"SPF_SOFTFAIL": 7} }, junk, "SPF_SOFTFAIL DKIM_NONE DMARC_FAIL"},
		{"a client that says nothing", "alice@good.example.com", "127.0.0.1", good,
			func(c *Config) { c.SkipNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }, accept, "CLIENT_SKIPPED DKIM_NONE"},
		{"no client's address", "alice@good.example.com", "", good, nil, accept, "CLIENT_SKIPPED DKIM_NONE"},
		{"null reverse-path", "", "192.0.2.1", plain("mailer-daemon@bare.example.net"), nil, accept, "SPF_NONE DKIM_NONE DMARC_NONE"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, row.change)
			v := f.check(&filterv1.CheckStart{Envelope: env(row.from, row.client)}, row.msg, 1000)
			if v.Action != row.action || names(v) != row.reasons || !v.InDialogue {
				t.Errorf("got %v for %s (score %v); want %v for %s", v.Action, names(v), v.Score, row.action, row.reasons)
			}
			if refused := strings.HasPrefix(v.Reply, "550 5.7.1 "); refused != (row.action == reject) {
				t.Errorf("reply %q with action %v", v.Reply, v.Action)
			}
		})
	}
}

func TestTrustedMailIsNotAuthenticated(t *testing.T) {
	f := start(t, nil)
	e := env("alice@good.example.com", "198.51.100.1")
	e.Client.Account = "alice@good.example.com"
	msg := "From: alice@good.example.com\r\nAuthentication-Results: mx.example.org; auth=pass smtp.auth=ceo\r\n\r\nbody\r\n"
	v := f.check(&filterv1.CheckStart{Envelope: e, Trusted: true}, msg, 10)
	if v.Action != accept || names(v) != "TRUSTED FORGED_FIELDS" || f.dns.Queries() != 0 {
		t.Errorf("got %v for %s, %d queries; want accept for TRUSTED FORGED_FIELDS, none", v.Action, names(v), f.dns.Queries())
	}
	want := "Authentication-Results: mx.example.org;\r\n\tauth=pass\r\nFrom: alice@good.example.com\r\n\r\nbody\r\n"
	if got := shown(msg, v.Overlay); got != want {
		t.Errorf("readers see\n%q, want\n%q", got, want)
	}
	v = f.check(&filterv1.CheckStart{Envelope: e, Trusted: true}, msg+string(gtube), 10)
	if v.Action != junk || !strings.Contains(string(v.Overlay.Prefix), "X-Spam-Flag: YES") {
		t.Errorf("spam by an account of ours: got %v, %q", v.Action, v.Overlay.Prefix)
	}
}

func TestWhatReadersSee(t *testing.T) {
	f := start(t, nil)
	msg := "X-Spam-Flag: NO\r\nAuthentication-Results: mx.example.org; dkim=pass header.d=good.example.com\r\n" + plain("alice@good.example.com")
	v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "198.51.100.1")}, msg, 7)
	want := "Authentication-Results: mx.example.org;\r\n\tspf=fail smtp.mailfrom=alice@good.example.com;\r\n\tdkim=none;\r\n" +
		"\tdmarc=fail header.from=good.example.com policy.dmarc=reject\r\n" +
		"X-Spam-Flag: YES\r\nX-Spam-Score: 11.0\r\nX-Spam-Status: Yes, score=11.0 required=6.0\r\n\ttests=SPF_FAIL,DKIM_NONE,DMARC_REJECT,FORGED_FIELDS\r\n" +
		plain("alice@good.example.com")
	if got := shown(msg, v.Overlay); got != want {
		t.Errorf("readers see\n%s\nwant\n%s", got, want)
	}
}

func TestGTUBEAtEveryBorder(t *testing.T) {
	msg := "some text " + string(gtube) + " more"
	for size := 1; size <= len(msg); size++ {
		var f gtubeFinder
		for p := msg; len(p) > 0; {
			n := min(size, len(p))
			f.write([]byte(p[:n]))
			p = p[n:]
		}
		if !f.found {
			t.Errorf("not found in pieces of %d", size)
		}
	}
	for cut := range len(msg) + 1 {
		var f gtubeFinder
		f.write([]byte(msg[:cut]))
		f.write(nil)
		f.write([]byte(msg[cut:]))
		if !f.found {
			t.Errorf("not found when cut at %d", cut)
		}
	}
	var f gtubeFinder
	for range 3 {
		f.write(gtube[:40])
		f.write(gtube[41:])
	}
	if f.found {
		t.Error("found although an octet is missing")
	}
}

func TestHeaderSanity(t *testing.T) {
	const id, date, from = "Message-ID: <1@x>\r\n", "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n", "From: a@bare.example.net\r\n"
	for _, row := range []struct{ name, header, want string }{
		{"sound", from + date + id, ""},
		{"no header at all", "", "MISSING_FROM MISSING_DATE MISSING_MESSAGE_ID"},
		{"several of each", from + from + date + date + id + id + "Subject: a\r\nsubject : b\r\n", "SEVERAL_FROM SEVERAL_DATE SEVERAL_MESSAGE_ID SEVERAL_SUBJECT"},
		{"From without address", "From: nobody\r\n" + date + id, "BAD_FROM"},
		{"date is none", from + "Date: soon\r\n" + id, "BAD_DATE"},
		{"date is too long", from + "Date: " + strings.Repeat("1", 5000) + "\r\n" + id, "LONG_HEADER_LINE BAD_DATE"},
		{"date in the future", from + "Date: " + time.Now().Add(48*time.Hour).Format(time.RFC1123Z) + "\r\n" + id, "DATE_IN_FUTURE"},
		{"date tomorrow is a wrong time zone", from + "Date: " + time.Now().Add(20*time.Hour).Format(time.RFC1123Z) + "\r\n" + id, ""},
		{"date with a comment", from + "Date: Mon, 1 Jan 2024 00:00:00 +0000 (UTC)\r\n" + id, ""},
		{"octets above 127", from + date + id + "Subject: \xfc\r\n", "RAW_8BIT_HEADER"},
		{"lines that are no fields", from + date + id + "nonsense\r\n", "BAD_HEADER_LINE"},
		{"leading white space", " x\r\n" + from + date + id, "FORGED_FIELDS BAD_HEADER_LINE"},
		{"very long", from + date + id + "X: " + strings.Repeat("x", 300<<10) + "\r\n", "LONG_HEADER LONG_HEADER_LINE"},
		{"From behind the limit", "X: " + strings.Repeat("x", 300<<10) + "\r\n" + from + date + id, "LONG_HEADER LONG_HEADER_LINE"},
		{"very many", from + date + id + strings.Repeat("a:\r\n", 10_000), "LONG_HEADER"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, nil)
			v := f.check(&filterv1.CheckStart{Envelope: env("a@bare.example.net", "192.0.2.1")}, row.header+"\r\nbody\r\n", 1000)
			var got []string
			for _, r := range v.Reasons {
				if !strings.HasPrefix(r.Name, "SPF") && !strings.HasPrefix(r.Name, "DKIM") && !strings.HasPrefix(r.Name, "DMARC") {
					got = append(got, r.Name)
				}
			}
			if s := strings.Join(got, " "); !sameWords(s, row.want) {
				t.Errorf("got %q, want %q", s, row.want)
			}
		})
	}
}

func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestMessageWithoutEmptyLine(t *testing.T) {
	f := start(t, nil)
	v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "192.0.2.1")}, "From: a@good.example.com\r\nSubject: x", 5)
	if !strings.HasPrefix(names(v), "SPF_PASS DKIM_NONE DMARC_PASS") {
		t.Errorf("got %s", names(v))
	}
	if v = f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "192.0.2.1")}, "", 5); v.Action != accept {
		t.Errorf("empty message: got %v for %s", v.Action, names(v))
	}
}

func TestDNSOutageIsTemperrorInTime(t *testing.T) {
	for _, row := range []struct {
		name   string
		behave dnstest.Behaviour
	}{{"silent", dnstest.Drop}, {"failing", dnstest.ServFail}, {"refusing", dnstest.Refuse}} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.Deadline = 100 * time.Millisecond })
			f.dns.Behave("", row.behave)
			msg := "DKIM-Signature: v=1; a=rsa-sha256; d=good.example.com; s=x; h=from; bh=AAAA; b=AAAA\r\n" + plain("alice@good.example.com")
			began := time.Now()
			v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "198.51.100.1")}, msg, 1000)
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("it took %v with a deadline of 100ms", d)
			}
			if v.Action != accept || names(v) != "SPF_TEMPERROR DKIM_TEMPERROR DMARC_TEMPERROR" {
				t.Errorf("got %v for %s", v.Action, names(v))
			}
			for _, want := range []string{"spf=temperror", "dkim=temperror", "dmarc=temperror"} {
				if !strings.Contains(string(v.Overlay.Prefix), want) {
					t.Errorf("%s is not in %q", want, v.Overlay.Prefix)
				}
			}
		})
	}
}

func TestCallersDeadlineIsKept(t *testing.T) {
	f := start(t, func(c *Config) { c.Deadline = 30 * time.Second })
	f.dns.Behave("", dnstest.Drop)
	for name, client := range map[string]filterv1.FilterClient{"gRPC": f.client, "direct": f.direct} {
		// A busy machine may use up the margin once in a while, but not again and again.
		var v *mailv1.Verdict
		var err error
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), answerMargin+300*time.Millisecond)
			v, err = tryCheck(ctx, client, &filterv1.CheckStart{Envelope: env("alice@good.example.com", "198.51.100.1")}, plain("alice@good.example.com"), 1000)
			cancel()
			if status.Code(err) != codes.DeadlineExceeded {
				break
			}
		}
		if err != nil || !strings.HasPrefix(names(v), "SPF_TEMPERROR") {
			t.Errorf("%s: got %s, %v; want a verdict with what there is before the caller gives up", name, names(v), err)
		}
	}
}

func TestWhatIsThereCountsAtTheDeadline(t *testing.T) {
	f := start(t, func(c *Config) { c.Deadline = 200 * time.Millisecond })
	release := f.dns.Hold("_dmarc.good.example.com")
	defer release()
	v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "198.51.100.1")}, plain("alice@good.example.com"), 1000)
	if got, want := names(v), "SPF_FAIL DKIM_NONE DMARC_TEMPERROR"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBadCalls(t *testing.T) {
	f := start(t, nil)
	data := &filterv1.CheckRequest{Part: &filterv1.CheckRequest_Data{Data: []byte("x")}}
	begin := &filterv1.CheckRequest{Part: &filterv1.CheckRequest_Start{Start: &filterv1.CheckStart{}}}
	for name, reqs := range map[string][]*filterv1.CheckRequest{"nothing": nil, "data first": {data}, "two starts": {begin, begin}, "an empty part": {begin, {}}} {
		for _, client := range []filterv1.FilterClient{f.client, f.direct} {
			s, err := client.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range reqs {
				s.Send(r)
			}
			if _, err := s.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: got %v, want InvalidArgument", name, err)
			}
		}
	}
	// A start without an envelope is judged as far as it goes.
	if v := f.check(&filterv1.CheckStart{}, plain("a@bare.example.net"), 100); v.Action != accept {
		t.Errorf("got %v", v)
	}
}

func TestAbandonedCallLeavesNothing(t *testing.T) {
	f := start(t, nil)
	release := f.dns.Hold("")
	for name, client := range map[string]filterv1.FilterClient{"gRPC": f.client, "direct": f.direct} {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := client.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Start{Start: &filterv1.CheckStart{Envelope: env("alice@good.example.com", "192.0.2.1")}}})
		s.Send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Data{Data: []byte(plain("alice@good.example.com"))}})
		cancel()
		if _, err := s.CloseAndRecv(); status.Code(err) != codes.Canceled {
			t.Errorf("%s: got %v, want Canceled", name, err)
		}
	}
	release() // that no goroutine is left is for goleak to say
}

func TestDirectCallThatPanics(t *testing.T) {
	f := start(t, nil)
	f.service.deps.Now = func() time.Time { panic("clock") }
	_, err := tryCheck(t.Context(), f.direct, &filterv1.CheckStart{Envelope: env("", "192.0.2.1")}, plain("alice@good.example.com"), 1000)
	if status.Code(err) != codes.Internal {
		t.Errorf("got %v, want Internal", err)
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := New(Config{AuthservID: "no name", OwnIDs: []string{"a b"}, Deadline: 1, RejectAt: -1, DMARCReject: "x", DMARCQuarantine: "y",
		LateReject: "z", Scores: map[string]float64{"NO_SUCH": 1}, Batch: -1}, Deps{})
	for _, key := range []string{"authserv_id", "own_ids", "deadline", "reject_at", "dmarc_reject", "dmarc_quarantine", "late_reject", "NO_SUCH", "batch"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not named in: %v", key, err)
		}
	}
}

// Whatever a message is, it gets a verdict, and what readers see begins with our fields and has no forged ones.
func FuzzCheck(f *testing.F) {
	fm := start(f, func(c *Config) { c.Deadline = 10 * time.Millisecond })
	f.Add("From: a@good.example.com\r\n\r\nbody", 3)
	f.Add(" ; dkim=pass\r\nAuthentication-Results : (x) mx.example.org; x\r\n\r\n", 1)
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=x; s=y; h=from; bh=; b=\r\n\r\n", 2)
	f.Fuzz(func(t *testing.T, msg string, size int) {
		if size < 1 {
			return
		}
		e := fm.service.begin(t.Context(), env("a@good.example.com", "192.0.2.1"), false)
		defer e.end()
		for p := msg; len(p) > 0; {
			n := min(size, len(p))
			e.write([]byte(p[:n]))
			p = p[n:]
		}
		v := e.finish(stageDialogue)
		if v.Action == mailv1.Action_ACTION_UNSPECIFIED || !strings.HasPrefix(shown(msg, v.Overlay), "Authentication-Results: mx.example.org;") {
			t.Errorf("%q: got %v", msg, v)
		}
		seen := fm.service.begin(t.Context(), env("", ""), true)
		defer seen.end()
		rest := shown(msg, v.Overlay)[len(v.Overlay.Prefix):]
		seen.write([]byte(rest))
		if len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') && len(v.Overlay.Cuts) == 0 {
			t.Errorf("%q continues our fields", rest)
		}
	})
}

func BenchmarkCheckPlain4KiB(b *testing.B) {
	f := start(b, nil)
	msg := plain("alice@good.example.com") + strings.Repeat("Some text of a usual line in a usual mail, more or less.\r\n", 64)
	start := &filterv1.CheckStart{Envelope: env("alice@good.example.com", "192.0.2.1")}
	run := func(b *testing.B, check func() *mailv1.Verdict) {
		b.ReportAllocs()
		b.SetBytes(int64(len(msg)))
		for b.Loop() {
			if v := check(); v.Action != accept {
				b.Fatal(v)
			}
		}
	}
	call := func(b *testing.B, client filterv1.FilterClient) {
		run(b, func() *mailv1.Verdict {
			v, err := tryCheck(b.Context(), client, start, msg, 32<<10)
			if err != nil {
				b.Fatal(err)
			}
			return v
		})
	}
	b.Run("grpc", func(b *testing.B) { call(b, f.client) })
	b.Run("direct", func(b *testing.B) { call(b, f.direct) })
}
