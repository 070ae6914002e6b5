package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t testing.TB, zone string, change func(*resolve.Config, *resolve.Deps)) (*resolve.Resolver, *dnstest.Server) {
	t.Helper()
	srv := dnstest.Start(t, zone)
	cfg := resolve.Config{Servers: []string{srv.Addr()}, Timeout: 2 * time.Second, Attempts: 2}
	deps := resolve.Deps{}
	if change != nil {
		change(&cfg, &deps)
	}
	r, err := resolve.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, srv
}

const zone = `
example.org.          300 IN MX    10 mx1.example.org.
example.org.          300 IN MX    20 mx2.example.org.
example.org.          300 IN MX    10 mx3.Example.ORG.
example.org.          300 IN TXT   "v=spf1 " "mx -all"
example.org.          300 IN TXT   "quote \" back\\slash \200"
mx1.example.org.      300 IN A     192.0.2.1
mx1.example.org.      300 IN AAAA  2001:db8::1
mx2.example.org.      300 IN A     192.0.2.2
www.example.org.      300 IN CNAME web.example.org.
web.example.org.       30 IN CNAME mx1.example.org.
loop1.example.org.    300 IN CNAME loop2.example.org.
loop2.example.org.    300 IN CNAME loop1.example.org.
null.example.         300 IN MX    0 .
half-null.example.    300 IN MX    0 .
half-null.example.    300 IN MX    5 mx.half-null.example.
plain.example.        300 IN A     192.0.2.9
text.example.         300 IN TXT   "only text"
to-nowhere.example.   300 IN CNAME nowhere.example.
xn--mnchen-3ya.example. 300 IN MX  10 mx1.example.org.
1.2.0.192.in-addr.arpa. 300 IN PTR mx1.example.org.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 300 IN PTR mx1.example.org.
`

func TestLookups(t *testing.T) {
	r, _ := start(t, zone, nil)
	ctx := t.Context()
	text := func(records any, err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(records)
	}
	txt := func(n string) string { a, err := r.LookupTXT(ctx, n); return text(a.Records, err) }
	addr := func(n string) string { a, err := r.LookupAddr(ctx, n); return text(a.Records, err) }
	ptr := func(ip string) string {
		a, err := r.LookupPTR(ctx, netip.MustParseAddr(ip))
		return text(a.Records, err)
	}
	for _, row := range []struct{ name, got, want string }{
		{"strings joined, octets unescaped", txt("example.org"), "[v=spf1 mx -all quote \" back\\slash \xc8]"},
		{"final dot and case", txt("TEXT.Example."), "[only text]"},
		{"both families", addr("mx1.example.org"), "[192.0.2.1 2001:db8::1]"},
		{"one family", addr("mx2.example.org"), "[192.0.2.2]"},
		{"along CNAMEs", addr("www.example.org"), "[192.0.2.1 2001:db8::1]"},
		{"PTR of IPv4", ptr("192.0.2.1"), "[mx1.example.org]"},
		{"PTR of mapped IPv4", ptr("::ffff:192.0.2.1"), "[mx1.example.org]"},
		{"PTR of IPv6", ptr("2001:db8::1"), "[mx1.example.org]"},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, row.got, row.want)
		}
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	r, srv := start(t, zone, func(c *resolve.Config, _ *resolve.Deps) { c.Timeout = 50 * time.Millisecond })
	srv.Behave("servfail.example", dnstest.ServFail)
	srv.Behave("refused.example", dnstest.Refuse)
	srv.Behave("silent.example", dnstest.Drop)
	for _, row := range []struct {
		name string
		want error
	}{
		{"nobody.example", resolve.ErrNoDomain},
		{"plain.example", resolve.ErrNoData},
		{"org", resolve.ErrNoData}, // an empty non-terminal
		{"to-nowhere.example", resolve.ErrNoDomain},
		{"servfail.example", resolve.ErrTemporary},
		{"refused.example", resolve.ErrTemporary},
		{"silent.example", resolve.ErrTemporary},
		{"loop1.example.org", resolve.ErrTemporary},
		{"", resolve.ErrName},
		{".", resolve.ErrName},
		{"a..b", resolve.ErrName},
		{"with space.example", resolve.ErrName},
		{"new\r\nline.example", resolve.ErrName},
		{strings.Repeat("a", 64) + ".example", resolve.ErrName},
		{strings.Repeat("a.", 127) + "example", resolve.ErrName},
	} {
		_, err := r.LookupTXT(t.Context(), row.name)
		if !errors.Is(err, row.want) {
			t.Errorf("TXT of %q: got error %v, want %v", row.name, err, row.want)
		}
		notFound := row.want == resolve.ErrNoDomain || row.want == resolve.ErrNoData
		if errors.Is(err, resolve.ErrNotFound) != notFound {
			t.Errorf("TXT of %q: %v is ErrNotFound: %v, want %v", row.name, err, !notFound, notFound)
		}
	}
}

