package message_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/message"
)

func TestSection(t *testing.T) {
	all := corpus(t)
	for _, tc := range []struct {
		file string
		path []int
		spec message.Spec
		want string // begin … end, or nothing for ErrNoSection
	}{
		{"plain", nil, message.Whole, "Return-Path: … grüße\r\n"},
		{"plain", nil, message.Header, "Return-Path: … 8bit\r\n\r\n"},
		{"plain", nil, message.Text, "Hello Bob, … grüße\r\n"},
		{"plain", nil, message.MIME, ""},
		{"plain", []int{1}, message.Whole, "Hello Bob, … grüße\r\n"},
		{"plain", []int{1}, message.MIME, "Return-Path: … 8bit\r\n\r\n"},
		{"plain", []int{1}, message.Header, ""},
		{"plain", []int{1, 1}, message.Whole, ""},
		{"plain", []int{2}, message.Whole, ""},
		{"plain", []int{0}, message.Whole, ""},
		{"multipart", nil, message.Text, "preamble … epilogue\r\n"},
		{"multipart", []int{1}, message.Whole, "--inner … epilogue of inner"},
		{"multipart", []int{1}, message.MIME, "Content-Type: multipart/alternative … inner\r\n\r\n"},
		{"multipart", []int{1, 1}, message.Whole, "H=C3=A4llo … Welt\r\n"},
		{"multipart", []int{1, 2}, message.Whole, "<p>H&auml;llo</p> … "},
		{"multipart", []int{1, 2}, message.MIME, "Content-Type: text/html … \r\n\r\n"},
		{"multipart", []int{1, 3}, message.Whole, ""},
		{"multipart", []int{-1}, message.Whole, ""},
		{"multipart", []int{2}, message.Whole, "JVBERi0x … "},
		{"multipart", []int{2}, message.Text, ""},
		{"multipart", []int{3}, message.Whole, "From: z@example.org … --dig--"},
		{"multipart", []int{3}, message.MIME, "Content-Type: message/rfc822 … inline\r\n\r\n"},
		{"multipart", []int{3}, message.Header, "From: z@example.org … dig\r\n\r\n"},
		{"multipart", []int{3}, message.Text, "--dig … --dig--"},
		{"multipart", []int{3, 1}, message.Whole, "From: one@example.org … text one"},
		{"multipart", []int{3, 1}, message.MIME, "\r\n … "},
		{"multipart", []int{3, 1}, message.Header, "From: one@example.org … digest\r\n\r\n"},
		{"multipart", []int{3, 1}, message.Text, "text one … "},
		{"multipart", []int{3, 1, 1}, message.Whole, "text one … "},
		{"multipart", []int{3, 1, 1}, message.MIME, "From: one@example.org … digest\r\n\r\n"},
		{"multipart", []int{3, 1, 2}, message.Whole, ""},
		{"multipart", []int{3, 2}, message.Whole, "text two … "},
		{"message-as-root", []int{1}, message.Whole, "From: b@example.org … inner text\r\n"},
		{"message-as-root", []int{1}, message.Header, "From: b@example.org … inside\r\n\r\n"},
		{"message-as-root", []int{1, 1}, message.Whole, "inner text … \r\n"},
	} {
		body := all[tc.file]
		ix, err := message.Decode(index(body).Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ix.Section(tc.path, tc.spec)
		if tc.want == "" {
			if !errors.Is(err, message.ErrNoSection) {
				t.Errorf("%s %v %d: %v, %v, want ErrNoSection", tc.file, tc.path, tc.spec, r, err)
			}
			continue
		}
		got := string(body[r.Offset:r.End()])
		begin, end, _ := strings.Cut(tc.want, " … ")
		if err != nil || !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end) {
			t.Errorf("%s %v %d: %q, %v, want %q", tc.file, tc.path, tc.spec, got, err, tc.want)
		}
		// Under an overlay the octets are the same, but for the message's own header.
		v := ix.WithOverlay(message.NewOverlay([]byte("X: y\r\n"), []message.Range{ix.Fields[0].All()}))
		seen, err := io.ReadAll(message.NewReader(v.Overlay, bytes.NewReader(body), ix.Size))
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.Section(tc.path, tc.spec)
		if err != nil {
			t.Errorf("%s %v %d, seen: %v", tc.file, tc.path, tc.spec, err)
			continue
		}
		want := got
		if r.Offset == 0 {
			want = "X: y\r\n" + got[ix.Fields[0].Value.End():]
		}
		if got := string(seen[s.Offset:s.End()]); got != want {
			t.Errorf("%s %v %d, seen: %q, want %q", tc.file, tc.path, tc.spec, got, want)
		}
	}
}

