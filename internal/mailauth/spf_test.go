package mailauth_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
)

func spfZone() string {
	var b strings.Builder
	b.WriteString(`
ip.example.       60 IN TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"
soft.example.     60 IN TXT "v=spf1 ~all"
neutral.example.  60 IN TXT "v=spf1 ?all"
end.example.      60 IN TXT "v=spf1 ip4:198.51.100.1"
a.example.        60 IN TXT "v=spf1 a -all"
a.example.        60 IN A   192.0.2.1
a.example.        60 IN AAAA 2001:db8::1
mx.example.       60 IN TXT "v=spf1 mx -all"
mx.example.       60 IN MX  10 a.example.
nullmx.example.   60 IN TXT "v=spf1 mx -all"
nullmx.example.   60 IN MX  0 .
inc.example.      60 IN TXT "v=spf1 include:ip.example -all"
red.example.      60 IN TXT "v=spf1 redirect=ip.example"
exists.example.   60 IN TXT "v=spf1 exists:%{ir}.%{l}._l.%{d} -all"
1.2.0.192.alice._l.exists.example. 60 IN A 127.0.0.2
ptr.example.      60 IN TXT "v=spf1 ptr -all"
1.2.0.192.in-addr.arpa. 60 IN PTR host.ptr.example.
host.ptr.example. 60 IN A   192.0.2.1
two.example.      60 IN TXT "v=spf1 -all"
two.example.      60 IN TXT "v=spf1 +all"
beside.example.   60 IN TXT "google-site-verification=x"
beside.example.   60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
nospf.example.    60 IN TXT "hello"
syntax.example.   60 IN TXT "v=spf1 foo:bar -all"
missinc.example.  60 IN TXT "v=spf1 include:nowhere.example -all"
loop.example.     60 IN TXT "v=spf1 include:loop.example -all"
void.example.     60 IN TXT "v=spf1 a:v1.example a:v2.example a:v3.example -all"
badname.example.  60 IN TXT "v=spf1 a:%{l}.example ip4:192.0.2.1 -all"
incdead.example.  60 IN TXT "v=spf1 include:dead.example -all"
xn--mnchen-3ya.example. 60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
helo.example.     60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
`)
	b.WriteString(`many.example. 60 IN TXT "v=spf1`)
	for i := range 11 {
		fmt.Fprintf(&b, " a:m%d.example", i)
	}
	b.WriteString(" -all\"\n")
	for i := range 11 {
		fmt.Fprintf(&b, "m%d.example. 60 IN A 203.0.113.%d\n", i, i)
	}
	b.WriteString(`manymx.example. 60 IN TXT "v=spf1 mx -all"` + "\n")
	for i := range 12 {
		fmt.Fprintf(&b, "manymx.example. 60 IN MX %d a.example.\n", i)
	}
	b.WriteString("huge.example. 60 IN TXT \"v=spf1 \"")
	for range 50 {
		fmt.Fprintf(&b, " %q", strings.Repeat("ip4:10.0.0.1 ", 18))
	}
	b.WriteString("\n")
	return b.String()
}

func spfOf(ctx context.Context, r mailauth.Resolver, client, helo, from string) mailauth.SPFResult {
	return mailauth.StartSPF(ctx, r, netip.MustParseAddr(client), helo, from).Finish()
}

