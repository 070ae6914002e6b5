package message_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mailfarm/mailfarm/internal/message"
)

func TestNewDecoder(t *testing.T) {
	for _, tc := range []struct{ name, encoding, in, want string }{
		{"none", "", "a=\r\n", "a=\r\n"},
		{"8bit", "8bit", "\xff\x00", "\xff\x00"},
		{"base64", "base64", "SGVsbG8s\r\nIFdvcmxkIQ==\r\n", "Hello, World!"},
		{"base64 without padding", "base64", "SGVsbG8", "Hello"},
		{"base64 with junk", "base64", "SG!Vs bG8=", "Hello"},
		{"base64 in pieces", "base64", "SGVsbG8=\r\nSGVsbG8=\r\n", "HelloHello"},
		{"base64, one character too many", "base64", "SGVsS", "Hel"},
		{"base64 of nothing", "base64", "====\r\n", ""},
		{"quoted-printable", "quoted-printable", "=48=e9llo =\r\nW=3Drld \t\r\nx ", "H\xe9llo W=rld\r\nx"},
		{"soft line break with blanks", "quoted-printable", "a= \t\r\nb=\nc", "abc"},
		{"not quite quoted", "quoted-printable", "a=b=ZZ==4=\rx=4\r\n=", "a=b=ZZ==4=\rx=4\r\n"},
		{"half a quoted octet at the end", "quoted-printable", "a=4", "a=4"},
		{"blanks", "quoted-printable", "a  b  \r\n   \r\n c", "a  b\r\n\r\n c"},
		{"blanks before quoted", "quoted-printable", "a  =20\r\nb =\r\n c", "a   \r\nb  c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for way, wrap := range map[string]func(io.Reader) io.Reader{
				"whole":  func(r io.Reader) io.Reader { return r },
				"octets": iotest.OneByteReader,
				"late":   iotest.DataErrReader,
				"half":   iotest.HalfReader,
			} {
				r, err := message.NewDecoder(tc.encoding, wrap(strings.NewReader(tc.in)))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || string(got) != tc.want {
					t.Errorf("%s: %q, %v; want %q", way, got, err, tc.want)
				}
				r, _ = message.NewDecoder(tc.encoding, wrap(strings.NewReader(tc.in)))
				got, err = io.ReadAll(iotest.OneByteReader(r))
				if err != nil || string(got) != tc.want {
					t.Errorf("%s, read by octets: %q, %v; want %q", way, got, err, tc.want)
				}
			}
			if got, err := message.DecodedSize(tc.encoding, strings.NewReader(tc.in)); err != nil || got != int64(len(tc.want)) {
				t.Errorf("size %d, %v; want %d", got, err, len(tc.want))
			}
		})
	}
}

func TestNewDecoderErrors(t *testing.T) {
	if _, err := message.NewDecoder("x-uuencode", strings.NewReader("")); !errors.Is(err, message.ErrUnknownEncoding) {
		t.Errorf("x-uuencode: %v", err)
	}
	if _, err := message.DecodedSize("x-uuencode", strings.NewReader("")); !errors.Is(err, message.ErrUnknownEncoding) {
		t.Errorf("size of x-uuencode: %v", err)
	}
	for _, encoding := range []string{"7bit", "base64", "quoted-printable"} {
		failing := io.MultiReader(strings.NewReader("SGVs"), iotest.ErrReader(io.ErrClosedPipe))
		r, _ := message.NewDecoder(encoding, failing)
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v, want the error of the source", encoding, err)
		}
	}
}

// What others have encoded comes out as it was.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte("Hello, Wörld! = \r\n \t\r\n."), 3)
	f.Add(bytes.Repeat([]byte{0xff, '=', ' '}, 3000), 7)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		piece = max(1, piece%100)
		var q bytes.Buffer
		w := quotedprintable.NewWriter(&q)
		w.Binary = true
		w.Write(text)
		w.Close()
		for encoding, encoded := range map[string]string{
			"base64":           base64.StdEncoding.EncodeToString(text),
			"quoted-printable": q.String(),
		} {
			r, _ := message.NewDecoder(encoding, &pieces{strings.NewReader(encoded), piece})
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s in pieces of %d: %q, %v; want %q", encoding, piece, got, err, text)
			}
			// Anything at all decodes to something, and in the same way however it is cut.
			whole, _ := message.NewDecoder(encoding, bytes.NewReader(text))
			want, err := io.ReadAll(whole)
			if err != nil {
				t.Fatal(err)
			}
			cut, _ := message.NewDecoder(encoding, &pieces{bytes.NewReader(text), piece})
			if got, err := io.ReadAll(cut); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s of %q in pieces of %d: %q, %v; want %q", encoding, text, piece, got, err, want)
			}
		}
	})
}

// pieces gives at most n octets at a time.
type pieces struct {
	r io.Reader
	n int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func TestNewTextReader(t *testing.T) {
	for _, tc := range []struct{ name, header, body, want string }{
		{"plain", "", "hello", "hello"},
		{"latin-1", "Content-Type: text/plain; charset=ISO-8859-1\r\n", "gr\xfc\xdfe", "grüße"},
		{"latin-1 quoted", "Content-Type: text/plain; charset=\"iso-8859-1\"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n", "gr=FC=DFe", "grüße"},
		{"shift-jis in base64", "Content-Type: text/plain; charset=shift_jis\r\nContent-Transfer-Encoding: base64\r\n", "k/qWe4zq", "日本語"},
		{"hz", "Content-Type: text/plain; charset=hz-gb-2312\r\n", "~{VPND~}", "中文"},
		{"unknown charset", "Content-Type: text/plain; charset=x-nobody\r\n", "a\xffb", "a\uFFFDb"},
		{"unknown encoding", "Content-Transfer-Encoding: x-nobody\r\n", "a=20b", "a=20b"},
		{"utf-8 that is none", "Content-Type: text/plain; charset=utf-8\r\n", "a\xffb", "a\uFFFDb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ix := index([]byte(tc.header + "\r\n" + tc.body))
			got, err := io.ReadAll(message.NewTextReader(ix.Root(), strings.NewReader(tc.body), 1000))
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
			got, _ = io.ReadAll(message.NewTextReader(ix.Root(), strings.NewReader(tc.body), 2))
			if len(got) > 2 {
				t.Errorf("%q is more than 2 octets", got)
			}
		})
	}
}