// What readers see, against a model that builds the whole message.
func TestOverlayModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "body")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "prefix")
		var cuts []message.Range
		for range rapid.IntRange(0, 5).Draw(t, "cuts") {
			cuts = append(cuts, message.Range{
				Offset: rapid.Int64Range(-2, 70).Draw(t, "offset"), Length: rapid.Int64Range(-2, 20).Draw(t, "length"),
			})
		}
		o := message.NewOverlay(prefix, cuts)
		hidden := func(i int64) bool {
			for _, c := range cuts {
				if c.Offset >= 0 && c.Offset <= i && i < c.End() {
					return true
				}
			}
			return false
		}
		want := append([]byte(nil), prefix...)
		for i, c := range body {
			if got := o.Seen(int64(i)); got != int64(len(want)) {
				t.Fatalf("octet %d is seen at %d, want %d", i, got, len(want))
			}
			if !hidden(int64(i)) {
				want = append(want, c)
			}
		}
		size := int64(len(body))
		if got := o.Size(size); got != int64(len(want)) {
			t.Fatalf("size %d, want %d", got, len(want))
		}
		r := message.NewReader(o, bytes.NewReader(body), size)
		if err := iotest.TestReader(r, want); err != nil {
			t.Fatal(err)
		}
		from := rapid.Int64Range(-3, 90).Draw(t, "from")
		n := rapid.Int64Range(0, 90).Draw(t, "n")
		var got []byte
		for _, p := range o.Pieces(nil, message.Range{Offset: from, Length: n}, size) {
			if p.Length <= 0 {
				t.Fatalf("empty piece %v", p)
			}
			if p.Prefix {
				got = append(got, prefix[p.Offset:p.End()]...)
			} else {
				got = append(got, body[p.Offset:p.End()]...)
			}
		}
		lo, hi := min(max(from, 0), int64(len(want))), min(max(from+n, 0), int64(len(want)))
		if !bytes.Equal(got, want[lo:max(lo, hi)]) {
			t.Fatalf("pieces of %d+%d: %q, want %q", from, n, got, want[lo:max(lo, hi)])
		}
		if again := message.OverlayFrom(o.Proto()); !bytes.Equal(again.Prefix, o.Prefix) || len(again.Cuts) != len(o.Cuts) {
			t.Fatalf("%v by way of the contract: %v", o, again)
		}
	})
}

func TestReaderOfShortBody(t *testing.T) {
	r := message.NewReader(message.Overlay{Prefix: []byte("A: b\r\n")}, strings.NewReader("short"), 100)
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want unexpected EOF", err)
	}
}

func TestJoin(t *testing.T) {
	o := message.Join(
		message.NewOverlay([]byte("Return-Path: <>\r\n"), nil),
		message.NewOverlay([]byte("Received: x\r\n"), []message.Range{{Offset: 10, Length: 5}}),
		message.NewOverlay(nil, []message.Range{{Offset: 0, Length: 3}, {Offset: 12, Length: 8}}),
	)
	if string(o.Prefix) != "Return-Path: <>\r\nReceived: x\r\n" || len(o.Cuts) != 2 || o.Cuts[1] != (message.Range{Offset: 10, Length: 10}) {
		t.Errorf("joined %q %v", o.Prefix, o.Cuts)
	}
	if message.NewOverlay(nil, nil).Proto() != nil {
		t.Error("an overlay that changes nothing has a contract's form")
	}
}

// seenBy gives the message as readers see it, parsed anew.
func seenBy(t testing.TB, v message.View, body []byte) ([]byte, *message.Index) {
	t.Helper()
	seen, err := io.ReadAll(message.NewReader(v.Overlay, bytes.NewReader(body), int64(len(body))))
	if err != nil {
		t.Fatal(err)
	}
	return seen, index(seen)
}

