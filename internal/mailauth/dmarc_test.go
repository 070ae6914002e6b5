package mailauth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
)

const dmarcZone = `
_dmarc.example.com.     60 IN TXT "v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@example.com"
_dmarc.own.example.com. 60 IN TXT "v=DMARC1; p=none"
_dmarc.strict.com.      60 IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
_dmarc.plain.co.uk.     60 IN TXT "v=DMARC1;p=quarantine"
_dmarc.pct.com.         60 IN TXT "v=DMARC1; p=reject; pct=30"
_dmarc.testing.com.     60 IN TXT "v=DMARC1; p=quarantine; t=y"
_dmarc.np.com.          60 IN TXT "v=DMARC1; p=none; sp=quarantine; np=reject"
there.np.com.           60 IN MX  10 x.np.com.
_dmarc.two.com.         60 IN TXT "v=DMARC1; p=reject"
_dmarc.two.com.         60 IN TXT "v=DMARC1; p=none"
_dmarc.beside.com.      60 IN TXT "v=spf1 -all"
_dmarc.beside.com.      60 IN TXT "v=DMARC1; p=reject"
_dmarc.bad.com.         60 IN TXT "v=DMARC1; p=maybe"
_dmarc.badrua.com.      60 IN TXT "v=DMARC1; p=maybe; rua=mailto:a@badrua.com"
_dmarc.other.com.       60 IN TXT "v=DMARC2; p=reject"
_dmarc.com.             60 IN TXT "v=DMARC1; p=reject"
nothing.com.            60 IN A   192.0.2.1
`

