package envelope

import (
	"strings"
	"testing"
)

// FuzzPath: what parses has a normal form that parses to itself, whose last "@" stands before the domain, and that
// cannot break out of angle brackets or a line.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"<>", "<a@b>", `<"a@b"@c>`, "<@x,@y:a@b> SIZE=1", "<postmaster>", "<a@[IPv6:::1]>", `<"\""@x>`, "<ü@ü>", "<a..b@c>", `<"">`,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, s string, smtputf8 bool) {
		if p, rest, err := ParseReversePath(s, smtputf8); err == nil {
			if !strings.HasSuffix(s, rest) {
				t.Errorf("%q: rest %q is no end of it", s, rest)
			}
			checkNormal(t, s, string(p), smtputf8)
		}
		if p, _, err := ParseForwardPath(s, smtputf8); err == nil && p != "postmaster" {
			checkNormal(t, s, string(p), smtputf8)
			if d := p.Domain(); d == "" || d != strings.ToLower(d) || strings.ContainsAny(d, `@">`) {
				t.Errorf("%q: domain %q", s, d)
			}
		}
	})
}

func checkNormal(t *testing.T, in, path string, smtputf8 bool) {
	t.Helper()
	if path == "" {
		return
	}
	again, err := ParseMailbox(path, smtputf8)
	if err != nil || again != path {
		t.Errorf("%q became %q, which became %q, %v", in, path, again, err)
	}
	if len(path) > MaxPath {
		t.Errorf("%q: %d octets", in, len(path))
	}
	for i := 0; i < len(path); i++ {
		if path[i] < ' ' || path[i] == 0x7f || path[i] >= 0x80 && !smtputf8 {
			t.Errorf("%q: octet %#x in %q", in, path[i], path)
		}
	}
}

// FuzzParameters: reading parameters ends, and decoded values hold no control octets.
func FuzzParameters(f *testing.F) {
	f.Add(" SIZE=1 RET=FULL ENVID=a+2Bb ORCPT=rfc822;a@b NOTIFY=NEVER")
	f.Add(` ORCPT=utf-8;\x{FC}`)
	f.Fuzz(func(t *testing.T, s string) {
		for rest := s; ; {
			p, next, err := NextParameter(rest, true)
			if err != nil || p.Keyword == "" {
				return
			}
			if len(next) >= len(rest) {
				t.Fatalf("%q: no progress at %q", s, rest)
			}
			rest = next
			ParseNotify(p.Value)
			text, _ := DecodeXtext(p.Value)
			_, address, _ := DecodeOrcpt(p.Value)
			if i := strings.IndexFunc(text+address, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
				t.Errorf("%q: control octet in %q", p.Value, text+address)
			}
		}
	})
}
