package pop3

import (
	"strings"
	"testing"
)

// TestDowngrade cuts each message at every place.
func TestDowngrade(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"ascii", "Subject: x\r\nTo: a@b\r\n\r\nbödy\r\n", "Subject: x\r\nTo: a@b\r\n\r\nbödy\r\n"},
		{"subject", "Subject: grün\r\n und blau\r\nX: y\r\n\r\nö", "Subject: =?utf-8?b?Z3LDvG4gdW5kIGJsYXU=?=\r\nX: y\r\n\r\nö"},
		{"address", "From: Jörg <jörg@example.org>\r\n\r\n", "From: Internationalized address =?utf-8?b?SsO2cmcgPGrDtnJnQGV4YW1wbGUub3JnPg==?= removed:;\r\n\r\n"},
		{"structured", "Message-ID: <ö@x>\r\nContent-Type: text/plain; name=ö\r\nSubject: a\r\n\r\n", "Subject: a\r\n\r\n"},
		{"latin1", "Subject: gr\xfcn\r\n\r\n", "Subject: gr\xfcn\r\n\r\n"},
		{"bare LF", "X-Raw: ä\n\nä\n", "X-Raw: =?utf-8?b?w6Q=?=\r\n\nä\n"},
		{"header alone", "Subject: ä", "Subject: =?utf-8?b?w6Q=?=\r\n"},
		{"no field", "ä without colon\r\n\r\n", "ä without colon\r\n\r\n"},
		{"body alone", "\r\nä: ä\r\n", "\r\nä: ä\r\n"},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range len(tt.in) + 1 {
				var d downgrade
				got := string(d.take([]byte(tt.in[:cut])))
				got += string(d.take([]byte(tt.in[cut:])))
				got += string(d.end())
				if got != tt.want {
					t.Fatalf("cut at %d: got %q, want %q", cut, got, tt.want)
				}
			}
		})
	}
}

// TestDowngradeIsBounded: a field that does not end is passed on.
func TestDowngradeIsBounded(t *testing.T) {
	var d downgrade
	sent := 0
	for range 100 {
		sent += len(d.take([]byte(strings.Repeat("ö", 4096))))
		if len(d.held) > fieldMax+8192 {
			t.Fatalf("%d octets held", len(d.held))
		}
	}
	if sent += len(d.end()); sent != 100*8192 {
		t.Errorf("%d octets of %d passed", sent, 100*8192)
	}
}