func TestDMARC(t *testing.T) {
	pass := func(domain string) mailauth.SPFResult {
		return mailauth.SPFResult{Value: mailauth.Pass, Domain: domain}
	}
	fail := func(domain string) mailauth.SPFResult {
		return mailauth.SPFResult{Value: mailauth.Fail, Domain: domain}
	}
	signed := func(v mailauth.Value, domains ...string) (rs []mailauth.DKIMResult) {
		for _, d := range domains {
			rs = append(rs, mailauth.DKIMResult{Value: v, Domain: d})
		}
		return rs
	}
	for _, row := range []struct {
		name, from string
		spf        mailauth.SPFResult
		dkim       []mailauth.DKIMResult
		sample     int
		want       string
	}{
		{"SPF aligned", "a@example.com", pass("example.com"), nil, 0, "pass"},
		{"SPF aligned by organisation", "a@example.com", pass("bounce.mail.example.com"), nil, 0, "pass"},
		{"SPF of a parent", "a@news.example.com", pass("example.com"), nil, 0, "pass"},
		{"SPF of another", "a@example.com", pass("example.net"), nil, 0, "fail reject/reject"},
		{"SPF of a name that ends alike", "a@example.com", pass("notexample.com"), nil, 0, "fail reject/reject"},
		{"SPF fails", "a@example.com", fail("example.com"), nil, 0, "fail reject/reject"},
		{"SPF softfail", "a@example.com", mailauth.SPFResult{Value: mailauth.SoftFail, Domain: "example.com"}, nil, 0, "fail reject/reject"},
		{"DKIM aligned", "a@example.com", fail("example.com"), signed(mailauth.Pass, "example.com"), 0, "pass"},
		{"DKIM aligned by organisation", "a@example.com", fail("example.com"), signed(mailauth.Pass, "d.example.com"), 0, "pass"},
		{"the second signature", "a@example.com", fail("x.net"), signed(mailauth.Pass, "esp.net", "example.com"), 0, "pass"},
		{"DKIM of another", "a@example.com", fail("x.net"), signed(mailauth.Pass, "esp.net"), 0, "fail reject/reject"},
		{"DKIM of a public suffix", "a@example.com", fail("x.net"), signed(mailauth.Pass, "com"), 0, "fail reject/reject"},
		{"DKIM broken", "a@example.com", fail("x.net"), signed(mailauth.Fail, "example.com"), 0, "fail reject/reject"},
		{"DKIM in part only", "a@example.com", fail("x.net"), signed(mailauth.Policy, "example.com"), 0, "fail reject/reject"},
		{"no results", "a@example.com", mailauth.SPFResult{Value: mailauth.None}, nil, 0, "fail reject/reject"},
		{"subdomain policy", "a@news.example.com", fail("x.net"), nil, 0, "fail quarantine/quarantine"},
		{"own policy of a subdomain", "a@own.example.com", fail("x.net"), nil, 0, "fail none/none"},
		{"two-level suffix", "a@www.plain.co.uk", fail("x.net"), nil, 0, "fail quarantine/quarantine"},
		{"two-level suffix, a neighbour", "a@plain.co.uk", pass("evil.co.uk"), nil, 0, "fail quarantine/quarantine"},
		{"strict SPF", "a@strict.com", pass("m.strict.com"), nil, 0, "fail reject/reject"},
		{"strict SPF, same", "a@strict.com", pass("strict.com"), nil, 0, "pass"},
		{"strict DKIM", "a@strict.com", fail("x.net"), signed(mailauth.Pass, "m.strict.com"), 0, "fail reject/reject"},
		{"strict DKIM, same", "a@strict.com", fail("x.net"), signed(mailauth.Pass, "strict.com"), 0, "pass"},
		{"pct, within", "a@pct.com", fail("x.net"), nil, 29, "fail reject/reject"},
		{"pct, outside", "a@pct.com", fail("x.net"), nil, 30, "fail reject/quarantine"},
		{"testing", "a@testing.com", fail("x.net"), nil, 0, "fail quarantine/none"},
		{"subdomain that does not exist", "a@gone.np.com", fail("x.net"), nil, 0, "fail reject/reject"},
		{"subdomain that exists", "a@there.np.com", fail("x.net"), nil, 0, "fail quarantine/quarantine"},
		{"no policy", "a@nothing.com", fail("x.net"), nil, 0, "none"},
		{"public suffix's record is nobody's", "a@nobody.com", fail("x.net"), nil, 0, "none"},
		{"two records", "a@two.com", fail("x.net"), nil, 0, "none"},
		{"record beside another", "a@beside.com", fail("x.net"), nil, 0, "fail reject/reject"},
		{"no valid policy", "a@bad.com", fail("x.net"), nil, 0, "permerror"},
		{"no valid policy, but reports", "a@badrua.com", fail("x.net"), nil, 0, "fail none/none"},
		{"another version", "a@other.com", fail("x.net"), nil, 0, "none"},
		{"no answer", "a@dead.com", fail("x.net"), nil, 0, "temperror"},
		{"aligned SPF unavailable", "a@example.com", mailauth.SPFResult{Value: mailauth.TempError, Domain: "example.com"}, nil, 0, "temperror"},
		{"aligned key unavailable", "a@example.com", fail("x.net"), signed(mailauth.TempError, "example.com"), 0, "temperror"},
		{"another's key unavailable", "a@example.com", fail("x.net"), signed(mailauth.TempError, "esp.net"), 0, "fail reject/reject"},
		{"two authors, both good", "a@example.com, b@strict.com", pass("example.com"), signed(mailauth.Pass, "strict.com"), 0, "pass"},
		{"two authors, one bad", "a@example.com, b@strict.com", pass("example.com"), nil, 0, "fail reject/reject"},
		{"two authors, the milder first", "b@www.plain.co.uk, a@example.com", fail("x.net"), nil, 0, "fail reject/reject"},
		{"two authors, one without policy", "a@nothing.com, b@example.com", pass("example.com"), nil, 0, "none"},
		{"no author", "nobody", pass("example.com"), nil, 0, "none"},
		{"U-label", "a@EXAMPLE.com", pass("example.com"), nil, 0, "pass"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, srv := resolver(t, dmarcZone)
			srv.Behave("_dmarc.dead.com", dnstest.ServFail)
			h := scan(t, "From: "+row.from+"\r\n\r\n", 1000)
			res := mailauth.StartDMARC(t.Context(), r, mailauth.From(h)).Finish(row.spf, row.dkim, row.sample)
			got := string(res.Value)
			if res.Value == mailauth.Fail {
				got += fmt.Sprintf(" %s/%s", res.Policy, res.Disposition)
			}
			if got != row.want {
				t.Errorf("got %s (%+v), want %s", got, res, row.want)
			}
			if n := srv.Queries(); n > 6 {
				t.Errorf("%d queries, want at most 3 per author", n)
			}
		})
	}
}

