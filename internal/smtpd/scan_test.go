package smtpd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// scanned is what a dotScanner makes of input.
type scanned struct {
	body  string
	fault fault
	used  int
	done  bool
}

func (s scanned) String() string {
	return fmt.Sprintf("body %q fault %b used %d done %v", s.body, s.fault, s.used, s.done)
}

// scanIn feeds input cut after every step octets, or by cut where it is given.
func scanIn(input []byte, cut func(rest int) int) scanned {
	var s dotScanner
	var out scanned
	var body bytes.Buffer
	for pos := 0; pos < len(input) && !out.done; {
		piece := input[pos : pos+cut(len(input)-pos)]
		for len(piece) > 0 && !out.done {
			span, n, done := s.next(piece)
			body.Write(span)
			out.done = done
			out.used += n
			piece = piece[n:]
			pos += n
		}
	}
	out.body, out.fault = body.String(), s.fault
	if out.fault != 0 {
		out.body = "" // Never used.
	}
	return out
}

// model is the same octet by octet, written for being obviously right (RFC 5321 §4.5.2).
func model(input []byte) scanned {
	var out scanned
	end := bytes.Index(append([]byte("\r\n"), input...), []byte("\r\n.\r\n"))
	text := input
	if end >= 0 {
		text = input[:end] // the CRLF before the dot included: the two in front make up for it
		out.used, out.done = end+3, true
	} else {
		out.used = len(input)
	}
	var body []byte
	for i, b := range text {
		atStart := i == 0 || i >= 2 && text[i-2] == '\r' && text[i-1] == '\n'
		if b == '\r' && i+1 < len(text) && text[i+1] != '\n' {
			out.fault |= faultBareCR
		}
		if b == '\n' && (i == 0 || text[i-1] != '\r') {
			out.fault |= faultBareLF
		}
		if b == 0 {
			out.fault |= faultNUL
		}
		if b != '.' || !atStart {
			body = append(body, b)
		}
	}
	if out.fault == 0 {
		out.body = string(body)
	}
	return out
}

func whole(rest int) int { return rest }

func TestDotScanner(t *testing.T) {
	for _, row := range []struct {
		name, in, body string
		fault          fault
		rest           string
		open           bool
	}{
		{name: "empty", in: ".\r\n"},
		{name: "one line", in: "a\r\n.\r\nNOOP\r\n", body: "a\r\n", rest: "NOOP\r\n"},
		{name: "stuffed", in: "..\r\n..a\r\n.b\r\n.\r\n", body: ".\r\n.a\r\nb\r\n"},
		{name: "dots inside", in: "a.\r\n b.c\r\n.\r\n", body: "a.\r\n b.c\r\n"},
		{name: "no end", in: "a\r\n.", body: "a\r\n", open: true},
		{name: "LF.LF", in: "a\n.\n\r\n.\r\n", fault: faultBareLF},
		{name: "dot LF at start", in: ".\n\r\n.\r\n", fault: faultBareLF},
		{name: "CRLF.CR", in: "a\r\n.\rb\r\n.\r\n", fault: faultBareCR},
		{name: "CR at end of dot line", in: "a\r\n.\r\r\n.\r\n", fault: faultBareCR},
		{name: "CR CR LF", in: "a\r\r\n.\r\n", fault: faultBareCR},
		{name: "NUL", in: "a\x00\r\n.\r\n", fault: faultNUL},
		{name: "NUL behind a dot", in: ".\x00\r\n.\r\n", fault: faultNUL},
		{name: "all", in: "\r.\n\x00\r\n.\r\n", fault: faultNUL | faultBareCR | faultBareLF},
		{name: "behind the end nothing counts", in: "a\r\n.\r\n\n\r\x00", body: "a\r\n", rest: "\n\r\x00"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for step := 1; step <= len(row.in); step++ {
				got := scanIn([]byte(row.in), func(rest int) int { return min(step, rest) })
				want := scanned{row.body, row.fault, len(row.in) - len(row.rest), !row.open}
				if got != want {
					t.Errorf("%q in steps of %d:\n got %v\nwant %v", row.in, step, got, want)
				}
			}
		})
	}
}

