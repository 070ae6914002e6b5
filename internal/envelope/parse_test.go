package envelope

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReversePath(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, row := range []struct {
		name, in string
		utf8     bool
		want     ReversePath
		rest     string
		err      error
	}{
		{name: "ordinary", in: "<alice@example.org>", want: "alice@example.org"},
		{name: "null", in: "<> SIZE=3", want: "", rest: " SIZE=3"},
		{name: "parameters follow", in: "<a@b> BODY=8BITMIME", want: "a@b", rest: " BODY=8BITMIME"},
		{name: "domain in lower case, local-part kept", in: "<Alice@EXAMPLE.Org>", want: "Alice@example.org"},
		{name: "all of atext", in: "<!#$%&'*+-/=?^_`{|}~.x@a>", want: "!#$%&'*+-/=?^_`{|}~.x@a"},
		{name: "source route", in: "<@one.example,@two.example:a@b>", want: "a@b"},
		{name: "source route without mailbox", in: "<@one.example:>", err: ErrLocalPart},
		{name: "source route cut short", in: "<@one.example>", err: ErrPathSyntax},
		{name: "needless quotes", in: `<"alice"@b>`, want: "alice@b"},
		{name: "needed quotes", in: `<"al ice"@b>`, want: `"al ice"@b`},
		{name: "needless backslash", in: `<"al\i\ ce"@b>`, want: `"ali ce"@b`},
		{name: "needed backslash", in: `<"a\"b\\"@b>`, want: `"a\"b\\"@b`},
		{name: "quoted at", in: `<"a@evil.example"@b>`, want: `"a@evil.example"@b`},
		{name: "quoted angle", in: `<"a>b"@c> X`, want: `"a>b"@c`, rest: " X"},
		{name: "quoted dots", in: `<"a..b"@c>`, want: `"a..b"@c`},
		{name: "empty quotes", in: `<""@c>`, want: `""@c`},
		{name: "quote left open", in: `<"a@c>`, err: ErrLocalPart},
		{name: "control in quotes", in: "<\"a\x01\"@c>", err: ErrLocalPart},
		{name: "IPv4 literal", in: "<a@[192.0.2.1]>", want: "a@[192.0.2.1]"},
		{name: "IPv6 literal", in: "<a@[ipv6:2001:DB8::1]>", want: "a@[IPv6:2001:db8::1]"},
		{name: "IPv6 without tag", in: "<a@[2001:db8::1]>", err: ErrLiteral},
		{name: "IPv4 with tag", in: "<a@[IPv6:192.0.2.1]>", err: ErrLiteral},
		{name: "literal with zone", in: "<a@[IPv6:fe80::1%eth0]>", err: ErrLiteral},
		{name: "literal with at", in: "<a@[x:b@c]>", err: ErrLiteral},
		{name: "two dots", in: "<a..b@c>", err: ErrLocalPart},
		{name: "dot first", in: "<.a@c>", err: ErrLocalPart},
		{name: "dot last", in: "<a.@c>", err: ErrLocalPart},
		{name: "no domain", in: "<alice>", err: ErrPathSyntax},
		{name: "empty domain", in: "<alice@>", err: ErrDomain},
		{name: "trailing dot", in: "<alice@example.org.>", err: ErrDomain},
		{name: "hyphen first", in: "<a@-b>", err: ErrDomain},
		{name: "hyphen last", in: "<a@b-.c>", err: ErrDomain},
		{name: "underscore", in: "<a@b_c.d>", want: "a@b_c.d"},
		{name: "two ats", in: "<a@b@c>", err: ErrPathSyntax},
		{name: "no brackets", in: "a@b", err: ErrPathSyntax},
		{name: "bracket left open", in: "<a@b", err: ErrPathSyntax},
		{name: "space", in: "<a b@c>", err: ErrPathSyntax},
		{name: "longest label", in: "<a@" + label + ">", want: ReversePath("a@" + label)},
		{name: "label too long", in: "<a@" + label + "a>", err: ErrDomain},
		{name: "domain too long", in: "<a@" + strings.Repeat(label+".", 4) + "b>", err: ErrPathTooLong},
		{name: "local-part too long", in: "<" + strings.Repeat("a", MaxLocalPart+1) + "@b>", err: ErrLocalTooLong},
		{name: "path too long", in: "<" + strings.Repeat("a", MaxLocalPart) + "@" + label + "." + label + ">", err: ErrPathTooLong},
		{name: "UTF-8 without SMTPUTF8", in: "<ü@b>", err: ErrNotASCII},
		{name: "UTF-8 domain without SMTPUTF8", in: "<a@bücher.example>", err: ErrNotASCII},
		{name: "UTF-8", in: "<ü@bücher.example>", utf8: true, want: "ü@bücher.example"},
		{name: "UTF-8 in quotes", in: `<"ü x"@b>`, utf8: true, want: `"ü x"@b`},
		{name: "broken UTF-8", in: "<\xff@b>", utf8: true, err: ErrPathSyntax},
		{name: "C1 control", in: "<\u0085@b>", utf8: true, err: ErrPathSyntax},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, rest, err := ParseReversePath(row.in, row.utf8)
			if !errors.Is(err, row.err) {
				t.Fatalf("%q: error %v, want %v", row.in, err, row.err)
			}
			if err == nil && (got != row.want || rest != row.rest) {
				t.Errorf("%q: got %q and %q, want %q and %q", row.in, got, rest, row.want, row.rest)
			}
		})
	}
}

