package mailauth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
)

// keys are made once: RSA keys take long.
var keys = sync.OnceValue(func() (k struct {
	rsa, rsa2 *rsa.PrivateKey
	ed        ed25519.PrivateKey
}) {
	make := func(bits int) *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	}
	k.rsa, k.rsa2 = make(1024), make(2048)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func rsaRecord(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// txt writes a TXT record with its text in strings of 200 octets.
func txt(name, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. 60 IN TXT", name)
	for ; len(text) > 200; text = text[200:] {
		fmt.Fprintf(&b, " %q", text[:200])
	}
	fmt.Fprintf(&b, " %q\n", text)
	return b.String()
}

func dkimZone() string {
	k := keys()
	long := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 4159, 1), E: 65537}
	ed := base64.StdEncoding.EncodeToString(k.ed.Public().(ed25519.PublicKey))
	pkcs1 := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey))
	return txt("rsa._domainkey.example.com", "v=DKIM1; k=rsa; p="+rsaRecord(&k.rsa.PublicKey)) +
		txt("rsa2._domainkey.example.com", "p="+rsaRecord(&k.rsa2.PublicKey)) +
		txt("long._domainkey.example.com", "p="+rsaRecord(long)) +
		txt("pkcs1._domainkey.example.com", "v=DKIM1; p="+pkcs1) +
		txt("ed._domainkey.example.com", "v=DKIM1; k=ed25519; p="+ed) +
		txt("ed._domainkey.example.net", "v=DKIM1; k=ed25519; p="+ed) +
		txt("test._domainkey.example.com", "v=DKIM1; t=y; k=ed25519; p="+ed) +
		txt("strict._domainkey.example.com", "v=DKIM1; t=y:s; k=ed25519; p="+ed) +
		txt("sha1._domainkey.example.com", "v=DKIM1; h=sha1; k=ed25519; p="+ed) +
		txt("tls._domainkey.example.com", "v=DKIM1; s=tlsrpt; k=ed25519; p="+ed) +
		txt("revoked._domainkey.example.com", "v=DKIM1; p=") +
		txt("v2._domainkey.example.com", "v=DKIM2; k=ed25519; p="+ed) +
		txt("junk._domainkey.example.com", "hello") +
		txt("short._domainkey.example.com", "k=ed25519; p=AAAA") +
		txt("two._domainkey.example.com", "v=DKIM1; k=ed25519; p="+ed) + txt("two._domainkey.example.com", "k=ed25519; p="+ed) +
		txt("beside._domainkey.example.com", "v=spf1 -all") + txt("beside._domainkey.example.com", "k=ed25519; p="+ed)
}

