package mailauth_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"github.com/mailfarm/mailfarm/internal/mailauth"
)

func TestAuthResults(t *testing.T) {
	spf := mailauth.SPFResult{Value: mailauth.Pass, Domain: "example.com"}
	dkim := mailauth.DKIMResult{Value: mailauth.Fail, Domain: "example.com", Selector: "sel", Algorithm: "rsa-sha256",
		Signature: "abc/def+", Reason: "body hash did not verify"}
	dmarc := mailauth.DMARCResult{Value: mailauth.Fail, Domain: "example.com", Policy: mailauth.DispositionReject}
	for _, row := range []struct {
		name    string
		results []mailauth.AuthResult
		want    string
	}{
		{"none", nil, "Authentication-Results: mx.example.org; none\r\n"},
		{"one", []mailauth.AuthResult{spf.AuthResult("alice@example.com")},
			"Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=alice@example.com\r\n"},
		{"all, folded", []mailauth.AuthResult{spf.AuthResult("alice@example.com"), dkim.AuthResult(), dmarc.AuthResult()},
			"Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=alice@example.com;\r\n" +
				"\tdkim=fail reason=\"body hash did not verify\" header.d=example.com header.s=sel\r\n\theader.a=rsa-sha256 header.b=\"abc/def+\";\r\n" +
				"\tdmarc=fail header.from=example.com policy.dmarc=reject\r\n"},
		{"HELO", []mailauth.AuthResult{mailauth.SPFResult{Value: mailauth.None, Domain: "h.example", Helo: true}.AuthResult("")},
			"Authentication-Results: mx.example.org;\r\n\tspf=none smtp.helo=h.example\r\n"},
		{"odd local-part is left out", []mailauth.AuthResult{spf.AuthResult("\"a; dkim=pass\"@example.com")},
			"Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=example.com\r\n"},
		{"hostile values", []mailauth.AuthResult{{Method: "dkim", Value: mailauth.PermError, Reason: "x\"; spf=pass (\r\nSubject: y\\", Props: []mailauth.Prop{
			{"header.i", "a b;c@\xffd\r\nX: y"}, {"header.d", ""}, {"header.s", strings.Repeat("l", 1000)}}}},
			"Authentication-Results: mx.example.org;\r\n\tdkim=permerror reason=\"x\\\"; spf=pass (??Subject: y\\\\\"\r\n\theader.i=\"a b;c@?d??X: y\"\r\n"},
	} {
		got := string(mailauth.AppendAuthResults(nil, ourID, row.results))
		if got != row.want {
			t.Errorf("%s:\ngot  %q\nwant %q", row.name, got, row.want)
		}
	}
}

// Whatever peers put into results, the field stays one field, of our id, and says what we found and nothing else.
func FuzzAuthResults(f *testing.F) {
	f.Add("reason", "a@example.com", "example.com")
	f.Add("\r\n\r\n", "\";=()", "\\\"")
	f.Add("=", "@", "a\x00b")
	f.Fuzz(func(t *testing.T, reason, a, b string) {
		field := string(mailauth.AppendAuthResults([]byte("X: y\r\n"), ourID, []mailauth.AuthResult{
			{Method: "spf", Value: mailauth.Fail, Reason: reason, Props: []mailauth.Prop{{"smtp.mailfrom", a}}},
			{Method: "dkim", Value: mailauth.Fail, Reason: reason, Props: []mailauth.Prop{{"header.d", b}, {"header.i", a}}},
		}))
		h := scan(t, field+"\r\n", 1000)
		if n := h.Count("authentication-results"); n != 1 || h.Count("X") != 1 || h.Stray() || h.EightBit() {
			t.Fatalf("%d fields in %q", n, field)
		}
		if !strings.HasSuffix(cutOut(t, field, h.Cuts()), "X: y\r\n") {
			t.Fatalf("our own field is not known as ours: %q", field)
		}
		if h.MaxLine() > 998 {
			t.Errorf("a line of %d octets", h.MaxLine())
		}
		if strings.ContainsAny(reason+a+b, `"\();=`) {
			return // go-msgauth does not read quoted strings whole
		}
		value, _ := strings.CutPrefix(field, "X: y\r\nAuthentication-Results:")
		id, results, err := authres.Parse(value)
		if err != nil || id != ourID || len(results) != 2 {
			t.Fatalf("%q reads as %q, %d results, %v", field, id, len(results), err)
		}
		if r, ok := results[0].(*authres.SPFResult); !ok || r.Value != "fail" {
			t.Errorf("%q: first result %+v", field, results[0])
		}
	})
}
