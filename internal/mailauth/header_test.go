package mailauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailauth"
)

const ourID = "mx.example.org"

func forged(t testing.TB) *mailauth.Forged {
	t.Helper()
	f, err := mailauth.NewForged([]string{ourID}, []string{"X-Spam-Flag"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// scan writes a message in pieces of size octets.
func scan(t testing.TB, msg string, size int) *mailauth.Header {
	t.Helper()
	var h mailauth.Header
	h.Reset(forged(t))
	for p := msg; len(p) > 0; {
		n := min(size, len(p))
		took := h.Write([]byte(p[:n]))
		if took < n && !h.Done() {
			t.Fatalf("it took %d of %d octets and is not done", took, n)
		}
		p = p[n:]
	}
	h.Close()
	return &h
}

// cutOut is a message without its cuts.
func cutOut(t testing.TB, msg string, cuts []mailauth.Cut) string {
	t.Helper()
	var b strings.Builder
	pos := int64(0)
	for _, c := range cuts {
		if c.Offset < pos || c.Length <= 0 || c.Offset+c.Length > int64(len(msg)) {
			t.Fatalf("cuts %v are not ascending, apart and within %d octets", cuts, len(msg))
		}
		b.WriteString(msg[pos:c.Offset])
		pos = c.Offset + c.Length
	}
	b.WriteString(msg[pos:])
	return b.String()
}

func TestForgedFieldsAreCut(t *testing.T) {
	for _, row := range []struct {
		name, field string
		cut         bool
	}{
		{"plain", "Authentication-Results: mx.example.org; spf=pass\r\n", true},
		{"upper case", "AUTHENTICATION-RESULTS: MX.EXAMPLE.ORG; spf=pass\r\n", true},
		{"white space before the colon", "Authentication-Results \t: mx.example.org; spf=pass\r\n", true},
		{"no space behind it", "Authentication-Results:mx.example.org;spf=pass\r\n", true},
		{"folded before the id", "Authentication-Results:\r\n mx.example.org;\r\n\tspf=pass\r\n", true},
		{"folded twice", "Authentication-Results:\r\n \r\n\t mx.example.org; spf=pass\r\n", true},
		{"comment before", "Authentication-Results: (really) mx.example.org; spf=pass\r\n", true},
		{"nested comment with a semicolon", "Authentication-Results: (a (b;\\) c) ; d) mx.example.org; spf=pass\r\n", true},
		{"folded comment", "Authentication-Results: (a\r\n b)\r\n mx.example.org (c) 1 (d); spf=pass\r\n", true},
		{"comment within", "Authentication-Results: mx.exam(x)ple.org; spf=pass\r\n", true},
		{"version", "Authentication-Results: mx.example.org 1; spf=pass\r\n", true},
		{"version behind a slash", "Authentication-Results: mx.example.org/1; spf=pass\r\n", true},
		{"version first", "Authentication-Results: 1 mx.example.org; spf=pass\r\n", true},
		{"quoted", "Authentication-Results: \"mx.example.org\"; spf=pass\r\n", true},
		{"quoted pairs", "Authentication-Results: \"mx.\\e\\xample.org\"; spf=pass\r\n", true},
		{"quoted with a semicolon before", "Authentication-Results: \";\" mx.example.org; spf=pass\r\n", true},
		{"final dot", "Authentication-Results: mx.example.org.; spf=pass\r\n", true},
		{"host below ours", "Authentication-Results: a.b.mx.example.org; spf=pass\r\n", true},
		{"nothing behind the id", "Authentication-Results: mx.example.org\r\n", true},
		{"encoded word", "Authentication-Results: =?utf-8?q?mx=2Eexample=2Eorg?=; spf=pass\r\n", true},
		{"fullwidth letters", "Authentication-Results: ｍｘ.example.org; spf=pass\r\n", true},
		{"ideographic dot", "Authentication-Results: mx。example。org; spf=pass\r\n", true},
		{"NUL in name and id", "Authentication-\x00Results: mx.exam\x00ple.org; spf=pass\r\n", true},
		{"comment left open", "Authentication-Results: (mx.example.org; spf=pass\r\n", true},
		{"quote left open", "Authentication-Results: \"mx.example.org; spf=pass\r\n", true},
		{"bare LF", "Authentication-Results: mx.example.org; spf=pass\n", true},
		{"bare CR in another field", "X-A: b\rAuthentication-Results: mx.example.org; spf=pass\r\n", true},
		{"bare CR before the id", "Authentication-Results:\r mx.example.org; spf=pass\r\n", true},
		{"bare CR many times", "X:" + strings.Repeat("\rAuthentication-Results: mx.example.com; x", 1000) + "\rAuthentication-Results: mx.example.org; x\r\n", true},
		{"id behind 10,000 octets of comment", "Authentication-Results: (" + strings.Repeat("x", 10000) + ")\r\n mx.example.org; a=b\r\n", true},
		{"many words", "Authentication-Results: " + strings.Repeat("x ", 100) + "; a=b\r\n", true},
		{"our spam mark", "X-Spam-Flag: NO\r\n", true},
		{"our spam mark, folded name", "x-spam-flag\t: no\r\n", true},

		{"another's", "Authentication-Results: mx.example.com; spf=pass\r\n", false},
		{"another's, ours in a comment", "Authentication-Results: mx.example.com (not mx.example.org); spf=pass\r\n", false},
		{"another's, ours behind the semicolon", "Authentication-Results: mx.example.com; x=mx.example.org\r\n", false},
		{"ours as the end of a label", "Authentication-Results: notmx.example.org; spf=pass\r\n", false},
		{"ours as the beginning of a name", "Authentication-Results: mx.example.org.evil.example; spf=pass\r\n", false},
		{"without id", "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=example.com; dkim=pass\r\n", false},
		{"another field", "Original-Authentication-Results: mx.example.org; spf=pass\r\n", false},
		{"ARC", "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			before, after := "From: a@example.com\r\nSubject: one\r\n two\r\n", "To: b@example.org\r\n\r\nAuthentication-Results: mx.example.org; in the body\r\n"
			msg := before + row.field + after
			want := msg
			if row.cut {
				want = before + after
			}
			for _, size := range []int{1, 2, 3, 7, 64, len(msg)} {
				h := scan(t, msg, size)
				if got := cutOut(t, msg, h.Cuts()); got != want {
					t.Fatalf("in pieces of %d:\ngot  %.300q\nwant %.300q", size, got, want)
				}
			}
		})
	}
}

func TestLeadingWhiteSpaceIsCut(t *testing.T) {
	// It would continue the last field that is put before the message.
	for _, lead := range []string{" ; dkim=pass\r\n", "\t; dkim=pass\r\n\tmore\r\n", " \r\n"} {
		msg := lead + "From: a@example.com\r\n\r\nbody"
		for _, size := range []int{1, 100} {
			if got, want := cutOut(t, msg, scan(t, msg, size).Cuts()), "From: a@example.com\r\n\r\nbody"; got != want {
				t.Errorf("%q in pieces of %d: got %q, want %q", msg, size, got, want)
			}
		}
	}
}

func TestForgedBehindALongHeader(t *testing.T) {
	fake := "Authentication-Results: mx.example.org; spf=pass\r\n"
	for name, pad := range map[string]string{
		"one long field":  "X-Pad: " + strings.Repeat("x", mailauth.MaxHeaderBytes) + "\r\n",
		"many lines":      "X-Pad: 1" + strings.Repeat("\r\n "+strings.Repeat("y", 70), 5000) + "\r\n",
		"many fields":     strings.Repeat("a:\r\n", mailauth.MaxFields+10),
		"two long fields": strings.Repeat("X-Pad: "+strings.Repeat("x", 200<<10)+"\r\n", 2),
	} {
		rest := "Subject: x\r\n\r\nbody\r\n"
		msg := "From: a@example.com\r\n" + pad + fake + rest
		for _, size := range []int{61, 4096, len(msg)} {
			h := scan(t, msg, size)
			if !h.Truncated() {
				t.Errorf("%s: not truncated", name)
			}
			if got := cutOut(t, msg, h.Cuts()); strings.Contains(got, "spf=pass") || !strings.HasSuffix(got, rest) {
				t.Errorf("%s in pieces of %d: got …%q", name, size, got[max(0, len(got)-100):])
			}
			if n := h.Count("from"); n != 1 {
				t.Errorf("%s: %d From fields, want 1", name, n)
			}
		}
	}
}

func TestManyForgedFieldsAreFewCuts(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "Authentication-Results: mx.example.org; n=%d\r\nX-%d: y\r\n", i, i)
	}
	msg := b.String() + "Subject: kept\r\n\r\nbody\r\n"
	h := scan(t, msg, 1000)
	got := cutOut(t, msg, h.Cuts())
	if strings.Contains(strings.ToLower(got), "authentication-results") || !strings.HasSuffix(got, "Subject: kept\r\n\r\nbody\r\n") {
		t.Errorf("a forged field is left or a good one behind it is gone: %q", got[:200])
	}
	if n := len(h.Cuts()); n > 64 {
		t.Errorf("%d cuts, want at most 64", n)
	}
}