func TestSPF(t *testing.T) {
	r, srv := resolver(t, spfZone())
	srv.Behave("dead.example", dnstest.ServFail)
	for _, row := range []struct {
		name, client, helo, from string
		want                     mailauth.Value
		domain                   string
	}{
		{"ip4", "192.0.2.1", "x.example", "alice@ip.example", mailauth.Pass, "ip.example"},
		{"ip4, another address", "198.51.100.1", "x.example", "alice@ip.example", mailauth.Fail, "ip.example"},
		{"ip6", "2001:db8::5", "x.example", "alice@ip.example", mailauth.Pass, "ip.example"},
		{"mapped ip4", "::ffff:192.0.2.1", "x.example", "alice@IP.example", mailauth.Pass, "ip.example"},
		{"softfail", "192.0.2.1", "x.example", "alice@soft.example", mailauth.SoftFail, "soft.example"},
		{"neutral", "192.0.2.1", "x.example", "alice@neutral.example", mailauth.Neutral, "neutral.example"},
		{"nothing matches", "192.0.2.1", "x.example", "alice@end.example", mailauth.Neutral, "end.example"},
		{"a", "192.0.2.1", "x.example", "alice@a.example", mailauth.Pass, "a.example"},
		{"a, IPv6", "2001:db8::1", "x.example", "alice@a.example", mailauth.Pass, "a.example"},
		{"mx", "192.0.2.1", "x.example", "alice@mx.example", mailauth.Pass, "mx.example"},
		{"null mx", "192.0.2.1", "x.example", "alice@nullmx.example", mailauth.Fail, "nullmx.example"},
		{"include", "192.0.2.1", "x.example", "alice@inc.example", mailauth.Pass, "inc.example"},
		{"include that fails", "198.51.100.1", "x.example", "alice@inc.example", mailauth.Fail, "inc.example"},
		{"redirect", "192.0.2.1", "x.example", "alice@red.example", mailauth.Pass, "red.example"},
		{"macros", "192.0.2.1", "x.example", "alice@exists.example", mailauth.Pass, "exists.example"},
		{"macros, another local-part", "192.0.2.1", "x.example", "bob@exists.example", mailauth.Fail, "exists.example"},
		{"ptr", "192.0.2.1", "x.example", "alice@ptr.example", mailauth.Pass, "ptr.example"},
		{"record beside others", "192.0.2.1", "x.example", "alice@beside.example", mailauth.Pass, "beside.example"},
		{"U-label", "192.0.2.1", "x.example", "alice@München.example", mailauth.Pass, "xn--mnchen-3ya.example"},
		{"quoted local-part with an at-sign", "192.0.2.1", "x.example", `"a@soft.example"@ip.example`, mailauth.Pass, "ip.example"},
		{"local-part that is no label", "192.0.2.1", "x.example", `"a b"@badname.example`, mailauth.Pass, "badname.example"},
		{"no record", "192.0.2.1", "x.example", "alice@nospf.example", mailauth.None, "nospf.example"},
		{"no domain", "192.0.2.1", "x.example", "alice@nowhere.example", mailauth.None, "nowhere.example"},
		{"null reverse-path: HELO", "192.0.2.1", "helo.example", "", mailauth.Pass, "helo.example"},
		{"null reverse-path: HELO fails", "192.0.2.9", "helo.example", "", mailauth.Fail, "helo.example"},
		{"null reverse-path, literal HELO", "192.0.2.1", "[192.0.2.1]", "", mailauth.None, ""},
		{"null reverse-path, single label", "192.0.2.1", "localhost", "", mailauth.None, ""},
		{"literal domain", "192.0.2.1", "x.example", "alice@[192.0.2.1]", mailauth.None, ""},
		{"two records", "192.0.2.1", "x.example", "alice@two.example", mailauth.PermError, "two.example"},
		{"unknown mechanism", "192.0.2.1", "x.example", "alice@syntax.example", mailauth.PermError, "syntax.example"},
		{"include of nothing", "192.0.2.1", "x.example", "alice@missinc.example", mailauth.PermError, "missinc.example"},
		{"include of itself", "192.0.2.1", "x.example", "alice@loop.example", mailauth.PermError, "loop.example"},
		{"more than ten look-ups", "192.0.2.1", "x.example", "alice@many.example", mailauth.PermError, "many.example"},
		{"more than ten MX", "192.0.2.1", "x.example", "alice@manymx.example", mailauth.PermError, "manymx.example"},
		{"void look-ups", "192.0.2.1", "x.example", "alice@void.example", mailauth.PermError, "void.example"},
		{"record too long", "192.0.2.1", "x.example", "alice@huge.example", mailauth.PermError, "huge.example"},
		{"no answer", "192.0.2.1", "x.example", "alice@dead.example", mailauth.TempError, "dead.example"},
		{"no answer for an include", "192.0.2.1", "x.example", "alice@incdead.example", mailauth.TempError, "incdead.example"},
	} {
		got := spfOf(t.Context(), r, row.client, row.helo, row.from)
		if got.Value != row.want || got.Domain != row.domain || got.Helo != (row.from == "") {
			t.Errorf("%s: got %+v, want %s for %q", row.name, got, row.want, row.domain)
		}
	}
}

func TestSPFQueriesAreBounded(t *testing.T) {
	r, srv := resolver(t, spfZone())
	for _, domain := range []string{"loop.example", "many.example", "manymx.example"} {
		before := srv.Queries()
		spfOf(t.Context(), r, "198.51.100.1", "x.example", "a@"+domain)
		if n := srv.Queries() - before; n > 12 {
			t.Errorf("%s: %d queries, want at most 12", domain, n)
		}
	}
}

func TestSPFAsksOnlyForTheFamilyOfTheClient(t *testing.T) {
	r, srv := resolver(t, spfZone())
	spfOf(t.Context(), r, "192.0.2.1", "x.example", "alice@a.example")
	if n := srv.Queries(); n != 2 {
		t.Errorf("%d queries, want 2: TXT and A", n)
	}
}

func TestSPFEndsWithItsContext(t *testing.T) {
	r, srv := resolver(t, spfZone())
	release := srv.Hold("ip.example")
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got := spfOf(ctx, r, "192.0.2.1", "x.example", "alice@ip.example"); got.Value != mailauth.TempError {
		t.Errorf("got %+v, want a temperror", got)
	}
}

func BenchmarkSPFCached(b *testing.B) {
	r, _ := resolver(b, spfZone())
	client := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if got := mailauth.StartSPF(b.Context(), r, client, "x.example", "alice@inc.example").Finish(); got.Value != mailauth.Pass {
			b.Fatal(got)
		}
	}
}

var _ mailauth.Resolver = (*resolve.Resolver)(nil)
