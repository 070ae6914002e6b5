package searchtext_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"runtime"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// indexed makes the part index of a message.
func indexed(t testing.TB, mail io.Reader) *message.Index {
	t.Helper()
	var x message.Indexer
	if _, err := io.Copy(&x, mail); err != nil {
		t.Fatal(err)
	}
	ix, err := x.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// needle looks for a text as a key of SEARCH does.
func needle(key, text string) *searchtext.Needle {
	fuzzy := strings.HasPrefix(key, "FUZZY ")
	key = strings.TrimPrefix(key, "FUZZY ")
	n := &searchtext.Needle{Text: searchtext.Fold(nil, []byte(text)), Parts: key == "BODY" || key == "TEXT", Headers: key == "TEXT"}
	if !n.Parts {
		n.Field = strings.ToLower(key)
	}
	if fuzzy {
		n.Stems = searchtext.Stems(n.Text)
	}
	return n
}

// inLong looks for needles piece by piece.
func inLong(t testing.TB, ix *message.Index, mail []byte, needles ...*searchtext.Needle) *searchtext.Looks {
	t.Helper()
	looks := searchtext.LookFor(needles)
	long := searchtext.Long{Open: func(r message.Range) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(mail[r.Offset:r.End()])), nil
	}}
	if err := long.Read(ix.WithOverlay(message.Overlay{}), looks); err != nil {
		t.Fatal(err)
	}
	return looks
}

// nested puts a part into so many multiparts.
func nested(part string, levels int) string {
	for i := range levels {
		part = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"level%d.\"\r\n\r\n--level%[1]d.\r\n%s\r\n--level%[1]d.--\r\n", i, part)
	}
	return part
}