func TestMXHosts(t *testing.T) {
	reverse := func(n int, swap func(i, j int)) {
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	for _, row := range []struct {
		name, domain, want string
		shuffle            func(int, func(int, int))
		err                error
	}{
		{"as they come", "example.org", "mx1.example.org mx3.example.org mx2.example.org", func(int, func(int, int)) {}, nil},
		{"equals change places, preferences do not", "example.org", "mx3.example.org mx1.example.org mx2.example.org", reverse, nil},
		{"without MX the domain itself", "plain.example", "plain.example!", nil, nil},
		{"U-labels", "München.example", "mx1.example.org", nil, nil},
		{"null MX", "null.example", "", nil, resolve.ErrNullMX},
		{"null MX among others is passed over", "half-null.example", "mx.half-null.example", nil, nil},
		{"neither MX nor address", "text.example", "", nil, resolve.ErrNoData},
		{"no such domain", "nobody.example", "", nil, resolve.ErrNoDomain},
		{"literal", "[192.0.2.1]", "", nil, resolve.ErrName},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, _ := start(t, zone, func(_ *resolve.Config, d *resolve.Deps) { d.Shuffle = row.shuffle })
			hosts, err := r.MXHosts(t.Context(), row.domain)
			var got []string
			for _, h := range hosts {
				if h.Implicit {
					h.Name += "!"
				}
				got = append(got, h.Name)
			}
			if s := strings.Join(got, " "); s != row.want || !errors.Is(err, row.err) {
				t.Errorf("hosts of %q: got %q, %v; want %q, %v", row.domain, s, err, row.want, row.err)
			}
		})
	}
}

func TestMXHostsNeverFallsBackOnTrouble(t *testing.T) {
	r, srv := start(t, zone, nil)
	srv.Behave("plain.example", dnstest.ServFail)
	if hosts, err := r.MXHosts(t.Context(), "plain.example"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("got %v, %v; want a temporary error: the MX records are unknown, not absent", hosts, err)
	}
}

func TestOneFamilyInTrouble(t *testing.T) {
	r, srv := start(t, zone+"v6.example. 60 IN AAAA 2001:db8::6\n", nil)
	srv.Behave("plain.example", dnstest.ServFail, dns.TypeAAAA)
	srv.Behave("v6.example", dnstest.ServFail, dns.TypeA)
	srv.Behave("text.example", dnstest.ServFail, dns.TypeA)
	for name, want := range map[string]string{"plain.example": "[192.0.2.9]", "v6.example": "[2001:db8::6]"} {
		if a, err := r.LookupAddr(t.Context(), name); err != nil || fmt.Sprint(a.Records) != want {
			t.Errorf("%s: got %v, %v; want %s", name, a.Records, err, want)
		}
	}
	if a, err := r.LookupAddr(t.Context(), "text.example"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("one family absent, the other unknown: got %v, %v; want a temporary error", a.Records, err)
	}
}

func TestTruncatedGoesToTCP(t *testing.T) {
	long := strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 40)
	r, srv := start(t, "big.example. 60 IN TXT "+long+"\nsmall.example. 60 IN TXT \"y\"\n", nil)
	srv.Behave("small.example", dnstest.Truncate)
	for name, want := range map[string]int{"big.example": 10000, "small.example": 1} {
		a, err := r.LookupTXT(t.Context(), name)
		if err != nil || len(a.Records[0]) != want {
			t.Errorf("%s: got %d records, %v; want one of %d octets", name, len(a.Records), err, want)
		}
		if n := srv.QueriesFor(name, dns.TypeTXT); n != 2 {
			t.Errorf("%s: %d queries, want 2: UDP, then TCP", name, n)
		}
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	r, srv := start(t, zone, nil)
	srv.Behave("example.org", dnstest.Forge)
	if a, err := r.LookupTXT(t.Context(), "example.org"); err != nil || len(a.Records) != 2 {
		t.Errorf("got %q, %v; want the two records", a.Records, err)
	}
	if n := srv.QueriesFor("example.org", dns.TypeTXT); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	r, srv := start(t, zone, nil)
	srv.Behave("text.example", dnstest.NoEDNS)
	if a, err := r.LookupTXT(t.Context(), "text.example"); err != nil {
		t.Errorf("got %q, %v; want the record", a.Records, err)
	}
}

