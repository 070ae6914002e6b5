package pop3

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// stuffed runs a body through in pieces of n octets.
func stuffed(body []byte, n int) string {
	var s stuffer
	var out []byte
	for len(body) > n {
		out = s.append(out, body[:n])
		body = body[n:]
	}
	return string(s.end(s.append(out, body)))
}

func TestStuffer(t *testing.T) {
	for in, want := range map[string]string{
		"":                    ".\r\n",
		"\r\n":                "\r\n.\r\n",
		"a\r\n":               "a\r\n.\r\n",
		"a":                   "a\r\n.\r\n",
		"a\r":                 "a\r\n.\r\n",
		"a\n":                 "a\r\n.\r\n",
		".":                   "..\r\n.\r\n",
		".\r\n":               "..\r\n.\r\n",
		"..\r\n.":             "...\r\n..\r\n.\r\n",
		"a\r\n.b\r\nc.d\r\n":  "a\r\n..b\r\nc.d\r\n.\r\n",
		"a\n.\nb":             "a\r\n..\r\nb\r\n.\r\n",
		"a\r\n\n.\r\n":        "a\r\n\r\n..\r\n.\r\n",
		"a\r\r\n.":            "a\r\r\n..\r\n.\r\n",
		"a\rb\r\n":            "a\rb\r\n.\r\n",
		"\r\n\r\n\r\n.\r\n\r": "\r\n\r\n\r\n..\r\n\r\n.\r\n",
	} {
		for n := 1; n <= len(in)+1; n++ {
			if got := stuffed([]byte(in), n); got != want {
				t.Errorf("%q in pieces of %d: got %q, want %q", in, n, got, want)
			}
		}
	}
}

// unstuff is the client's side (RFC 1939 §3), strict: only CRLF ends a line.
func unstuff(t testing.TB, wire string) string {
	t.Helper()
	body, ok := strings.CutSuffix(wire, ".\r\n")
	if !ok {
		t.Fatalf("the response does not end in a dot: %q", wire)
	}
	var b strings.Builder
	for line := range strings.SplitAfterSeq(body, "\r\n") {
		if line == ".\r\n" {
			t.Fatalf("the response has its end in the middle: %q", wire)
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	return b.String()
}

// TestStufferAndClient: whatever the body, a client gets it back, and neither a strict nor a lax one sees the end early.
func TestStufferAndClient(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		body := make([]byte, r.IntN(40))
		for i := range body {
			body[i] = "a.\r\n"[r.IntN(4)]
		}
		wire := stuffed(body, 1+r.IntN(10))
		want := strings.ReplaceAll(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n", "\r\n")
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want = strings.TrimSuffix(want, "\r") + "\r\n"
		}
		if got := unstuff(t, wire); got != want {
			t.Fatalf("%q: the client gets %q, want %q", body, got, want)
		}
		lax := strings.Split(strings.ReplaceAll(wire, "\r\n", "\n"), "\n")
		for i, line := range lax {
			if line == "." && i != len(lax)-2 {
				t.Fatalf("%q: a client that takes LF for a line end sees the end early: %q", body, wire)
			}
		}
	}
}

func TestCutter(t *testing.T) {
	body := "Subject: x\r\nFrom: y\r\n\r\none\r\ntwo\r\nthree"
	header := "Subject: x\r\nFrom: y\r\n\r\n"
	for lines, want := range map[uint64]string{0: header, 1: header + "one\r\n", 2: header + "one\r\ntwo\r\n", 3: body, 999: body} {
		for n := 1; n <= len(body); n++ {
			c := cutter{lines: lines}
			var got []byte
			for rest := []byte(body); len(rest) > 0; rest = rest[min(n, len(rest)):] {
				piece := rest[:min(n, len(rest))]
				k, done := c.cut(piece)
				got = append(got, piece[:k]...)
				if done {
					break
				}
			}
			if string(got) != want {
				t.Errorf("%d lines, pieces of %d: got %q, want %q", lines, n, got, want)
			}
		}
	}
	for in, want := range map[string]string{"no header end": "no header end", "\r\nbody": "\r\n", "\nbody\n": "\n", "": ""} {
		c := cutter{}
		k, _ := c.cut([]byte(in))
		if in[:k] != want {
			t.Errorf("TOP 0 of %q: got %q, want %q", in, in[:k], want)
		}
	}
}

func BenchmarkStuff(b *testing.B) {
	body := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 900)
	out := make([]byte, 0, 2*len(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var s stuffer
		out = s.append(out[:0], body)
	}
}