// A view tells what parsing the message as it is seen would tell.
func TestViewIsWhatIsSeen(t *testing.T) {
	prefixes := []string{
		"", "Return-Path: <a@b>\r\nReceived: from x\r\n\tby y\r\n", "Subject: =?utf-8?q?other?=\r\n", "Date: 1 Jan 2020 00:00 +0000\r\nMessage-ID: <new@x>\r\n",
		"To: more@x\r\n", "X-A: 1\r\nx-a: 2\r\n",
	}
	for name, body := range corpus(t) {
		ix := index(body)
		for range 200 {
			var cuts []message.Range
			for _, f := range ix.Fields {
				// MIME fields stay: an overlay does not touch them.
				if !strings.HasPrefix(f.Name, "content-") && rand.IntN(3) == 0 {
					cuts = append(cuts, f.All())
				}
			}
			v := ix.WithOverlay(message.NewOverlay([]byte(prefixes[rand.IntN(len(prefixes))]), cuts))
			seen, want := seenBy(t, v, body)
			if v.Size() != want.Size || v.Header() != want.Header() || v.MessageID() != want.MessageID() || v.Subject() != want.Subject() || v.Hops() != want.Hops {
				t.Fatalf("%s under %v: size %d header %v id %q subject %q hops %d; want %d %v %q %q %d", name, v.Overlay, v.Size(), v.Header(), v.MessageID(), v.Subject(), v.Hops(),
					want.Size, want.Header(), want.MessageID(), want.Subject(), want.Hops)
			}
			got, gotOK := v.SentDate()
			if date, ok := want.SentDate(); ok != gotOK || !date.Equal(got) {
				t.Fatalf("%s under %v: date %v, want %v", name, v.Overlay, got, date)
			}
			if env, ok := v.Envelope(); ok && !bytes.Equal(env, want.Envelope()) {
				t.Fatalf("%s under %v: envelope\n%s, want\n%s", name, v.Overlay, env, want.Envelope())
			}
			if env := message.AppendEnvelope(nil, seen[:want.Header().End()]); !bytes.Equal(env, want.Envelope()) {
				t.Fatalf("%s: AppendEnvelope\n%s, want\n%s", name, env, want.Envelope())
			}
			names := []string{"received", "Subject", "x-a", "content-type", "x-custom-thing"}[rand.IntN(3):]
			for _, n := range names {
				fields := v.Lookup(nil, strings.ToLower(n))
				var got, all []message.Range
				for _, f := range fields {
					got = append(got, f.Value)
				}
				for _, f := range want.Fields {
					if f.Name == strings.ToLower(n) {
						all = append(all, f.Value)
					}
				}
				if len(got) != len(all) || len(got) > 0 && got[0] != all[0] {
					t.Fatalf("%s under %v: %s at %v, want %v", name, v.Overlay, n, got, all)
				}
			}
			for _, not := range []bool{false, true} {
				ranges, complete := v.FieldRanges(nil, names, not)
				var got []byte
				for i, r := range ranges {
					if i > 0 && r.Offset <= ranges[i-1].End() {
						t.Fatalf("%s: ranges %v", name, ranges)
					}
					got = append(got, seen[r.Offset:r.End()]...)
				}
				if want := message.FilterHeader(nil, seen[:want.Header().End()], names, not); !complete || !bytes.Equal(got, want) {
					t.Fatalf("%s under %v, %v not %t: %q, want %q", name, v.Overlay, names, not, got, want)
				}
			}
		}
	}
}

func TestViewOfMessageWithoutHeader(t *testing.T) {
	body := []byte("hello\r\n")
	ix := index(body)
	if !ix.NoHeader() {
		t.Fatal("a message without header has one")
	}
	v := ix.WithOverlay(message.Overlay{Prefix: []byte("Received: x\r\n\r\n")})
	_, want := seenBy(t, v, body)
	text, err := v.Section(nil, message.Text)
	if err != nil || text != want.Root().Body || v.Header() != want.Header() {
		t.Errorf("header %v text %v, %v; want %v %v", v.Header(), text, err, want.Header(), want.Root().Body)
	}
	if ranges, ok := v.FieldRanges(nil, []string{"x"}, false); !ok || len(ranges) != 1 || ranges[0] != (message.Range{Offset: 13, Length: 2}) {
		t.Errorf("no fields are at %v, %t", ranges, ok)
	}
}

func TestViewNeedsHeader(t *testing.T) {
	body := []byte("From: a@x\r\nFrom: b@x\r\nTo: c@x\r\n\r\n")
	ix := index(body)
	for name, o := range map[string]message.Overlay{
		"an address more":       {Prefix: []byte("To: d@x\r\n")},
		"one From of two":       {Cuts: []message.Range{ix.Fields[0].All()}},
		"no From any more":      {Cuts: []message.Range{{Offset: 0, Length: 22}}},
		"a field partly hidden": {Cuts: []message.Range{{Offset: 22, Length: 5}}},
	} {
		if env, ok := ix.WithOverlay(o).Envelope(); ok {
			t.Errorf("%s: %s without reading the header", name, env)
		}
	}
	long := index([]byte(strings.Repeat("A: b\r\n", message.MaxFields+1) + "\r\n"))
	if _, complete := long.WithOverlay(message.Overlay{}).FieldRanges(nil, []string{"a"}, false); complete {
		t.Error("more fields than the index lists, and complete")
	}
}