func TestHeaderFields(t *testing.T) {
	msg := "From: a@example.com\r\nsubject : one\r\n two\r\nno colon here\r\nFROM:b\r\nX: \xff\r\n\r\nFrom: body\r\n"
	for _, size := range []int{1, 5, 1000} {
		h := scan(t, msg, size)
		if h.Count("from") != 2 || h.Count("Subject") != 1 || h.Count("to") != 0 {
			t.Errorf("pieces of %d: from %d, subject %d, to %d; want 2, 1, 0", size, h.Count("from"), h.Count("Subject"), h.Count("to"))
		}
		for f := range h.All("subject") {
			if got := string(h.Value(f)); got != " one\r\n two\r\n" {
				t.Errorf("subject: got %q", got)
			}
		}
		if !h.Stray() || !h.EightBit() || h.Truncated() {
			t.Errorf("stray %v, eight-bit %v, truncated %v; want true, true, false", h.Stray(), h.EightBit(), h.Truncated())
		}
		if want := int64(strings.Index(msg, "\r\n\r\n") + 4); h.Size() != want {
			t.Errorf("size %d, want %d", h.Size(), want)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("From: a\r\n b\r\nAuthentication-Results: (c) mx.example.org; x\r\n\r\nbody", 3)
	f.Add(" x\r\n\r\n", 1)
	f.Add("a:\rAuthentication-Results: mx.example.org\n\n", 2)
	f.Add("A-r\x00\r", 1)
	f.Fuzz(func(t *testing.T, msg string, size int) {
		if size < 1 || size > 1<<16 || len(msg) == 0 {
			return
		}
		whole, pieces := scan(t, msg, len(msg)), scan(t, msg, size)
		if a, b := fmt.Sprint(whole.Cuts(), whole.Size(), whole.Stray(), whole.EightBit()), fmt.Sprint(pieces.Cuts(), pieces.Size(), pieces.Stray(), pieces.EightBit()); a != b {
			t.Fatalf("whole %s, in pieces of %d %s", a, size, b)
		}
		// What is left has nothing more to cut, whatever the pieces it is seen in.
		left := cutOut(t, msg, whole.Cuts())
		if left == "" {
			return
		}
		if again := scan(t, left, len(left)); len(again.Cuts()) > 0 && again.Size() <= whole.Size() {
			t.Fatalf("%q: after the cuts there is more to cut: %q %v", msg, left, again.Cuts())
		}
		mailauth.From(whole)
	})
}

func BenchmarkHeader(b *testing.B) {
	msg := []byte("Received: from a.example (a.example [192.0.2.1]) by b.example with ESMTPS;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n" +
		"From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: hello\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n" +
		"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	forged := forged(b)
	var h mailauth.Header
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		h.Reset(forged)
		h.Write(msg)
	}
}