// FuzzData: the scanner agrees with an octet-by-octet model, however the input is cut.
func FuzzData(f *testing.F) {
	for _, s := range []string{
		"a\r\n.\r\n", "..\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\n", ".\r\r\n", ".\x00", "\r\n.\rx", strings.Repeat("line\r\n", 20) + ".\r\nQUIT\r\n",
	} {
		f.Add([]byte(s), []byte{1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, input, cuts []byte) {
		want := scanIn(input, whole)
		m := model(input)
		// The model sees a lone dot or CR at an open end differently: nothing is decided there yet.
		if want.done != m.done || want.used != m.used || want.done && want != m {
			t.Fatalf("%q:\n got %v\nwant %v", input, want, m)
		}
		i := 0
		got := scanIn(input, func(rest int) int {
			if i++; len(cuts) == 0 {
				return 1
			}
			return min(rest, 1+int(cuts[i%len(cuts)])%7)
		})
		if got != want {
			t.Fatalf("%q in pieces:\n got %v\nwant %v", input, got, want)
		}
		if got.done && got.fault == 0 {
			checkChunks(t, []byte(got.body))
		}
	})
}

// checkChunks: what DATA accepts, BDAT accepts.
func checkChunks(t *testing.T, body []byte) {
	var c chunkChecker
	for i := range body {
		c.check(body[i : i+1])
	}
	if c.end(); c.fault != 0 {
		t.Fatalf("%q: fault %b in chunks", body, c.fault)
	}
}

// FuzzChunks: faults do not depend on the cuts.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\nb"), 2)
	f.Add([]byte("\r"), 1)
	f.Add([]byte("\n\r\x00"), 1)
	f.Fuzz(func(t *testing.T, input []byte, cut int) {
		if len(input) == 0 {
			return
		}
		var one, two chunkChecker
		one.check(input)
		one.end()
		cut = min(max(cut, 1), len(input))
		two.check(input[:cut])
		if cut < len(input) {
			two.check(input[cut:])
		}
		two.end()
		bare := bytes.ReplaceAll(input, []byte("\r\n"), nil)
		want := fault(0)
		if bytes.Contains(bare, []byte("\n")) && hasBareLF(input) {
			want |= faultBareLF
		}
		if hasBareCR(input) {
			want |= faultBareCR
		}
		if bytes.IndexByte(input, 0) >= 0 {
			want |= faultNUL
		}
		if one.fault != two.fault || one.fault != want {
			t.Fatalf("%q cut at %d: %b and %b, want %b", input, cut, one.fault, two.fault, want)
		}
	})
}

func hasBareLF(p []byte) bool {
	for i, b := range p {
		if b == '\n' && (i == 0 || p[i-1] != '\r') {
			return true
		}
	}
	return false
}

func hasBareCR(p []byte) bool {
	for i, b := range p {
		if b == '\r' && (i+1 == len(p) || p[i+1] != '\n') {
			return true
		}
	}
	return false
}

func BenchmarkData(b *testing.B) {
	line := strings.Repeat("x", 76) + "\r\n"
	for _, row := range []struct{ name, text string }{
		{"lines of 78", strings.Repeat(line, 800)},
		{"one line", strings.Repeat("x", 62<<10) + "\r\n"},
		{"dots", strings.Repeat("."+line, 800)},
	} {
		b.Run(row.name, func(b *testing.B) {
			input := []byte(row.text + ".\r\n")
			b.SetBytes(int64(len(input)))
			b.ReportAllocs()
			for b.Loop() {
				var s dotScanner
				for p := input; ; {
					_, n, done := s.next(p)
					if p = p[n:]; done {
						break
					}
				}
			}
		})
	}
}