func TestParseForwardPath(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     ForwardPath
		err      error
	}{
		{name: "postmaster", in: "<postmaster>", want: "postmaster"},
		{name: "Postmaster", in: "<PostMaster>", want: "postmaster"},
		{name: "postmaster somewhere", in: "<Postmaster@example.org>", want: "Postmaster@example.org"},
		{name: "null", in: "<>", err: ErrNullPath},
		{name: "nobody", in: "<nobody>", err: ErrPathSyntax},
		{name: "source route to postmaster", in: "<@a:postmaster>", err: ErrPathSyntax},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _, err := ParseForwardPath(row.in, false)
			if got != row.want || !errors.Is(err, row.err) {
				t.Errorf("%q: got %q, %v; want %q, %v", row.in, got, err, row.want, row.err)
			}
		})
	}
}

func TestParseOrdinaryPathCopiesNothing(t *testing.T) {
	in := "<alice.of.wonderland@mail.example.org> SIZE=1000"
	if n := testing.AllocsPerRun(100, func() { ParseReversePath(in, false) }); n != 0 {
		t.Errorf("%v allocations for %q, want none", n, in)
	}
}

func TestNextParameter(t *testing.T) {
	rest := " SIZE=10  RET=HDRS SMTPUTF8 "
	var got []string
	for {
		p, next, err := NextParameter(rest, false)
		if err != nil {
			t.Fatal(err)
		}
		if p.Keyword == "" {
			break
		}
		got, rest = append(got, p.Keyword+"|"+p.Value), next
	}
	if s := strings.Join(got, " "); s != "SIZE|10 RET|HDRS SMTPUTF8|" {
		t.Errorf("got %q", s)
	}
	for _, bad := range []string{"SIZE=1", " =1", " SIZE=", " -A=1", " A==1", " A=\x01", " A=\xc3\xbc", " A=1\tB=2"} {
		if p, _, err := NextParameter(bad, false); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, p)
		}
	}
	if p, _, err := NextParameter(" A=ü", true); err != nil || p.Value != "ü" {
		t.Errorf("with SMTPUTF8: got %+v, %v", p, err)
	}
}

func TestDecodeXtext(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"plain", "plain"},
		{"a+2Bb+3D", "a+b="},
		{"a+2bb", "a+b"},
		{"+20", " "},
	} {
		if got, err := DecodeXtext(row.in); err != nil || got != row.want {
			t.Errorf("%q: got %q, %v; want %q", row.in, got, err, row.want)
		}
	}
	for _, bad := range []string{"+", "+2", "+GG", "a=b", "a b", "+0D+0A", "+00", "ü", "+C3", "+-1", "++1"} {
		if got, err := DecodeXtext(bad); err == nil {
			t.Errorf("%q: got %q, want an error", bad, got)
		}
	}
}

func TestDecodeOrcpt(t *testing.T) {
	for _, row := range []struct{ in, kind, address string }{
		{"rfc822;a+2Bb@c", "rfc822", "a+b@c"},
		{`utf-8;\x{FC}@b`, "utf-8", "ü@b"},
		{`UTF-8;ü@b`, "UTF-8", "ü@b"},
	} {
		kind, address, err := DecodeOrcpt(row.in)
		if err != nil || kind != row.kind || address != row.address {
			t.Errorf("%q: got %q, %q, %v", row.in, kind, address, err)
		}
	}
	for _, bad := range []string{"", "rfc822", "rfc822;", ";a", `utf-8;\x{D800}`, `utf-8;\x{A}`, `utf-8;\x{`, "rfc822;+0A"} {
		if kind, address, err := DecodeOrcpt(bad); err == nil {
			t.Errorf("%q: got %q and %q, want an error", bad, kind, address)
		}
	}
}

func TestParseNotify(t *testing.T) {
	for in, want := range map[string]Notify{
		"NEVER": NotifyNever, "success,FAILURE": NotifySuccess | NotifyFailure, "DELAY": NotifyDelay,
	} {
		if got, err := ParseNotify(in); err != nil || got != want {
			t.Errorf("%q: got %b, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "NEVER,DELAY", "DELAY,DELAY", "DELAY,", "X"} {
		if got, err := ParseNotify(bad); err == nil {
			t.Errorf("%q: got %b, want an error", bad, got)
		}
	}
}
