package filter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// TestPaddingGainsNothing sends a message that fails p=reject behind padding: it is never better off than without.
func TestPaddingGainsNothing(t *testing.T) {
	long := strings.Repeat("X-Pad: "+strings.Repeat("x", 900)+"\r\n", 300)
	manyFrom := strings.Repeat("From: a@bare.example.net\r\n", mailauth.MaxFields+mailauth.ReserveFields)
	for _, row := range []struct {
		name, pad string
		reasons   string
	}{
		{"none", "", "SPF_NONE DKIM_NONE DMARC_REJECT"},
		{"4,097 fields", strings.Repeat("X: y\r\n", 4097), "SPF_NONE DKIM_NONE DMARC_REJECT LONG_HEADER"},
		{"270 KB", long, "SPF_NONE DKIM_NONE DMARC_REJECT LONG_HEADER"},
		{"1 MB", strings.Repeat(long, 4), "SPF_NONE DKIM_NONE DMARC_REJECT LONG_HEADER HEADER_UNJUDGED"},
		{"many From", manyFrom, "SPF_NONE DKIM_NONE DMARC_NONE LONG_HEADER HEADER_UNJUDGED SEVERAL_FROM BAD_FROM"},
		{"many authors", "From: " + authors(5) + "\r\n", "SPF_NONE DKIM_NONE DMARC_NONE HEADER_UNJUDGED SEVERAL_FROM BAD_FROM"},
		{"many addresses", "From: " + strings.Repeat("a@bare.example.net, ", 100) + "b@bare.example.net\r\n",
			"SPF_NONE DKIM_NONE DMARC_NONE HEADER_UNJUDGED SEVERAL_FROM BAD_FROM LONG_HEADER_LINE"},
		{"long Subject", "Subject: " + strings.Repeat("x", 600<<10) + "\r\n", "SPF_NONE DKIM_NONE DMARC_REJECT LONG_HEADER HEADER_UNJUDGED LONG_HEADER_LINE"},
	} {
		for _, choice := range []struct {
			name   string
			change func(*Config)
			action mailv1.Action
		}{
			{"default", nil, junk},
			{"rejecting", func(c *Config) { c.DMARCReject = actReject }, reject},
			{"left to the score", func(c *Config) { c.DMARCReject = actScore }, junk},
			{"whatever the threshold", func(c *Config) { c.JunkAt = -1 }, junk},
		} {
			t.Run(row.name+"/"+choice.name, func(t *testing.T) {
				f := start(t, choice.change)
				v := f.check(&filterv1.CheckStart{Envelope: env("e@bare.example.net", "198.51.100.1")}, row.pad+plain("ceo@good.example.com"), 16<<10)
				if v.Action != choice.action || v.Score < 8 || !sameWords(names(v), row.reasons) {
					t.Errorf("got %v for %s (score %v); want %v for %s, at least 8", v.Action, names(v), v.Score, choice.action, row.reasons)
				}
			})
		}
	}
}

// authors are n addresses at domains without a policy.
func authors(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("a@n%d.example", i))
	}
	return strings.Join(list, ", ")
}

func TestUnjudgedHeaderIsJunkByDefault(t *testing.T) {
	// Of a client that says nothing DMARC is not asked: the score alone has to do.
	f := start(t, nil)
	msg := "Subject: " + strings.Repeat("x", 600<<10) + "\r\n" + plain("alice@good.example.com")
	v := f.check(&filterv1.CheckStart{Envelope: env("alice@good.example.com", "")}, msg, 16<<10)
	if v.Action != junk || !slices.Contains(strings.Fields(names(v)), reasonHeaderUnjudged) {
		t.Errorf("got %v for %s (score %v), want junk for %s", v.Action, names(v), v.Score, reasonHeaderUnjudged)
	}
}
