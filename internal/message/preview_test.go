package message_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/message"
)

func TestPreview(t *testing.T) {
	const html = "Content-Type: text/html; charset=utf-8\r\n\r\n"
	for _, tc := range []struct{ name, body, want string }{
		{"plain", "Subject: x\r\n\r\nHello   you,\r\n\r\nhow are\tyou?\r\n", "Hello you, how are you?"},
		{"no header", "Hello you\r\nand all\r\n", "Hello you and all"},
		{"empty", "Subject: x\r\n\r\n", ""},
		{"quotation", "\r\nYes.\r\n\r\nOn Monday, Joe Doe of\r\nSomewhere wrote:\r\n> Do you?\r\n> Joe\r\nSure.\r\n", "Yes. Sure."},
		{"nothing but quotation", "\r\n> Do you?\r\n>> Really?\r\n", "Do you? Really?"},
		{"signature", "\r\nBye\r\n-- \r\nJoe\r\nTel. 1\r\n", "Bye"},
		{"original message", "\r\nSee below.\r\n-----Original Message-----\r\nFrom: x\r\n", "See below."},
		{"encoded", "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe =\r\naus K=F6ln", "Grüße aus Köln"},
		{"base64", "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8sIHdvcmxkIQ==\r\n", "Hello, world!"},
		{"html", html + "<html><head><title>T</title><style>p {x:y}</style></head><body><p>One</p>two <b>th</b>ree &amp; four&nbsp;five<script>bad()</script>" +
			"<blockquote>old <blockquote>older</blockquote></blockquote>end</body></html>", "One two three & four five end"},
		{"html of a quotation", html + "<blockquote>old</blockquote>", "old"},
		{"html without end of head", html + "<head><title>T</title><body>seen", "seen"},
		{"plain preferred", "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>of html\r\n--b\r\n\r\nof plain\r\n--b--\r\n", "of plain"},
		{"plain is empty", "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n \r\n--b\r\nContent-Type: text/html\r\n\r\n<p>of html\r\n--b--\r\n", "of html"},
		{"attachments and messages are not meant", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nattached\r\n" +
			"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nanother's\r\n--b\r\nContent-Type: text/plain\r\n\r\nmeant\r\n--b--\r\n", "meant"},
		{"no delimiter in it", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nshort\r\n--b--\r\n", "short"},
		{"what cannot be seen", "Content-Type: text/plain; charset=utf-8\r\n\r\na\u200b\u200bb\u00adc\x00d\xff\r\n", "a bcd"},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			var x message.Indexer
			for b := []byte(tc.body); len(b) > 0; {
				n := min(piece, len(b))
				x.Write(b[:n])
				b = b[n:]
			}
			ix, _ := x.Finish()
			if got := string(ix.Preview()); got != tc.want {
				t.Errorf("%s in pieces of %d: %q, want %q", tc.name, piece, got, tc.want)
			}
			if got := message.PreviewOf(ix.Encode(nil)); string(got) != tc.want || got == nil {
				t.Errorf("%s, encoded: %q", tc.name, got)
			}
		}
	}
}

func TestPreviewIsBounded(t *testing.T) {
	for _, body := range []string{
		strings.Repeat("ä ", 100_000), strings.Repeat("x", 100_000), strings.Repeat("> y\r\n", 50_000),
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("<blockquote>", 50_000) + "z", "Content-Type: text/html\r\n\r\n<p " + strings.Repeat("a", 200_000),
	} {
		p := index([]byte("X: y\r\n" + body)).Preview()
		if n := utf8.RuneCount(p); n > message.PreviewMax || !utf8.Valid(p) {
			t.Errorf("%.20q: %d characters: %q", body, n, p)
		}
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n \r\n", 1000) + "--b\r\n\r\nlate\r\n--b--\r\n"
	if p := index([]byte(many)).Preview(); len(p) != 0 {
		t.Errorf("%q", p)
	}
}

func TestReferences(t *testing.T) {
	ix := index([]byte("References: <a@b>\r\n\t<c@d>\r\n\r\n"))
	if got := string(ix.References()); got != "<a@b>\t<c@d>" {
		t.Errorf("%q", got)
	}
	long := index([]byte("References: " + strings.Repeat("<0123456789@example.org>\r\n ", 5000) + "<last@x>\r\n\r\n")).References()
	if len(long) > message.MaxReferences || !strings.HasPrefix(string(long), "<0123456789@") || !strings.HasSuffix(string(long), "<last@x>") {
		t.Errorf("%d octets: %.40q … %.40q", len(long), long, long[len(long)-20:])
	}
}