func TestChainIsFollowedAcrossAnswers(t *testing.T) {
	r, srv := start(t, zone, nil)
	srv.Behave("www.example.org", dnstest.LinkOnly)
	srv.Behave("web.example.org", dnstest.LinkOnly)
	a, err := r.LookupA(t.Context(), "www.example.org")
	if err != nil || len(a.Records) != 1 {
		t.Errorf("got %v, %v; want the address", a.Records, err)
	}
	srv.Behave("loop1.example.org", dnstest.LinkOnly)
	srv.Behave("loop2.example.org", dnstest.LinkOnly)
	if _, err := r.LookupA(t.Context(), "loop1.example.org"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("loop: got %v, want a temporary error", err)
	}
	if n := srv.QueriesFor("loop1.example.org", dns.TypeA) + srv.QueriesFor("loop2.example.org", dns.TypeA); n > 10 {
		t.Errorf("loop: %d queries, want at most 10", n)
	}
}

func TestNextServerAnswers(t *testing.T) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close() // nobody listens there any more
	sick := dnstest.Start(t, "")
	sick.Behave("", dnstest.ServFail)
	r, well := start(t, zone, nil)
	r.Close()
	r, err = resolve.New(resolve.Config{Servers: []string{free.LocalAddr().String(), sick.Addr(), well.Addr()}, Attempts: 3}, resolve.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.LookupTXT(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	asked := sick.Queries()
	if _, err := r.LookupTXT(t.Context(), "text.example"); err != nil {
		t.Fatal(err)
	}
	if n := sick.Queries(); n != asked {
		t.Errorf("the sick server was asked %d more times, want 0: the one that answered is asked first", n-asked)
	}
}

func TestIdenticalQuestionsAreAskedOnce(t *testing.T) {
	r, srv := start(t, zone, nil)
	release := srv.Hold("example.org")
	const callers = 50
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for range callers {
		wg.Go(func() {
			_, err := r.LookupTXT(t.Context(), "example.org")
			errs <- err
		})
	}
	waitFor(t, func() bool { return srv.Queries() > 0 })
	release()
	wg.Wait()
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := srv.QueriesFor("example.org", dns.TypeTXT); n != 1 {
		t.Errorf("%d queries for %d callers, want 1", n, callers)
	}
}

// waitFor polls a counter of another goroutine.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("condition did not come about")
		}
		<-time.After(time.Millisecond)
	}
}

