package filter

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
)

func TestSignedMail(t *testing.T) {
	seed := bytes.Repeat([]byte{1}, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	record := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	sign := func(msg, domain string) string {
		var b bytes.Buffer
		if err := dkim.Sign(&b, strings.NewReader(msg), &dkim.SignOptions{Domain: domain, Selector: "s", Signer: key, HeaderKeys: []string{"From", "Subject"}}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	msg := plain("alice@good.example.com")
	for _, row := range []struct{ name, msg, want string }{
		{"by the author's domain", sign(msg, "good.example.com"), "SPF_FAIL DKIM_PASS DMARC_PASS"},
		{"by the author's organisation", sign(msg, "example.com"), "SPF_FAIL DKIM_PASS DMARC_PASS"},
		{"by another", sign(msg, "none.example.net"), "SPF_FAIL DKIM_PASS DMARC_REJECT"},
		{"by another and the author", sign(sign(msg, "good.example.com"), "none.example.net"), "SPF_FAIL DKIM_PASS DKIM_PASS DMARC_PASS"},
		{"broken", strings.Replace(sign(msg, "good.example.com"), "how are", "who are", 1), "SPF_FAIL DKIM_FAIL DMARC_REJECT"},
		{"without key", sign(msg, "quar.example.net"), "SPF_FAIL DKIM_PERMERROR DMARC_REJECT"},
		{"very often", strings.Repeat("DKIM-Signature: x\r\n", 20) + msg, "SPF_FAIL" + strings.Repeat(" DKIM_PERMERROR", 8) + " DKIM_TOO_MANY DMARC_REJECT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, nil)
			for _, d := range []string{"good.example.com", "example.com", "none.example.net"} {
				if err := f.dns.Add(fmt.Sprintf("s._domainkey.%s. 60 IN TXT \"v=DKIM1; k=ed25519; p=%s\"\n", d, record)); err != nil {
					t.Fatal(err)
				}
			}
			for _, size := range []int{1, 100, 32 << 10} {
				v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "198.51.100.1")}, row.msg, size)
				if got := names(v); got != row.want {
					t.Errorf("in pieces of %d: got %s, want %s", size, got, row.want)
				}
			}
		})
	}
}
