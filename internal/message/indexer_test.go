package message_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
)

// check tells what of an index does not fit its message.
func check(ix *message.Index, body []byte) error {
	if ix.Size != int64(len(body)) {
		return fmt.Errorf("size %d, want %d", ix.Size, len(body))
	}
	if ix.Len() > message.MaxParts || len(ix.Fields) > message.MaxFields || len(ix.DeliveredTo) > message.MaxDeliveredTo {
		return fmt.Errorf("%d parts, %d fields, %d delivered-to: beyond the limits", ix.Len(), len(ix.Fields), len(ix.DeliveredTo))
	}
	root := ix.Root()
	if root.Header.Offset != 0 || root.Header.End() != root.Body.Offset || root.Body.End() != ix.Size {
		return fmt.Errorf("root %v %v in %d", root.Header, root.Body, ix.Size)
	}
	at := int64(0)
	for _, f := range ix.Fields {
		name := body[f.Start : f.Start+int64(len(f.Name))]
		if f.Start < at || !strings.EqualFold(string(name), f.Name) || body[f.Value.Offset-1] != ':' || f.Value.End() > root.Header.End() {
			return fmt.Errorf("field %+v behind %d, header %v", f, at, root.Header)
		}
		at = f.Value.End()
	}
	var err error
	n, depth := 0, 0
	within := []*message.Part{}
	ix.Walk(func(path []int, p *message.Part) bool {
		n++
		for len(within) > 0 && p.Header.Offset >= within[len(within)-1].Body.End() && !(p.Header.Length+p.Body.Length == 0 && p.Header.Offset == within[len(within)-1].Body.End()) {
			within = within[:len(within)-1]
		}
		depth = max(depth, len(path))
		if p.Header.Length < 0 || p.Body.Length < 0 || p.Header.End() != p.Body.Offset || p.Lines < 0 || p.Body.End() > ix.Size {
			err = fmt.Errorf("part %v: %+v", path, p)
		}
		if len(within) > 0 {
			if q := within[len(within)-1]; p.Header.Offset < q.Body.Offset || p.Body.End() > q.Body.End() {
				err = fmt.Errorf("part %v %v %v not within %v", path, p.Header, p.Body, q.Body)
			}
		}
		if lf := int64(bytes.Count(body[p.Body.Offset:p.Body.End()], []byte("\n"))); p.Kind != message.Multipart && p.Type == "text" && p.Lines != lf {
			err = fmt.Errorf("part %v: %d lines, want %d", path, p.Lines, lf)
		}
		if p.Kind != message.Leaf {
			within = append(within, p)
		}
		if got, e := ix.Section(path, message.Whole); len(path) > 0 && (e != nil || got != p.Body && p.Kind == message.Leaf) {
			err = fmt.Errorf("section %v: %v %v, want %v", path, got, e, p.Body)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if n != ix.Len() {
		return fmt.Errorf("walked %d parts of %d", n, ix.Len())
	}
	if want := bytes.ContainsFunc(body, func(r rune) bool { return r >= 0x80 }); (ix.Flags&message.EightBit != 0) != want {
		return fmt.Errorf("flags %#x, 8 bit %t", ix.Flags, want)
	}
	if want := bytes.IndexByte(body, 0) >= 0; (ix.Flags&message.NUL != 0) != want {
		return fmt.Errorf("flags %#x, NUL %t", ix.Flags, want)
	}
	crlf, cr, lf := bytes.Count(body, []byte("\r\n")), bytes.Count(body, []byte("\r")), bytes.Count(body, []byte("\n"))
	if (ix.Flags&message.BareCR != 0) != (cr != crlf) || (ix.Flags&message.BareLF != 0) != (lf != crlf) {
		return fmt.Errorf("flags %#x with %d CRLF, %d CR, %d LF", ix.Flags, crlf, cr, lf)
	}
	encoded := ix.Encode(nil)
	again, err := message.Decode(encoded)
	if err != nil {
		return fmt.Errorf("decode %q: %w", encoded, err)
	}
	if got, want := dump(again, body), dump(ix, body); got != want {
		return fmt.Errorf("decoded:\n%s\nwant:\n%s", got, want)
	}
	return nil
}

// Where a message is cut into writes makes no difference.
func TestSplitAnywhere(t *testing.T) {
	for name, body := range corpus(t) {
		want := index(body).Encode(nil)
		var x message.Indexer
		for i := range body {
			x.Reset()
			x.Write(body[:i])
			x.Write(nil)
			x.Write(body[i:])
			ix, _ := x.Finish()
			if got := ix.Encode(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s split at %d: %q, want %q", name, i, got, want)
			}
		}
		for size := 1; size < 100; size++ {
			x.Reset()
			for b := range slices(body, size) {
				x.Write(b)
			}
			ix, _ := x.Finish()
			if got := ix.Encode(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s in pieces of %d: %q, want %q", name, size, got, want)
			}
		}
	}
}

// slices cuts b into pieces of a size.
func slices(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// shape writes a part and those in it: "mixed(text/plain+3,…)", with the body's length.
func shape(ix *message.Index) string {
	var b strings.Builder
	ix.Walk(func(path []int, p *message.Part) bool {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%v%s/%s+%d", path, p.Type, p.Subtype, p.Body.Length)
		return true
	})
	return b.String()
}

func TestNastyMail(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"nothing", "", "[1]text/plain+0"},
		{"an empty line", "\r\n", "[1]text/plain+0"},
		{"header only", "Subject: x\r\n", "[1]text/plain+0"},
		{"header only, cut", "Subject: x", "[1]text/plain+0"},
		{"no header", "hello\r\nworld\r\n", "[1]text/plain+14"},
		{"no header, no line end", "hello", "[1]text/plain+5"},
		{"empty header", "\r\nSubject: no\r\n", "[1]text/plain+13"},
		{"mailbox file's line", "From a@b Tue Jul  1 10:00:00 2025\r\nSubject: x\r\n\r\nx", "[1]text/plain+1"},
		{"LF only", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", "[]multipart/mixed+24 [1]text/plain+3 [2]text/plain+3"},
		{"a mix of line ends", "Content-Type: multipart/mixed; boundary=b\r\n\n--b\r\n\none\n--b\n\r\ntwo\r\n--b--", "[]multipart/mixed+26 [1]text/plain+3 [2]text/plain+3"},
		{"final boundary missing", mixed + "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n", "[]multipart/mixed+24 [1]text/plain+3 [2]text/plain+5"},
		{"delimiter at the very end", mixed + "--b\r\n\r\none\r\n--b", "[]multipart/mixed+15 [1]text/plain+3 [2]text/plain+0"},
		{"final boundary without line end", mixed + "--b\r\n\r\none\r\n--b--", "[]multipart/mixed+17 [1]text/plain+3"},
		{"padding behind delimiters", mixed + "--b \t\r\n\r\none\r\n--b-- \r\n", "[]multipart/mixed+22 [1]text/plain+3"},
		{"inner final boundary missing", mixed + "--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
			"[]multipart/mixed+81 [1]multipart/mixed+10 [1 1]text/plain+3 [2]text/plain+3"},
		{"nested with the same boundary", mixed + "--b\r\n" + mixed + "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
			"[]multipart/mixed+88 [1]multipart/mixed+17 [1 1]text/plain+3 [2]text/plain+3"},
		{"a boundary that begins another", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n--b\r\n\r\ntwo\r\n--b--",
			"[]multipart/mixed+89 [1]multipart/mixed+19 [1 1]text/plain+3 [2]text/plain+3"},
		{"a boundary that ends like a final one", "Content-Type: multipart/mixed; boundary=\"b--\"\r\n\r\n--b--\r\n\r\none\r\n--b----\r\n", "[]multipart/mixed+23 [1]text/plain+3"},
		{"text that begins like a delimiter", mixed + "--b\r\n\r\n--bc\r\n--c\r\n-- \r\n--\r\n--b--\r\n", "[]multipart/mixed+34 [1]text/plain+18"},
		{"multipart without boundary", "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none\r\n--b--\r\n", "[1]text/plain+19"},
		{"multipart without delimiter", mixed + "text\r\n", "[1]text/plain+6"},
		{"multipart with nothing but its end", mixed + "--b--\r\n", "[1]text/plain+7"},
		{"multipart without body", "Content-Type: multipart/mixed; boundary=b\r\n", "[1]text/plain+0"},
		{"multipart in base64", "Content-Transfer-Encoding: base64\r\n" + mixed + "--b\r\n\r\none\r\n--b--", "[]multipart/mixed+17 [1]text/plain+3"},
		{"boundary too long", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", message.MaxBoundary+1) + "\r\n\r\nx", "[1]text/plain+1"},
		{"empty parts", mixed + "--b\r\n--b\r\n\r\n--b\r\n\r\n\r\n--b--", "[]multipart/mixed+26 [1]text/plain+0 [2]text/plain+0 [3]text/plain+0"},
		{"part with header only", mixed + "--b\r\nContent-Type: text/html\r\n--b--", "[]multipart/mixed+35 [1]text/html+0"},
		{"part without header", mixed + "--b\r\nhello\r\n--b--", "[]multipart/mixed+17 [1]text/plain+5"},
		{"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\nhello\r\n--b--", "[]multipart/digest+33 [1]message/rfc822+19 [1 1]text/plain+5"},
		{"message without text", mixed + "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n--b--", "[]multipart/mixed+56 [1]message/rfc822+12 [1 1]text/plain+0"},
		{"message without anything", mixed + "--b\r\nContent-Type: message/rfc822\r\n\r\n--b--", "[]multipart/mixed+42 [1]message/rfc822+0 [1 1]text/plain+0"},
		{"message without even an empty line", mixed + "--b\r\nContent-Type: message/rfc822\r\n--b--", "[]multipart/mixed+40 [1]message/rfc822+0 [1 1]text/plain+0"},
		{"message in base64", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDo=\r\n", "[1]application/octet-stream+14"},
		{"Content-Type that is none", "Content-Type: text\r\n\r\nx", "[1]text/plain+1"},
		{"two Content-Types", "Content-Type: text/html\r\nContent-Type: text/csv\r\n\r\nx", "[1]text/html+1"},
		{"blanks before the colon", "Content-Type : text/html\r\n\r\nx", "[1]text/html+1"},
		{"folded all over", "Content-Type:\r\n text/html;\r\n\tcharset=utf-8\r\n\r\nx", "[1]text/html+1"},
		{"junk in the header", "Subject: x\r\nthis is no field\r\nContent-Type: text/html\r\n\r\nx", "[1]text/html+1"},
		{"NUL and eight bits", "Subject: \x00\xff\r\nContent-Type: text/html; charset=\"\x00\xff\"\r\n\r\n\x00\xff\r\n", "[1]text/html+4"},
		{"bare CR", "Subject: a\rb\r\n\r\n\r\r\n", "[1]text/plain+3"},
		{"comments without end", "Content-Type: text/html ((((((\r\nFrom: ((((a@b\r\n\r\nx", "[1]text/html+1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ix := index([]byte(tc.body))
			if got := shape(ix); got != tc.want {
				t.Errorf("got  %s\nwant %s\nfor %q", got, tc.want, tc.body)
			}
			if err := check(ix, []byte(tc.body)); err != nil {
				t.Errorf("%v\nfor %q", err, tc.body)
			}
			split(t, []byte(tc.body))
		})
	}
}

const mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

// split compares an index with that of the same message written octet by octet, and in random pieces.
func split(t testing.TB, body []byte) {
	t.Helper()
	want := index(body).Encode(nil)
	var x message.Indexer
	for round := range 3 {
		x.Reset()
		for rest := body; len(rest) > 0; {
			n := 1
			if round > 0 {
				n = min(len(rest), 1+rand.IntN(30))
			}
			x.Write(rest[:n])
			rest = rest[n:]
		}
		ix, _ := x.Finish()
		if got := ix.Encode(nil); !bytes.Equal(got, want) {
			t.Fatalf("in pieces %q\nwant %q\nfor %q", got, want, body)
		}
	}
}

// Mail that is all structure stays within the limits, in memory too.
func TestLimits(t *testing.T) {
	nested := func(depth int) string {
		var b strings.Builder
		for i := range depth {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String() + "\r\ndeep"
	}
	for _, tc := range []struct {
		name, body string
		parts      int
		index      int // most octets of the encoded index
		memory     uint64
	}{
		{"100,000 parts", mixed + strings.Repeat("--b\r\n\r\n", 100_000), message.MaxParts, 2 << 20, 16 << 20},
		{"100,000 parts with names", mixed + strings.Repeat("--b\r\nContent-Type: a/b; name=\"this is a file\"\r\n\r\n", 100_000), message.MaxParts, 4 << 20, 32 << 20},
		{"5,000 messages in a row", mixed + strings.Repeat("--b\r\nContent-Type: message/rfc822\r\n\r\n", 5_000), message.MaxParts, 4 << 20, 32 << 20},
		{"1,000 deep multiparts", nested(1000), message.MaxDepth, 16 << 10, 4 << 20},
		{"1,000 deep messages", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000), message.MaxDepth, 16 << 10, 4 << 20},
		{"a header of 10 MB", strings.Repeat("X-Junk: "+strings.Repeat("x", 90)+"\r\n", 100_000) + "\r\nx", 1, 64 << 10, 8 << 20},
		{"a field of 10 MB", "Subject: " + strings.Repeat("x", 10<<20) + "\r\n\r\nx", 1, 1 << 10, 8 << 20},
		{"a first line of 10 MB", strings.Repeat("x", 10<<20), 1, 1 << 10, 8 << 20},
		{"1,000,000 recipients", "To: " + strings.Repeat("a,", 1_000_000) + "\r\n\r\nx", 1, 1 << 20, 16 << 20},
		{"a million fields of nothing", strings.Repeat("A:\n", 1_000_000), 1, 16 << 10, 8 << 20},
		{"brackets", "To: " + strings.Repeat("[<(", 300_000) + "\r\n\r\nx", 1, 1 << 20, 16 << 20},
		{"open brackets", "To: " + strings.Repeat("[", 1_000_000) + "\r\n\r\nx", 1, 1 << 20, 16 << 20},
		{"routes", "To: " + strings.Repeat("<@a,", 250_000) + "\r\n\r\nx", 1, 1 << 20, 16 << 20},
		{"continuations", mixed + strings.Repeat("--b\r\nContent-Type: a/b"+strings.Repeat(";a*0=", 100)+"\r\n\r\n", 10_000), message.MaxParts, 4 << 20, 32 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := []byte(tc.body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var x message.Indexer
			for b := range slices(body, 32<<10) {
				x.Write(b)
			}
			ix, _ := x.Finish()
			encoded := ix.Encode(nil)
			runtime.ReadMemStats(&after)
			if ix.Len() != tc.parts {
				t.Errorf("%d parts, want %d", ix.Len(), tc.parts)
			}
			if len(encoded) > tc.index {
				t.Errorf("index of %d octets, want at most %d", len(encoded), tc.index)
			}
			// Of all that was ever allocated, some is garbage: a bound on what was held.
			if got := after.TotalAlloc - before.TotalAlloc; got > 3*tc.memory {
				t.Errorf("%d octets allocated, want at most %d", got, 3*tc.memory)
			}
			if err := check(ix, body); err != nil {
				t.Error(err)
			}
			t.Logf("index %d octets, %d allocated", len(encoded), after.TotalAlloc-before.TotalAlloc)
		})
	}
}

func TestTraceFields(t *testing.T) {
	ix := index([]byte("Return-Path: <>\r\nDelivered-To: a@example.org\r\nReceived: one\r\nReceived:\r\n two\r\nX-A: b\r\nDELIVERED-TO: <b@example.org>\r\n\r\n"))
	if ix.Hops != 2 || fmt.Sprint(ix.DeliveredTo) != "[a@example.org b@example.org]" || ix.ReturnPath != "" {
		t.Errorf("hops %d, delivered to %q, return-path %q", ix.Hops, ix.DeliveredTo, ix.ReturnPath)
	}
}

func FuzzIndexer(f *testing.F) {
	for _, body := range corpus(f) {
		f.Add(body)
	}
	f.Add([]byte(mixed + "--b\r\n" + mixed + "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: multipart/digest; boundary=b\n\n--b\n\nTo: <a, (b [c]), d:e;\n\nhello\n--b\nContent-Type: message/rfc822\n--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		ix := index(body)
		if err := check(ix, body); err != nil {
			t.Fatalf("%v\nfor %q", err, body)
		}
		split(t, body)
	})
}

func FuzzDecode(f *testing.F) {
	for _, body := range corpus(f) {
		f.Add(index(body).Encode(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		message.EnvelopeOf(b)
		message.BodyStructureOf(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ix, err := message.Decode(b)
		runtime.ReadMemStats(&after)
		// A part takes 4 octets of input and some 350 of memory.
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20+uint64(len(b))*200 {
			t.Fatalf("%d octets allocated for %d", got, len(b))
		}
		if err != nil {
			return
		}
		ix.MessageID()
		ix.Subject()
		ix.AppendBody(nil)
		ix.Walk(func(path []int, p *message.Part) bool {
			if p.Body.Offset < 0 || p.Body.End() > ix.Size {
				t.Fatalf("part %v: %v beyond %d", path, p.Body, ix.Size)
			}
			ix.Section(path, message.Header)
			return true
		})
		v := ix.WithOverlay(message.NewOverlay([]byte("Subject: x\r\n"), []message.Range{{Offset: 1, Length: 20}}))
		v.Envelope()
		v.FieldRanges(nil, []string{"subject"}, true)
		message.Decode(ix.Encode(nil))
	})
}
