package searchtext_test

import (
	"bytes"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// TestTexts says which text lies where: in parts, in headers, or where FUZZY alone looks.
func TestTexts(t *testing.T) {
	const mail = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= folded\r\n again\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"preamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Description: described\r\n\r\nna=EFve\r\n" +
		"--b\r\nContent-Type: text/html\r\n\r\n<style>styled</style><p>caf&eacute; <b>o</b>ne</p><p>two</p>\r\n" +
		"--b\r\nContent-Type: application/octet-stream\r\n\r\nbinary\r\n--b--\r\n"
	var x message.Indexer
	x.Write([]byte(mail))
	ix, err := x.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var texts searchtext.Texts
	texts.Reset(ix, ix.WithOverlay(message.Overlay{}), []byte(mail))
	for _, tt := range []struct {
		text                    string
		parts, headers, loosely bool
	}{
		{"NAÏVE", true, false, false}, {"grüße FOLDED again", false, true, false}, {"described", false, true, false}, {"caf&eacute;", true, false, false},
		{"café one two", false, false, true}, {"styled", true, false, false}, {"preamble", false, false, false}, {"binary", false, false, false},
	} {
		holds := func(text []byte) bool {
			return bytes.Contains(bytes.Join(bytes.Fields(text), []byte(" ")), searchtext.Fold(nil, []byte(tt.text)))
		}
		if p, h, l := texts.InText(holds), texts.InHeaders(holds), texts.InLoose(holds); p != tt.parts || h != tt.headers || l != tt.loosely {
			t.Errorf("%q: in parts %v, headers %v, loosely %v; want %v, %v, %v", tt.text, p, h, l, tt.parts, tt.headers, tt.loosely)
		}
	}
}

func TestStems(t *testing.T) {
	for _, tt := range []struct {
		words, text string
		want        bool
	}{
		{"meeting", "we met", false}, {"meeting", "they MEETS", true}, {"quick foxes", "the fox was quickly gone", true}, {"quick foxes", "the fox was gone", false},
		{"Straße", "strassen", false}, {"Straße", "STRASSE", false}, {"Straße", "an der straße", true}, {"...", "anything", false},
	} {
		stems := searchtext.Stems(searchtext.Fold(nil, []byte(tt.words)))
		if got := len(stems) > 0 && searchtext.HasStems(searchtext.Fold(nil, []byte(tt.text)), stems); got != tt.want {
			t.Errorf("%q in %q: got %v, want %v", tt.words, tt.text, got, tt.want)
		}
	}
}
