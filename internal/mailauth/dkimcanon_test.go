package mailauth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mailfarm/mailfarm/internal/mailauth"
)

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func sha256Base64(s string) string { return base64.StdEncoding.EncodeToString(sha256Of(s)) }

// Every body that go-msgauth signs must verify here, in either canonicalization and whatever pieces it comes in.
func FuzzBodyAgainstSigner(f *testing.F) {
	for _, s := range []string{"", "\r\n", "a", "a\r\n\r\n", " \t\r\n", "a \r\n b\t\tc\r\n", "\r\n\r\na\r\n \r\n", "a\rb\r\n", "  "} {
		f.Add(s, 1)
	}
	r, _ := resolver(f, dkimZone())
	key := keys().ed
	f.Fuzz(func(t *testing.T, body string, size int) {
		if size < 1 || strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\r") {
			return // line ends as SMTP has them; what signers make of others differs
		}
		for _, c := range []dkim.Canonicalization{"simple", "relaxed"} {
			var b bytes.Buffer
			err := dkim.Sign(&b, strings.NewReader("From: a@example.com\r\n\r\n"+body), &dkim.SignOptions{
				Domain: "example.com", Selector: "ed", Signer: key, BodyCanonicalization: c, HeaderCanonicalization: "relaxed"})
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(verify(t.Context(), t, r, b.String(), size)); got != "pass" {
				t.Errorf("%s, body %q in pieces of %d: %s", c, body, size, got)
			}
		}
	})
}

// A body of line ends alone must cost neither memory nor time that grows faster than it.
func TestDKIMBodyOfLineEndsCostsLittle(t *testing.T) {
	r, _ := resolver(t, dkimZone())
	msg := sign(t, dkimMessage, "ed", keys().ed, func(o *dkim.SignOptions) { o.BodyCanonicalization = "simple" })
	h := scan(t, msg, len(msg))
	d := mailauth.StartDKIM(t.Context(), r, h, time.Now())
	chunk := bytes.Repeat([]byte("\r\n"), 16<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 { // 32 MiB
		d.Write(chunk)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d octets allocated for a body of 32 MiB, want less than 1 MiB", n)
	}
	d.Finish()
}

func BenchmarkDKIM(b *testing.B) {
	r, _ := resolver(b, dkimZone())
	body := strings.Repeat("Some text of a usual line in a usual mail, more or less.\r\n", 70)
	for _, row := range []struct {
		name string
		msg  string
	}{
		{"none", dkimMessage + body},
		{"ed25519", sign(b, dkimMessage+body, "ed", keys().ed, nil)},
		{"rsa2048", sign(b, dkimMessage+body, "rsa2", keys().rsa2, nil)},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify(b.Context(), b, r, row.msg, len(row.msg))
			}
		})
	}
}