func resolver(t testing.TB, zone string) (*resolve.Resolver, *dnstest.Server) {
	t.Helper()
	srv := dnstest.Start(t, zone)
	r, err := resolve.New(resolve.Config{Servers: []string{srv.Addr()}, Timeout: 5 * time.Second, Attempts: 1}, resolve.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, srv
}

const dkimMessage = "From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject:  folded\r\n\tsubject \r\n" +
	"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nReceived: one\r\nReceived: two\r\n\r\n" +
	"Hello  \t Bob,\r\n\r\n  text \t\r\n.dots\r\n\r\n\r\n"

// sign puts a signature by go-msgauth before a message.
func sign(t testing.TB, msg, selector string, key crypto.Signer, change func(*dkim.SignOptions)) string {
	t.Helper()
	o := &dkim.SignOptions{Domain: "example.com", Selector: selector, Signer: key, HeaderCanonicalization: "relaxed", BodyCanonicalization: "relaxed",
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Received", "Received", "Cc"}}
	if change != nil {
		change(o)
	}
	var b bytes.Buffer
	if err := dkim.Sign(&b, strings.NewReader(msg), o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// verify runs a message through in pieces.
func verify(ctx context.Context, t testing.TB, r mailauth.Resolver, msg string, size int) []mailauth.DKIMResult {
	t.Helper()
	h := scan(t, msg, size)
	d := mailauth.StartDKIM(ctx, r, h, time.Now())
	if d == nil {
		return nil
	}
	for body := msg[h.Size():]; len(body) > 0; {
		n := min(size, len(body))
		d.Write([]byte(body[:n]))
		body = body[n:]
	}
	return d.Finish()
}

func summary(results []mailauth.DKIMResult) string {
	var s []string
	for _, r := range results {
		text := string(r.Value)
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		s = append(s, text)
	}
	return strings.Join(s, "; ")
}

func TestDKIM(t *testing.T) {
	k := keys()
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic(fmt.Sprintf("%q is not in %q", old, s))
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for _, row := range []struct {
		name, selector string
		key            crypto.Signer
		options        func(*dkim.SignOptions)
		spoil          func(string) string
		want           string
	}{
		{"RSA", "rsa", k.rsa, nil, nil, "pass"},
		{"RSA 2048, record without version", "rsa2", k.rsa2, nil, nil, "pass"},
		{"RSA as PKCS #1", "pkcs1", k.rsa, nil, nil, "pass"},
		{"Ed25519", "ed", k.ed, nil, nil, "pass"},
		{"simple/simple", "ed", k.ed, func(o *dkim.SignOptions) { o.HeaderCanonicalization, o.BodyCanonicalization = "simple", "simple" }, nil, "pass"},
		{"simple/relaxed", "rsa", k.rsa, func(o *dkim.SignOptions) { o.HeaderCanonicalization = "simple" }, nil, "pass"},
		{"relaxed/simple", "rsa", k.rsa, func(o *dkim.SignOptions) { o.BodyCanonicalization = "simple" }, nil, "pass"},
		{"all fields", "ed", k.ed, func(o *dkim.SignOptions) { o.HeaderKeys = nil }, nil, "pass"},
		{"identity below the domain", "ed", k.ed, func(o *dkim.SignOptions) { o.Identifier = "bob@lists.example.com" }, nil, "pass"},
		{"key beside other records", "beside", k.ed, nil, nil, "pass"},
		{"key under test", "test", k.ed, nil, nil, "pass"},
		{"relaxed forgives white space", "ed", k.ed, nil, replace("Hello  \t Bob", "Hello Bob"), "pass"},
		{"relaxed forgives folding and case of names", "ed", k.ed, nil, replace("Subject:  folded\r\n\tsubject \r\n", "SUBJECT :folded subject\r\n"), "pass"},
		{"a field added that is not signed", "ed", k.ed, nil, func(s string) string { return "X-New: 1\r\n" + s }, "pass"},
		{"a third Received on top", "ed", k.ed, nil, func(s string) string { return "Received: three\r\n" + s }, "pass"},
		{"empty lines at the end", "ed", k.ed, nil, func(s string) string { return s + "\r\n\r\n" }, "pass"},
		{"expires later", "ed", k.ed, func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(time.Hour) }, nil, "pass"},

		{"broken body", "rsa", k.rsa, nil, replace("dots", "dogs"), "fail: body hash did not verify"},
		{"text added", "rsa", k.rsa, nil, func(s string) string { return s + "P.S." }, "fail: body hash did not verify"},
		{"broken subject", "rsa", k.rsa, nil, replace("folded", "forged"), "fail: signature did not verify"},
		{"From added below", "ed", k.ed, nil, replace("To: bob", "From: eve@example.com\r\nTo: bob"), "fail: signature did not verify"},
		{"a field that was signed as absent", "ed", k.ed, nil, replace("To: bob", "Cc: eve@example.com\r\nTo: bob"), "fail: signature did not verify"},
		{"simple forgives nothing", "ed", k.ed, func(o *dkim.SignOptions) { o.HeaderCanonicalization = "simple" }, replace("Subject:  f", "Subject: f"), "fail: signature did not verify"},
		{"another key", "rsa2", k.rsa, nil, nil, "fail: signature did not verify"},
		{"expired", "ed", k.ed, func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(-time.Minute) }, nil, "permerror: signature expires before it was made"},

		{"missing key", "nobody", k.ed, nil, nil, "permerror: no key for signature"},
		{"revoked key", "revoked", k.ed, nil, nil, "permerror: key revoked"},
		{"key of another version", "v2", k.ed, nil, nil, "permerror: key record of another version"},
		{"record that is no key", "junk", k.ed, nil, nil, "permerror: key record: malformed tag list"},
		{"two keys", "two", k.ed, nil, nil, "permerror: several key records"},
		{"Ed25519 key too short", "short", k.ed, nil, nil, "permerror: Ed25519 key of 3 octets"},
		{"RSA key too long", "long", k.rsa, nil, nil, "permerror: RSA key of 4160 bits is too long"},
		{"key for another algorithm", "rsa", k.ed, nil, nil, "permerror: key is for another algorithm"},
		{"key for SHA-1 only", "sha1", k.ed, nil, nil, "permerror: key does not allow SHA-256"},
		{"key not for mail", "tls", k.ed, nil, nil, "permerror: key is not for mail"},
		{"key for the domain alone", "strict", k.ed, func(o *dkim.SignOptions) { o.Identifier = "@lists.example.com" }, nil, "permerror: key does not allow a subdomain as identity"},
		{"key for the domain alone, and it is", "strict", k.ed, func(o *dkim.SignOptions) { o.Identifier = "@example.com" }, nil, "pass"},
		{"no answer", "servfail", k.ed, nil, nil, "temperror: key unavailable"},

		{"SHA-1", "rsa", k.rsa, nil, replace("rsa-sha256", "rsa-sha1"), "permerror: SHA-1 is too weak"},
		{"unknown algorithm", "rsa", k.rsa, nil, replace("rsa-sha256", "rsa-sha512"), "permerror: unknown algorithm"},
		{"version 2", "ed", k.ed, nil, replace("v=1", "v=2"), "permerror: signature of another version"},
		{"foreign identity", "ed", k.ed, func(o *dkim.SignOptions) { o.Identifier = "bob@notexample.com" }, nil, "permerror: identity is not of the domain"},
		{"tag twice", "ed", k.ed, nil, replace("v=1;", "v=1; v=1;"), "permerror: tag given twice"},
		{"no body hash", "ed", k.ed, nil, replace("bh=", "bx="), "permerror: signature without bh tag"},
		{"no tags", "ed", k.ed, nil, func(s string) string { return "DKIM-Signature: x\r\n" + s[strings.Index(s, "From:"):] }, "permerror: malformed tag list"},
		{"empty", "ed", k.ed, nil, func(s string) string { return "DKIM-Signature:\r\n" + s[strings.Index(s, "From:"):] }, "permerror: signature without v tag"},
		{"body length is no number", "ed", k.ed, nil, replace("v=1;", "v=1; l=-1;"), "permerror: malformed body length"},
		{"unknown canonicalization", "ed", k.ed, nil, replace("relaxed/relaxed", "relaxed/loose"), "permerror: unknown canonicalization"},
		{"too many tags", "ed", k.ed, nil, func(s string) string {
			var b strings.Builder
			for i := range 60 {
				fmt.Fprintf(&b, "x%d=;", i)
			}
			return strings.Replace(s, "v=1;", b.String()+"v=1;", 1)
		}, "permerror: too many tags"},
		{"too many signed names", "ed", k.ed, nil, replace("h=From:", "h=From:"+strings.Repeat("x:", 2000)), "permerror: too many signed fields"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, srv := resolver(t, dkimZone())
			srv.Behave("servfail._domainkey.example.com", dnstest.ServFail)
			msg := sign(t, dkimMessage, row.selector, row.key, row.options)
			if row.spoil != nil {
				msg = row.spoil(msg)
			}
			for _, size := range []int{1, 3, 50, len(msg)} {
				if got := summary(verify(t.Context(), t, r, msg, size)); got != row.want {
					t.Fatalf("in pieces of %d: got %q, want %q\n%.2000s", size, got, row.want, msg)
				}
			}
		})
	}
}

func TestDKIMResultTellsWhoSigned(t *testing.T) {
	r, _ := resolver(t, dkimZone())
	msg := sign(t, dkimMessage, "test", keys().ed, func(o *dkim.SignOptions) { o.Identifier, o.Domain = "alice@EXAMPLE.com", "EXAMPLE.com" })
	got := verify(t.Context(), t, r, msg, len(msg))[0]
	if got.Domain != "example.com" || got.Selector != "test" || got.Identity != "alice@EXAMPLE.com" || got.Algorithm != "ed25519-sha256" || !got.Testing || len(got.Signature) != 8 {
		t.Errorf("got %+v", got)
	}
}

func TestDKIMSeveralSignatures(t *testing.T) {
	r, _ := resolver(t, dkimZone())
	k := keys()
	msg := sign(t, dkimMessage, "rsa", k.rsa, nil)
	msg = sign(t, msg, "ed", k.ed, func(o *dkim.SignOptions) { o.Domain, o.BodyCanonicalization = "example.net", "simple" })
	msg = sign(t, msg, "nobody", k.ed, nil)
	got := verify(t.Context(), t, r, msg, 100)
	if s, want := summary(got), "permerror: no key for signature; pass; pass"; s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	if got[1].Domain != "example.net" || got[2].Domain != "example.com" {
		t.Errorf("results are not in the order of the signatures: %v", got)
	}
}

func TestDKIMSignaturesAreBounded(t *testing.T) {
	r, srv := resolver(t, dkimZone())
	one := sign(t, dkimMessage, "ed", keys().ed, nil)
	field := one[:len(one)-len(dkimMessage)]
	msg := strings.Repeat(field, 100) + dkimMessage
	h := scan(t, msg, len(msg))
	d := mailauth.StartDKIM(t.Context(), r, h, time.Now())
	d.Write([]byte(msg[h.Size():]))
	if n := len(d.Finish()); n != mailauth.MaxSignatures || !d.TooMany() {
		t.Errorf("%d results, too many: %v; want %d, true", n, d.TooMany(), mailauth.MaxSignatures)
	}
	if n := srv.Queries(); n != 1 {
		t.Errorf("%d queries for one key, want 1", n)
	}
}

func TestDKIMWithoutSignatureIsNothing(t *testing.T) {
	if d := mailauth.StartDKIM(t.Context(), nil, scan(t, dkimMessage, 100), time.Now()); d != nil {
		t.Error("a message without signature is verified")
	}
}

// partial signs only the first n octets of the body, which go-msgauth does not do: the signature is made over a message
// that ends there, and the "l" tag is part of what is signed.
func TestDKIMBodyLength(t *testing.T) {
	r, _ := resolver(t, dkimZone())
	const head = "From: a@example.com\r\n"
	const body = "signed part\r\n"
	make := func(l string) string {
		sum := sha256Base64(body)
		field := "DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d=example.com; s=ed; h=from; l=" + l + "; bh=" + sum + "; b="
		sig := ed25519.Sign(keys().ed, sha256Of(head+field))
		return field + base64.StdEncoding.EncodeToString(sig) + "\r\n" + head + "\r\n"
	}
	n := fmt.Sprint(len(body))
	for _, row := range []struct{ name, l, body, want string }{
		{"all of it", n, body, "pass"},
		{"text behind it", n, body + "anything\r\n", "policy: body is signed in part only"},
		{"less than it", n, body[:5], "permerror: body is shorter than its signed length"},
		{"changed", n, strings.ToUpper(body), "fail: body hash did not verify"},
		{"huge number", "99999999999999999999", body, "permerror: malformed body length"},
		{"nothing signed", "0", body, "fail: body hash did not verify"},
	} {
		msg := make(row.l) + row.body
		for _, size := range []int{1, len(msg)} {
			if got := summary(verify(t.Context(), t, r, msg, size)); got != row.want {
				t.Errorf("%s, in pieces of %d: got %q, want %q", row.name, size, got, row.want)
			}
		}
	}
}

func TestDKIMEndsWithItsContext(t *testing.T) {
	r, srv := resolver(t, dkimZone())
	release := srv.Hold("ed._domainkey.example.com")
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	msg := sign(t, dkimMessage, "ed", keys().ed, nil)
	began := time.Now()
	if got, want := summary(verify(ctx, t, r, msg, len(msg))), "temperror: key unavailable"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// RFC 8463 appendix A: a message with an Ed25519 and an RSA signature.
func TestDKIMExampleOfRFC8463(t *testing.T) {
	r, _ := resolver(t,
		txt("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")+
			txt("test._domainkey.football.example.com", "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"))
	msg := strings.ReplaceAll(`DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`, "\n", "\r\n")
	if got, want := summary(verify(t.Context(), t, r, msg, 10)), "pass; pass"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
