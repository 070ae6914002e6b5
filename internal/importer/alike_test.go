package importer

import (
	"strings"
	"testing"
)

// sumOf digests a message in pieces of n octets.
func sumOf(text string, n int) string {
	a := newAlike()
	for len(text) > 0 {
		k := min(n, len(text))
		a.Write([]byte(text[:k]))
		text = text[k:]
	}
	return string(a.sum())
}

// TestAlike: copies of a message have one digest, others another, however the octets come.
func TestAlike(t *testing.T) {
	long := strings.Repeat("x\ry", 3000)
	base := "Received: one\r\nMessage-ID: <1@a>\r\nDate: Sat, 21 Nov 2026 10:11:12 +0000\r\nSubject: s\r\n t\r\nTo: a\r\n\r\nFrom me\r\n>x\r\n\r\n" + long + "\r\nend"
	bare := "Received: one\r\nSubject: s\r\n\r\nx\r\n"
	undated := strings.Replace(base, "Date: Sat, 21 Nov 2026 10:11:12 +0000\r\n", "", 1)
	for _, tt := range []struct {
		name, a, b string
		same       bool
	}{
		{"line feeds", base, strings.ReplaceAll(base, "\r\n", "\n"), true},
		{"line end at the end", base, base + "\r\n", true},
		{"empty lines at the end", base, base + "\n\r\n\n", true},
		{"quoted", base, strings.Replace(base, "From me", ">From me", 1), true},
		{"quoted twice", base, strings.Replace(base, "From me", ">>From me", 1), true},
		{"fields of a file", base, "Status: RO\r\nX-UID: 1\r\nX-Keywords: a\r\n b\r\n" + base, true},
		{"a line of a file", base, "From a@b Sat Nov 21 10:11:12 2026\n" + base, true},
		{"another way", base, strings.Replace(base, "Received: one", "Received: two\r\n\tthree\r\nDelivered-To: x", 1), true},
		{"without a Message-ID another way", bare, strings.Replace(bare, "one", "two", 1), false},
		{"without a Date another way", undated, strings.Replace(undated, "one", "two", 1), false},
		{"without a Date in another form", undated, strings.ReplaceAll(undated, "\r\n", "\n") + "\n", true},
		{"an empty Date another way", "Date: \r\n" + undated, "Date: \r\n" + strings.Replace(undated, "one", "two", 1), false},
		{"Date on the next line", "Date:\r\n Sat\r\n" + undated, "Date:\r\n Sat\r\n" + strings.Replace(undated, "one", "two", 1), true},
		{"without a Message-ID another Status", "Status: OK\r\n" + bare, "Status: FAILED\r\n" + bare, false},
		{"without a Date another Status", "Status: OK\r\n" + undated, "Status: FAILED\r\n" + undated, false},
		{"Message-ID on the next line", strings.Replace(base, ": <1", ":\r\n <1", 1), strings.Replace(strings.Replace(base, ": <1", ":\r\n <1", 1), "one", "two", 1), true},
		{"another Message-ID", base, strings.Replace(base, "<1@a>", "<2@a>", 1), false},
		{"another subject", base, strings.Replace(base, "Subject: s", "Subject: S", 1), false},
		{"another fold", base, strings.Replace(base, " t\r\nTo: a", "To: a\r\n t", 1), false},
		{"another text", base, strings.Replace(base, ">x", "x", 1), false},
		{"an empty line fewer", base, strings.Replace(base, ">x\r\n\r\n", ">x\r\n", 1), false},
		{"a list's field", base, "List-Id: l\r\n" + base, false},
		{"a list's footer", base, base + "\r\n--\r\nthe list\r\n", false},
		{"the end of a long line", base, strings.Replace(base, "x\ry\r\nend", "x\rz\r\nend", 1), false},
		{"a field of a file in the text", base, strings.Replace(base, ">x", "Status: RO", 1), false},
		{"an empty line that ends the header", "Subject: s\r\n", "Subject: s\r\n\r\n", true},
		{"nothing and an empty line", "", "\r\n", true},
		{"header and text", "Subject: s\r\nx: y\r\n\r\n", "Subject: s\r\n\r\nx: y\r\n", false},
	} {
		if got := sumOf(tt.a, 1<<20) == sumOf(tt.b, 1<<20); got != tt.same {
			t.Errorf("%s: the same: %t, want %t", tt.name, got, tt.same)
		}
		for _, n := range []int{1, 7, 4095, 4097} {
			if sumOf(tt.a, n) != sumOf(tt.a, 1<<20) || sumOf(tt.b, n) != sumOf(tt.b, 1<<20) {
				t.Errorf("%s: in pieces of %d octets it is another", tt.name, n)
			}
		}
	}
}
