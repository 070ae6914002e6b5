package account_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/account"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.org":              "alice@example.org",
		"Alice@EXAMPLE.org":              "alice@example.org",
		"alice@example.org.":             "alice@example.org",
		`"alice"@example.org`:            "alice@example.org",
		`"a b"@example.org`:              `"a b"@example.org`,
		`"A@b"@example.org`:              `"a@b"@example.org`,
		`"a\"b\\"@example.org`:           `"a\"b\\"@example.org`,
		`"\a"@example.org`:               "a@example.org",
		"a..b@example.org":               "a..b@example.org",
		"o'hara+x/y=z@example.org":       "o'hara+x/y=z@example.org",
		"Ärger@example.org":              "ärger@example.org",
		"A\u0308rger@example.org":        "ärger@example.org",
		"x@xn--bcher-kva.example":        "x@bücher.example",
		"x@BÜCHER.example":               "x@bücher.example",
		"x@bu\u0308cher.example":         "x@bücher.example",
		"x@bücher。example":               "x@bücher.example",
		"x@foo_bar.example":              "x@foo_bar.example",
		"x@[192.0.2.1]":                  "x@[192.0.2.1]",
		"x@[IPv6:2001:db8::1]":           "x@[ipv6:2001:db8::1]",
		"x@localhost":                    "x@localhost",
		strings.Repeat("l", 80) + "@x.y": strings.Repeat("l", 80) + "@x.y",
	} {
		got, err := account.ParseAddress(in)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", in, err)
			continue
		}
		if got.String() != want {
			t.Errorf("ParseAddress(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "alice", "alice@", "@example.org", "a b@example.org", "a@b@example.org", "alice@exa mple.org",
		"alice@.org", "alice@example..org", "alice@-example.org", "alice@example-.org", `"alice@example.org`, `""@example.org`,
		`"a"b"@example.org`, `"a\"@example.org`, "a\x00b@example.org", "\"a\x00b\"@example.org", "a\r\n@example.org",
		"alice@example.org\r\n", "a\xff@example.org", "a@\xff.org", "a@[1.2.3.4", "a@[]", "a@[1 2]", "<alice@example.org>",
		"a@xn--", "a@xn--a", "a@exa\u200bmple.org\u0000", "a@ex/ample.org", "a@" + strings.Repeat("x", 64) + ".org",
		"a@" + strings.Repeat("x.", 200) + "org", strings.Repeat("a", 600) + "@example.org",
	} {
		if got, err := account.ParseAddress(in); !errors.Is(err, account.ErrAddress) {
			t.Errorf("ParseAddress(%q) = %q, %v; want ErrAddress", in, got, err)
		}
	}
}

func TestDetail(t *testing.T) {
	for in, want := range map[string][2]string{
		"alice+lists@example.org": {"alice@example.org", "lists"},
		"alice+a+b@example.org":   {"alice@example.org", "a+b"},
		"alice+@example.org":      {"alice@example.org", ""},
		"ä+x@example.org":         {"ä@example.org", "x"},
	} {
		a, err := account.ParseAddress(in)
		if err != nil {
			t.Fatal(err)
		}
		base, detail, found := a.Detail("+")
		if !found || base.String() != want[0] || detail != want[1] {
			t.Errorf("Detail of %q = %q, %q, %v; want %q, %q", in, base, detail, found, want[0], want[1])
		}
	}
	for _, in := range []string{"alice@example.org", "+alice@example.org", "+@example.org"} {
		a, err := account.ParseAddress(in)
		if err != nil {
			t.Fatal(err)
		}
		if base, detail, found := a.Detail("+"); found {
			t.Errorf("Detail of %q = %q, %q; want nothing found", in, base, detail)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"alice@example.org", `"a b"@x`, "x@xn--bcher-kva.example", "a..b@c", `"\""@d`, "x@[::1]", "Ä@ß.de"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := account.ParseAddress(s)
		if err != nil {
			return
		}
		again, err := account.ParseAddress(a.String())
		if err != nil {
			t.Fatalf("ParseAddress(%q) made %q, which it refuses: %v", s, a, err)
		}
		if again != a {
			t.Fatalf("ParseAddress(%q) made %q, which it reads as %q", s, a, again)
		}
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Fatalf("ParseAddress(%q) let a control character through", s)
		}
		if k := account.AddressKey(a); k.IsDomain() {
			t.Fatalf("the key of %q looks like a domain's", a)
		}
	})
}