// TestLongMessages: a word is found wherever it stands, in whatever encoding, at any size and depth, and in little memory.
func TestLongMessages(t *testing.T) {
	const megabytes = 6
	filler := strings.Repeat("Straße nach Köln, naïve café. ", 36) + "\n" // about 1 KiB
	body := strings.Repeat(filler, megabytes<<10) + "подготовить отчёт am Ende"
	inBase64 := func(s string) string {
		var b strings.Builder
		enc := base64.StdEncoding.EncodeToString([]byte(s))
		for ; len(enc) > 76; enc = enc[76:] {
			b.WriteString(enc[:76] + "\r\n")
		}
		return "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b.String() + enc + "\r\n"
	}
	inQuoted := func(s string) string {
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b.String()
	}
	for name, part := range map[string]string{
		"base64": inBase64(body), "quoted-printable": inQuoted(body), "8bit": "Content-Type: text/plain; charset=utf-8\r\n\r\n" + body,
		"behind an attachment": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/zip\r\n\r\n" + body + "\r\n--b\r\n" + inBase64(body) + "\r\n--b--\r\n",
		"deep":                 nested(inBase64(body), 40), "deeper than an index tells": nested(inQuoted(body), 120),
	} {
		t.Run(name, func(t *testing.T) {
			mail := []byte("Subject: one\r\nSubject: two\r\nMIME-Version: 1.0\r\n" + part)
			ix := indexed(t, bytes.NewReader(mail))
			if !searchtext.IsLong(ix, int64(len(mail))) {
				t.Fatal("not a long one")
			}
			needles := []*searchtext.Needle{
				needle("BODY", "ПОДГОТОВИТЬ отчёт"), needle("BODY", "KÖLN, naïve"), needle("TEXT", "content-transfer-encoding"), needle("BODY", "nowhere"), needle("SUBJECT", "TWO"),
				needle("SUBJECT", "three"), needle("FUZZY BODY", "ende nach"), needle("FUZZY BODY", "nowhere nach"), needle("TEXT", "subject: two"), needle("BODY", "subject: two"),
			}
			want := []searchtext.Hit{searchtext.Exactly, searchtext.Exactly, searchtext.Exactly, 0, searchtext.Exactly, 0, searchtext.Loosely, 0, searchtext.Exactly, 0}
			if name == "8bit" {
				want[2] = searchtext.Missed
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			looks := inLong(t, ix, mail, needles...)
			runtime.ReadMemStats(&after)
			for i, n := range needles {
				if got := looks.Hit(n); got != want[i] {
					t.Errorf("%q: %v, want %v", n.Text, got, want[i])
				}
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("took %d octets of memory", used)
			}
		})
	}
}

// TestPieces: what lies over the edge of pieces is found, at each place that an edge may have within it.
func TestPieces(t *testing.T) {
	words := needle("FUZZY BODY", "meetings quarterly")
	exact := needle("BODY", "“Grüße” – 日本語")
	for shift := range 200 {
		filler := strings.Repeat("x", shift) + strings.Repeat(" ßy", 21845)
		mail := []byte("Content-Type: text/plain; charset=utf-8\r\n\r\nquarterly " + filler[:len(filler)-100+shift/2] + " meeting “GRÜSSE” “grüße” – 日本語")
		mail = bytes.ToValidUTF8(mail, nil)
		looks := inLong(t, indexed(t, bytes.NewReader(mail)), mail, words, exact)
		if looks.Hit(words) != searchtext.Loosely || looks.Hit(exact) != searchtext.Exactly {
			t.Fatalf("shift %d: words %v, text %v", shift, looks.Hit(words), looks.Hit(exact))
		}
	}
	// A word that is longer than a piece has no word at its end.
	mail := []byte("Content-Type: text/plain\r\n\r\n" + strings.Repeat("meet", 100_000) + "ing quarterly")
	if looks := inLong(t, indexed(t, bytes.NewReader(mail)), mail, words); looks.Hit(words) != searchtext.Missed {
		t.Error("found the end of a word")
	}
}

// TestLongFields: a header of any length is looked through, each field by itself, encoded-words over any edge.
func TestLongFields(t *testing.T) {
	encoded := strings.Repeat(" =?utf-8?q?Gr=C3=BC=C3=9Fe_?=\r\n", 40_000)
	mail := []byte("X-Long:" + encoded + " the end\r\nX-Wide: " + strings.Repeat("y", 600_000) + "z\r\nSubject: x\r\n\r\nbody\r\n")
	ix := indexed(t, bytes.NewReader(mail))
	for _, tt := range []struct {
		n    *searchtext.Needle
		want searchtext.Hit
	}{
		{needle("X-Long", strings.Repeat("Grüße ", 30_000)), searchtext.Exactly}, {needle("X-Long", "Grüße  the end"), searchtext.Exactly},
		{needle("X-Wide", "yz"), searchtext.Exactly}, {needle("X-Wide", strings.Repeat("y", 500_000)), searchtext.Exactly},
		{needle("X-Long", "z"), searchtext.Missed}, {needle("Subject", ""), searchtext.Exactly}, {needle("X-None", ""), searchtext.Missed},
		{needle("TEXT", "the end\nx-wide: y"), searchtext.Exactly}, {needle("TEXT", "z\nsubject: x"), searchtext.Exactly}, {needle("BODY", "x"), searchtext.Missed},
	} {
		if got := inLong(t, ix, mail, tt.n).Hit(tt.n); got != tt.want {
			t.Errorf("%.20q in %s: %v, want %v", tt.n.Text, tt.n.Field, got, tt.want)
		}
	}
}

// TestManyParts: what stands behind the parts that an index tells of is looked through too.
func TestManyParts(t *testing.T) {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range message.MaxParts + 10 {
		b.WriteString("--b\r\nContent-Type: image/png\r\n\r\nx\r\n")
	}
	b.WriteString("--b\r\nContent-Type: text/plain\r\n\r\nthe last word\r\n--b--\r\n")
	ix := indexed(t, strings.NewReader(b.String()))
	n := needle("BODY", "LAST word")
	if !ix.Coarse() || inLong(t, ix, []byte(b.String()), n).Hit(n) != searchtext.Exactly {
		t.Error("the last of many parts is not found")
	}
}

// TestLongAgrees: piece by piece, the same is found as at once.
func TestLongAgrees(t *testing.T) {
	mail := []byte("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= folded\r\n again\r\nsubject: second\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"preamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Description: described\r\n\r\nna=EFve meetings\r\n" +
		"--b\r\nContent-Type: text/html\r\n\r\n<style>styled</style><p>caf&eacute; <b>o</b>ne</p><p>two</p>\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwithin\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\nbinary\r\n" +
		"--b\r\nContent-Type: application/pdf; name*0*=utf-8''na%C3%AF; name*1*=f.pdf\r\nContent-Disposition: attachment;\r\n filename*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n\r\nx\r\n--b--\r\n")
	ix := indexed(t, bytes.NewReader(mail))
	if n := needle("TEXT", "RÉSUMÉ.pdf"); inLong(t, ix, mail, n).Hit(n) != searchtext.Exactly {
		t.Error("a file name is not found as people see it")
	}
	var texts searchtext.Texts
	texts.Reset(ix, ix.WithOverlay(message.Overlay{}), mail)
	var fields searchtext.Fields
	fields.Reset(mail)
	for _, text := range []string{"naïve", "naïve met", "meet", "naïve meeting", "folded again", "second", "described", "caf&eacute;", "café one", "one two", "styled", "preamble", "binary", "inner", "within", "e", "=", "résumé.pdf", "r%c3%a9sum"} {
		for _, key := range []string{"BODY", "TEXT", "FUZZY BODY", "FUZZY TEXT"} {
			n := needle(key, text)
			if got, want := inLong(t, ix, mail, n).Hit(n), texts.Hit(n); got != want {
				t.Errorf("%s %q: %v in pieces, %v at once", key, text, got, want)
			}
		}
		n := needle("Subject", text)
		if got, want := inLong(t, ix, mail, n).Hit(n), fields.Hit(n); got != want {
			t.Errorf("HEADER Subject %q: %v in pieces, %v at once", text, got, want)
		}
		n.Slot = searchtext.Subject
		if got, want := inLong(t, ix, mail, n).Hit(n), fields.Hit(n); got != want {
			t.Errorf("SUBJECT %q: %v in pieces, %v at once", text, got, want)
		}
	}
}

// TestLongUnreadable: a message that cannot be read is not one without the word.
func TestLongUnreadable(t *testing.T) {
	mail := "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("QUJD", 1<<20)
	broken := errors.New("broken")
	for _, at := range []int{0, 10, 1 << 20} {
		long := searchtext.Long{Open: func(r message.Range) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(mail[r.Offset:r.End()][:min(int(r.Length), at)]), failing{broken})), nil
		}}
		err := long.Read(indexed(t, strings.NewReader(mail)).WithOverlay(message.Overlay{}), searchtext.LookFor([]*searchtext.Needle{needle("TEXT", "nowhere")}))
		if !errors.Is(err, broken) {
			t.Errorf("broken at %d: %v", at, err)
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