func TestCallerLeavesAtItsDeadline(t *testing.T) {
	r, srv := start(t, zone, nil)
	release := srv.Hold("example.org")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := r.LookupTXT(ctx, "example.org"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("got %v, want a temporary error", err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v with a deadline of 20ms", d)
	}
	// The question goes on without its caller and fills the cache.
	release()
	if _, err := r.LookupTXT(t.Context(), "example.org"); err != nil {
		t.Error(err)
	}
	if n := srv.QueriesFor("example.org", dns.TypeTXT); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
}

func TestInFlightIsBounded(t *testing.T) {
	r, srv := start(t, "*.example. 60 IN TXT x", func(c *resolve.Config, _ *resolve.Deps) { c.InFlight = 3 })
	release := srv.Hold("")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i)) })
	}
	waitFor(t, func() bool { return srv.Queries() == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.LookupTXT(ctx, "more.example"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("got %v, want a temporary error for want of a slot", err)
	}
	if n := srv.Queries(); n != 3 {
		t.Errorf("%d questions under way, want 3", n)
	}
	release()
	wg.Wait()
	if n := srv.Queries(); n != 10 {
		t.Errorf("%d questions in all, want 10", n)
	}
}

func TestCacheKeepsAsLongAsRecordsSay(t *testing.T) {
	for _, row := range []struct {
		name, lookup string
		keep         time.Duration // just before it the answer is in the cache, at it no longer
		negTTL       uint32
	}{
		{"a record's TTL", "text.example", 300 * time.Second, 60},
		{"the shortest of a chain", "www.example.org", 30 * time.Second, 60},
		{"an absence as the SOA says", "nobody.example", 60 * time.Second, 60},
		{"an absence at most", "nobody.example", 10 * time.Minute, 86400},
		{"an absence without SOA", "nobody.example", 4 * time.Second, 0},
		{"a failure", "servfail.example", 4 * time.Second, 60},
		{"at least", "zero.example", 5 * time.Second, 60},
		{"at most", "long.example", time.Hour, 60},
	} {
		t.Run(row.name, func(t *testing.T) {
			clk := &clock{now: time.Unix(1e9, 0)}
			r, srv := start(t, zone+"zero.example. 0 IN TXT x\nlong.example. 99999999 IN TXT x\nmx1.example.org. 300 IN TXT x\n",
				func(c *resolve.Config, d *resolve.Deps) {
					c.MaxTTL, c.NegativeTTL, c.FailureTTL, d.Now = time.Hour, 10*time.Minute, 4*time.Second, clk.Now
					c.Attempts = 1
				})
			srv.Behave("servfail.example", dnstest.ServFail)
			srv.NegativeTTL(row.negTTL)
			ask := func() int {
				r.LookupTXT(t.Context(), row.lookup)
				return srv.QueriesFor(row.lookup, dns.TypeTXT)
			}
			if n := ask(); n != 1 {
				t.Fatalf("%d queries at first, want 1", n)
			}
			clk.pass(row.keep - time.Second)
			if n := ask(); n != 1 {
				t.Errorf("%d queries just before %v, want 1", n, row.keep)
			}
			clk.pass(time.Second)
			if n := ask(); n != 2 {
				t.Errorf("%d queries at %v, want 2", n, row.keep)
			}
		})
	}
}

func TestOnlyCachedNeverAsks(t *testing.T) {
	r, srv := start(t, zone, nil)
	ctx := resolve.OnlyCached(t.Context())
	if _, err := r.LookupTXT(ctx, "example.org"); !errors.Is(err, resolve.ErrNotCached) || srv.Queries() != 0 {
		t.Errorf("got %v and %d queries, want ErrNotCached and none", err, srv.Queries())
	}
	if _, err := r.LookupTXT(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	if a, err := r.LookupTXT(ctx, "example.org"); err != nil || len(a.Records) != 2 {
		t.Errorf("got %v, %v; want what is in the cache", a.Records, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var zone strings.Builder
	for i := range 100 {
		fmt.Fprintf(&zone, "n%d.example. 60 IN TXT \"x\"\n", i)
	}
	r, srv := start(t, zone.String(), func(c *resolve.Config, _ *resolve.Deps) { c.CacheBytes = 10 * 400 })
	for i := range 100 {
		if _, err := r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.LookupTXT(t.Context(), "n0.example"); err != nil { // always the most recently used
			t.Fatal(err)
		}
	}
	if n := srv.QueriesFor("n0.example", dns.TypeTXT); n != 1 {
		t.Errorf("what is used most was asked %d times, want 1", n)
	}
	before := srv.Queries()
	r.LookupTXT(t.Context(), "n50.example")
	if srv.Queries() != before+1 {
		t.Error("an old entry is still in a cache that has no room for it")
	}
}

func TestSecureIsOnlyBelievedFromTrustedServers(t *testing.T) {
	r, srv := start(t, zone, nil)
	if a, err := r.LookupTXT(t.Context(), "text.example"); err != nil || a.Secure {
		t.Errorf("without AD: got secure=%v, %v", a.Secure, err)
	}
	srv.Secure(true)
	if a, err := r.LookupTXT(t.Context(), "example.org"); err != nil || !a.Secure {
		t.Errorf("with AD from the loopback: got secure=%v, %v", a.Secure, err)
	}
	if hosts, err := r.MXHosts(t.Context(), "example.org"); err != nil || !hosts[0].Secure {
		t.Errorf("MX with AD: got %v, %v", hosts, err)
	}
}

func TestCloseEndsQuestions(t *testing.T) {
	r, srv := start(t, zone, nil)
	release := srv.Hold("example.org")
	defer release()
	done := make(chan error)
	go func() {
		_, err := r.LookupTXT(context.Background(), "example.org")
		done <- err
	}()
	waitFor(t, func() bool { return srv.Queries() > 0 })
	r.Close()
	if err := <-done; !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("got %v, want a temporary error", err)
	}
	if _, err := r.LookupTXT(t.Context(), "text.example"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("after Close: got %v, want a temporary error", err)
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	c := resolve.Config{Servers: []string{"dns.example"}, Attempts: 99, Timeout: 1, CacheBytes: -1, InFlight: -1, FailureTTL: time.Hour, NegativeTTL: -1, MaxTTL: 1}
	c.Defaults()
	err := c.Validate()
	for _, key := range []string{"servers", "attempts", "timeout", "cache_bytes", "in_flight", "failure_ttl", "negative_ttl", "max_ttl"} {
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("%q is not named in: %v", key, err)
		}
	}
	c = resolve.Config{Servers: []string{"192.0.2.1", "::1", "[::1]:5353", "127.0.0.1:53"}}
	c.Defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"example.org", "MÜNCHEN.example.", "_dmarc.x", "a..b", "xn--.x", "\xff.x", "ſ.x", "。x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := resolve.Name(s)
		if err != nil {
			return
		}
		if again, err := resolve.Name(n); err != nil || again != n {
			t.Errorf("%q became %q, which becomes %q, %v", s, n, again, err)
		}
		if _, ok := dns.IsDomainName(n); !ok || strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q became %q, which is no domain name", s, n)
		}
	})
}

func BenchmarkLookupCached(b *testing.B) {
	r, _ := start(b, zone, nil)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.LookupTXT(ctx, "example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
