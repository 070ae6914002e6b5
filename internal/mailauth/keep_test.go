package mailauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/message"
)

// paddings are what may stand before the fields that matter, and whether what follows can still be judged.
var paddings = []struct {
	name, pad string
	unjudged  bool
}{
	{"one field too many", strings.Repeat("X: y\r\n", mailauth.MaxFields+1), false},
	{"one long field", "X-Pad: " + strings.Repeat("x", mailauth.MaxHeaderBytes+14<<10) + "\r\n", false},
	{"a long folded field", "X-Pad: 1" + strings.Repeat("\r\n y", 80<<10) + "\r\n", false},
	{"nearly all that readers look at", strings.Repeat("X-Pad: "+strings.Repeat("x", 1000)+"\r\n", 1000), false},
	{"a line that is no field", strings.Repeat("x", 300<<10) + "\r\n", false},
	{"more than readers look at", strings.Repeat("X-Pad: "+strings.Repeat("x", 1000)+"\r\n", 1050), true},
	{"fields that matter, too many", strings.Repeat("Received: y\r\n", mailauth.MaxFields+mailauth.ReserveFields), true},
	{"fields that matter, too long", "Subject : " + strings.Repeat("x", mailauth.MaxHeaderBytes+mailauth.Reserve) + "\r\n", true},
	{"the same, folded", "Subject:" + strings.Repeat("\r\n "+strings.Repeat("x", 1000), 600) + "\r\n", true},
	{"a name with much white space", "Subject" + strings.Repeat(" ", 550<<10) + ": x\r\n", true},
}

func TestFieldsThatMatterAreFoundBehindPadding(t *testing.T) {
	const fields = "fRom \t: CEO <ceo@example.com>\r\nDate: today\r\nMessage-ID: <1@x>\r\nSubject: hello\r\n\tall\r\nDKIM-Signature: v=1\r\nX-Not: kept\r\n"
	for _, row := range paddings {
		t.Run(row.name, func(t *testing.T) {
			msg := "To: b@example.org\r\n" + row.pad + fields + "\r\nbody"
			for _, size := range []int{61, 4096, len(msg)} {
				h := scan(t, msg, size)
				if h.Unjudged() != row.unjudged || !h.Truncated() {
					t.Errorf("in pieces of %d: unjudged %v, truncated %v; want %v, true", size, h.Unjudged(), h.Truncated(), row.unjudged)
				}
				if n := h.Count("x-not"); n != 0 {
					t.Errorf("in pieces of %d: %d fields are listed that are not kept", size, n)
				}
				if row.unjudged {
					continue
				}
				for _, name := range []string{"From", "Date", "Message-ID", "Subject", "DKIM-Signature"} {
					if n := h.Count(name); n != 1 {
						t.Errorf("in pieces of %d: %d %s fields, want 1", size, n, name)
					}
				}
				for f := range h.All("subject") {
					if got, want := string(h.Raw(f)), "Subject: hello\r\n\tall\r\n"; got != want {
						t.Errorf("in pieces of %d: got %q, want %q", size, got, want)
					}
				}
				if got, want := fmt.Sprint(mailauth.From(h).Domains), "[example.com]"; got != want {
					t.Errorf("in pieces of %d: got authors at %s, want %s", size, got, want)
				}
			}
		})
	}
}

func TestLongFromIsReadWhole(t *testing.T) {
	msg := "From: (" + strings.Repeat("x", 200<<10) + ")\r\n (" + strings.Repeat("y", 200<<10) + ")\r\n a@example.com\r\n\r\nbody"
	for _, size := range []int{61, len(msg)} {
		h := scan(t, msg, size)
		if got := fmt.Sprint(mailauth.From(h).Domains, h.Truncated(), h.Unjudged()); got != "[example.com] false false" {
			t.Errorf("in pieces of %d: got %s, want [example.com] false false", size, got)
		}
	}
}

func TestShortHeaderIsJudged(t *testing.T) {
	h := scan(t, "From: a@example.com\r\nX: y\r\n\r\n"+strings.Repeat("x", 2*mailauth.MaxJudged), 100)
	if h.Truncated() || h.Unjudged() {
		t.Errorf("truncated %v, unjudged %v by a long body; want false, false", h.Truncated(), h.Unjudged())
	}
}

func TestJudgedAsFarAsReadersLook(t *testing.T) {
	if mailauth.MaxJudged != message.MaxHeaderBytes {
		t.Errorf("headers of %d octets are judged, and %d are shown", mailauth.MaxJudged, message.MaxHeaderBytes)
	}
}

func BenchmarkPaddedHeader(b *testing.B) {
	for _, row := range paddings {
		b.Run(strings.ReplaceAll(row.name, " ", "-"), func(b *testing.B) {
			msg := []byte(row.pad + "From: a@example.com\r\n\r\n")
			forged := forged(b)
			var h mailauth.Header
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset(forged)
				h.Write(msg)
			}
		})
	}
}