func TestFrom(t *testing.T) {
	for _, row := range []struct {
		header  string
		domains string
		n       int
		bad     bool
	}{
		{"From: a@example.com", "example.com", 1, false},
		{"From: Alice <a@example.com>", "example.com", 1, false},
		{`From: "bank@example.net" <a@example.com>`, "example.com", 1, false},
		{`From: bank@example.net <a@example.com>`, "example.com", 1, false},
		{`From: "x\" <b@example.net>" <a@example.com>`, "example.com", 1, false},
		{"From: a@example.com (b@example.net)", "example.com", 1, false},
		{"From: (c (d) \\) e) a(x)@(y)example.com(z)", "example.com", 1, false},
		{"From: Alice\r\n <a@example.com>\r\n", "example.com", 1, false},
		{"From: a@example.com, b@Example.COM, c@example.net", "example.com example.net", 3, false},
		{"From: a@example.com\r\nfrom : b@example.net", "example.com example.net", 2, false},
		{"From: <a@example.com> <b@example.net>", "example.com example.net", 2, false},
		{"From: friends: a@example.com, b@example.net;", "example.com example.net", 2, false},
		{"From: <@relay.example:a@example.com>", "example.com", 1, false},
		{"From: <@r1.example,@r2.example:a@example.com>", "example.com", 1, false},
		{`From: "a@b"@example.com`, "example.com", 1, false},
		{`From: "a, b" <a@example.com>`, "example.com", 1, false},
		{"From: a @ example . com", "example.com", 1, false},
		{"From: a@München.example", "xn--mnchen-3ya.example", 1, false},
		{"From: ceo@example.com x", "example.com", 1, true},
		{"From: a@[192.0.2.1]", "", 1, true},
		{"From: a@", "", 1, true},
		{"From: a@b..c", "", 1, true},
		{"From: nobody", "", 1, true},
		{"From: <>", "", 0, true},
		{"From:", "", 0, true},
		{"To: a@example.com", "", 0, true},
		{"From: <a@example.com", "example.com", 1, false},
		{`From: "a@example.com`, "", 1, true},
		{"From: (a@example.com", "", 0, true},
		{"From: a@a1.example,a@a2.example,a@a3.example,a@a4.example,a@a5.example,a@a6.example",
			"a1.example a2.example a3.example a4.example a5.example", 6, true},
	} {
		a := mailauth.From(scan(t, row.header+"\r\n\r\n", 1000))
		if got := strings.Join(a.Domains, " "); got != row.domains || a.Addresses != row.n || a.Bad != row.bad {
			t.Errorf("%q: got %q, %d addresses, bad %v; want %q, %d, %v", row.header, got, a.Addresses, a.Bad, row.domains, row.n, row.bad)
		}
	}
}

func FuzzParseDMARC(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=none", "v=DMARC1;p=reject;sp=none;np=quarantine;pct=50;adkim=s;aspf=s;t=y", "v=DMARC1; p=x; rua=mailto:a", "v=DMARC1; pct=-1;p=none"} {
		f.Add(s)
	}
	valid := []mailauth.Disposition{mailauth.DispositionNone, mailauth.DispositionQuarantine, mailauth.DispositionReject}
	f.Fuzz(func(t *testing.T, s string) {
		rec, err := mailauth.ParseDMARC(s)
		if (rec == nil) != (err != nil) {
			t.Fatalf("%q: got %v, %v", s, rec, err)
		}
		if rec == nil {
			return
		}
		for _, d := range []mailauth.Disposition{rec.Policy, rec.Subdomains, rec.Missing} {
			if !slices.Contains(valid, d) {
				t.Errorf("%q: disposition %q", s, d)
			}
		}
		if rec.Percent < 0 || rec.Percent > 100 || !strings.HasPrefix(strings.TrimLeft(s, " \t\r\n"), "v") {
			t.Errorf("%q: %+v", s, rec)
		}
	})
}
