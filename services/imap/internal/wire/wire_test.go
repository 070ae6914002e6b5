package wire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

var limits = wire.Limits{Line: 8 << 10, Command: 32 << 10, Drop: 1 << 20}

// TestCommands assembles the same commands from a source that gives all at once and one that gives an octet at a time.
func TestCommands(t *testing.T) {
	long := strings.Repeat("x", 9<<10)
	for _, tc := range []struct {
		name, in string
		want     []string // commands, or an error and the beginning of what came with it
	}{
		{"lines", "a NOOP\r\nb NOOP\n", []string{"a NOOP", "b NOOP"}},
		{"literal", "a LOGIN {3}\r\nabc {2+}\r\nde\r\nb\r\n", []string{"a LOGIN {3}\r\nabc {2+}\r\nde", "b"}},
		{"literal of nothing", "a {0}\r\n\r\nb\r\n", []string{"a {0}\r\n", "b"}},
		{"no literal", "a {x}\r\nb {}\r\nc }\r\nd {5\r\n{+}\r\n", []string{"a {x}", "b {}", "c }", "d {5", "{+}"}},
		{"refused", "a REFUSE {3}\r\nb\r\n", []string{"literal refused: a REFUSE {3}\r\n", "b"}},
		{"refused and sent", "a REFUSE {3+}\r\nabc more\r\nb\r\n", []string{"literal refused: a REFUSE {3+}\r\n", "b"}},
		{"refused and sent, twice", "a REFUSE {3+}\r\nabc {4+}\r\nwxyz\r\nb\r\n", []string{"literal refused: a REFUSE {3+}\r\n", "b"}},
		{"refused, then one that waits", "a REFUSE {3+}\r\nabc {4}\r\nb\r\n", []string{"literal refused: a REFUSE {3+}\r\n", "b"}},
		{"second refused", "a {1}\r\nx REFUSE {3+}\r\nabc\r\nb\r\n", []string{"literal refused: a {1}\r\nx REFUSE {3+}\r\n", "b"}},
		{"long line", "a " + long + "\r\nb\r\n", []string{"command line too long: a xxx", "b"}},
		{"long line with a literal", "a " + long + " {6+}\r\nc NOOP\r\nb\r\n", []string{"command line too long: a xxx", "b"}},
		{"long line behind a literal", "a {1}\r\nx " + long + "\r\nb\r\n", []string{"command line too long: a {1}\r\nx xxx", "b"}},
		{"no room", "a {30000}\r\n" + strings.Repeat("y", 30000) + " {3000}\r\nb\r\n", []string{"command line too long: a {30000}\r\ny", "b"}},
		{"no room, sent", "a {40000+}\r\n" + strings.Repeat("y", 40000) + "\r\nb\r\n", []string{"command line too long: a {40000+}\r\n", "b"}},
		{"absurd", "a {99999999999999999999}\r\nb\r\n", []string{"literal refused: a {9", "b"}},
		{"flood", "a {9999999999+}\r\nb\r\n", []string{"refused command does not end: "}},
	} {
		for _, slow := range []bool{false, true} {
			name := tc.name
			var src io.Reader = strings.NewReader(tc.in)
			if slow {
				name += ", slowly"
				src = iotest.OneByteReader(src)
			}
			t.Run(name, func(t *testing.T) {
				r := wire.NewReader(src, limits, func() {})
				decide := func(sofar []byte, lit wire.Literal) wire.Action {
					if bytes.Contains(sofar, []byte("REFUSE")) {
						return wire.Refuse
					}
					return wire.Inline
				}
				for _, want := range tc.want {
					if err := r.Wait(); err != nil {
						t.Fatal(err)
					}
					got, err := r.Command(decide)
					text := string(got)
					if err != nil {
						text = err.Error() + ": " + text
						if !strings.HasPrefix(text, want) {
							t.Fatalf("got %.100q, want %.100q", text, want)
						}
						continue
					}
					if text != want {
						t.Fatalf("got %.100q, want %.100q", text, want)
					}
				}
				if err := r.Wait(); err != io.EOF && !strings.HasPrefix(tc.want[0], "refused command") {
					t.Errorf("more to come: %v", err)
				}
			})
		}
	}
}

// TestStreamed reads literals that are not kept with their command, and gives some up.
func TestStreamed(t *testing.T) {
	for _, slow := range []bool{false, true} {
		var src io.Reader = strings.NewReader("a APPEND {5}\r\nhello {3+}\r\nabc\r\nb APPEND {4+}\r\nwxyz {2+}\r\n12\r\nc APPEND {9}\r\nd\r\n")
		if slow {
			src = iotest.OneByteReader(src)
		}
		r := wire.NewReader(src, limits, func() {})
		stream := func([]byte, wire.Literal) wire.Action { return wire.Stream }
		next := func(want string) {
			t.Helper()
			got, err := r.Command(stream)
			if err != nil || string(got) != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
		read := func(n int, want string) {
			t.Helper()
			buf := make([]byte, n)
			for at := 0; at < n; {
				k, err := r.ReadLiteral(buf[at:])
				if err != nil {
					t.Fatal(err)
				}
				at += k
			}
			if string(buf) != want {
				t.Fatalf("got %q, want %q", buf, want)
			}
		}
		next("a APPEND {5}\r\n")
		read(5, "hello")
		if _, err := r.ReadLiteral(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		next(" {3+}\r\n")
		read(3, "abc")
		next("")
		next("b APPEND {4+}\r\n")
		read(2, "wx")
		if !r.NonSync() {
			t.Error("NonSync is lost")
		}
		if err := r.DropLiteral(true); err != nil {
			t.Fatal(err)
		}
		next("c APPEND {9}\r\n")
		if err := r.DropLiteral(false); err != nil {
			t.Fatal(err)
		}
		next("d")
	}
}

// TestReset: what was read ahead is dropped.
func TestReset(t *testing.T) {
	r := wire.NewReader(strings.NewReader("a STARTTLS\r\nb NOOP\r\n"), limits, func() {})
	if _, err := r.Command(nil); err != nil {
		t.Fatal(err)
	}
	if !r.Reset(strings.NewReader("c NOOP\r\n")) {
		t.Error("nothing was dropped")
	}
	if got, err := r.Command(nil); err != nil || string(got) != "c NOOP" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSets(t *testing.T) {
	for _, tc := range []struct {
		in      string
		largest uint32
		want    string
	}{
		{"1", 5, "1"}, {"1,2,3", 5, "1:3"}, {"3:1", 5, "1:3"}, {"*", 5, "5"}, {"*:4", 5, "4:5"}, {"7:*", 5, "5:7"},
		{"1:3,2:9,20", 5, "1:9,20"}, {"9,1,5", 5, "1,5,9"}, {"1:4294967295", 5, "1:4294967295"}, {"4294967295,4294967294", 5, "4294967294:4294967295"},
		{"*", 0, ""}, {"1:*", 0, "1"}, {"2,1", 9, "1:2"},
	} {
		var l wire.Lexer
		l.Reset([]byte(tc.in))
		set, _ := l.Set()
		l.End()
		if l.Err() != nil {
			t.Errorf("%q: %v", tc.in, l.Err())
			continue
		}
		got := set.Resolve(tc.largest)
		if text := string(wire.AppendSet(nil, got)); text != tc.want {
			t.Errorf("%q of %d is %q, want %q", tc.in, tc.largest, text, tc.want)
		}
	}
	for _, bad := range []string{"", "0", "1,", "a", "1:", ":1", "1:2:3", "4294967296", "-1", "1 2", "**"} {
		var l wire.Lexer
		l.Reset([]byte(bad))
		l.Set()
		l.End()
		if l.Err() == nil {
			t.Errorf("%q is taken for a set", bad)
		}
	}
}

func TestMailboxNames(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX": "INBOX", "a b": `"a b"`, "Entwürfe": "Entw&APw-rfe", "台北": "&U,BTFw-", "A&B": "A&-B", "😀": "&2D3eAA-", `q"`: `"q\""`, "NIL": `"NIL"`,
		"日本語": "&ZeVnLIqe-",
	} {
		got := string(wire.AppendMailbox(nil, name, false))
		if got != want {
			t.Errorf("%q is written %s, want %s", name, got, want)
		}
		var l wire.Lexer
		l.Reset([]byte(got))
		if back, ok := wire.DecodeMailbox(l.AString(), false); !ok || back != name {
			t.Errorf("%s is read as %q, %v", got, back, ok)
		}
	}
	for _, bad := range []string{"&", "&A", "&AEE-", "&APw-&APw-", "&2D0-", "&3gA-", "&AP-", "a\x01", "&AAo-", "\xff"} {
		if got, ok := wire.DecodeMailbox([]byte(bad), false); ok {
			t.Errorf("%q is taken for a name, %q", bad, got)
		}
	}
	if got, _ := wire.DecodeMailbox([]byte("inbox/Sub"), false); got != "INBOX/Sub" {
		t.Errorf("got %q", got)
	}
}

func TestStrings(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		utf8     bool
	}{
		{"", `""`, false}, {"a b", `"a b"`, false}, {`a"\`, `"a\"\\"`, false}, {"a\r\nb", "{4}\r\na\r\nb", false},
		{"ü", "{2}\r\nü", false}, {"ü", `"ü"`, true}, {"\xff", "{1}\r\n\xff", true},
	} {
		got := string(wire.AppendString(nil, tc.in, tc.utf8))
		if got != tc.want {
			t.Errorf("%q is written %q, want %q", tc.in, got, tc.want)
		}
		var l wire.Lexer
		l.Reset([]byte(got))
		if back := string(l.String()); back != tc.in || l.Err() != nil {
			t.Errorf("%q is read as %q, %v", got, back, l.Err())
		}
	}
}

func TestDates(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC), time.Date(1994, 11, 1, 1, 2, 3, 0, time.UTC)} {
		got := wire.AppendDateTime(nil, at.Unix())
		if want := at.UTC().Format(`"_2-Jan-2006 15:04:05 -0700"`); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
		var l wire.Lexer
		l.Reset(got)
		if back := l.DateTime(); !back.Equal(at) {
			t.Errorf("%s is read as %v, %v", got, back, l.Err())
		}
	}
}

// TestWriter: the first error sticks, and memory is given back.
func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	for range 10000 {
		w.Str("0123456789")
	}
	big := bytes.Repeat([]byte("z"), 20<<10)
	w.Write(big)
	w.Num(42)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := 100000 + len(big) + 2; b.Len() != want {
		t.Errorf("%d octets written, want %d", b.Len(), want)
	}
	broken := wire.NewWriter(brokenWriter{})
	broken.Str("x")
	if err := broken.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	broken.Str("y")
	if err := broken.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// FuzzReader: however the octets are cut into reads, the same commands come, and a command never holds more than it may.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"a NOOP\r\n", "a LOGIN {3}\r\nabc {2+}\r\nde\r\nb\r\n", "a REFUSE {3+}\r\nabc {4+}\r\nwxyz\r\nb\r\n",
		"a " + strings.Repeat("x", 300) + " {6+}\r\nc NOOP\r\nb\r\n", "{1}\r\n{2}\r\n{3}\r\n", "a ~{3+}\r\nabc\n\n\n",
		"a " + strings.Repeat("x", 2500) + " {6+}\r\nabcdef\r\nb NOOP\r\n", "a {1500+}\r\n" + strings.Repeat("x\r\n", 700),
	} {
		f.Add([]byte(s), uint8(3))
	}
	small := wire.Limits{Line: 200, Command: 600, Drop: 2000}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		run := func(src io.Reader) []string {
			r := wire.NewReader(src, small, func() {})
			var out []string
			for {
				got, err := r.Command(func(sofar []byte, lit wire.Literal) wire.Action {
					if len(sofar) > small.Command {
						t.Fatalf("%d octets so far", len(sofar))
					}
					if lit.Size%3 == 2 {
						return wire.Refuse
					}
					return wire.Inline
				})
				if len(got) > small.Command {
					t.Fatalf("a command of %d octets", len(got))
				}
				switch err {
				case nil:
					out = append(out, string(got))
				case wire.ErrTooLong, wire.ErrRefused:
					out = append(out, err.Error())
				case wire.ErrFlood:
					return append(out, "flood")
				default:
					return out
				}
			}
		}
		a := run(bytes.NewReader(in))
		b := run(&pieces{in, int(size)%40 + 1})
		if strings.Join(a, "\x00") != strings.Join(b, "\x00") {
			t.Fatalf("at once %q\nin pieces %q", a, b)
		}
	})
}

// pieces gives a few octets at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// FuzzLexer: nothing panics, the lexer ends, and what is written is read back.
func FuzzLexer(f *testing.F) {
	for _, s := range []string{`(a b (c)) "x\"y" {3}` + "\r\nabc", `1:*,5 "17-Jul-1996 02:44:25 -0700"`, `INBOX NIL \Seen`, `&APw- %*`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reads := []func(*wire.Lexer){
			func(l *wire.Lexer) { l.List(func() { l.AString() }) }, func(l *wire.Lexer) { l.Set() }, func(l *wire.Lexer) { l.DateTime() },
			func(l *wire.Lexer) { l.Date() }, func(l *wire.Lexer) { l.Flag() }, func(l *wire.Lexer) { l.NString() }, func(l *wire.Lexer) { l.Pattern() },
			func(l *wire.Lexer) { l.Letters() }, func(l *wire.Lexer) { l.Announced() }, func(l *wire.Lexer) { l.Number64() }, func(l *wire.Lexer) { l.Tag() },
		}
		for _, read := range reads {
			var l wire.Lexer
			l.Reset(bytes.Clone(in))
			read(&l)
			l.End()
		}
		var l wire.Lexer
		l.Reset(bytes.Clone(in))
		s := l.AString()
		if l.Err() != nil {
			return
		}
		for _, u := range []bool{false, true} {
			var back wire.Lexer
			back.Reset(wire.AppendAString(nil, s, u))
			if got := back.AString(); back.Err() != nil || !bytes.Equal(got, s) {
				t.Fatalf("%q is read back as %q, %v", s, got, back.Err())
			}
			name, ok := wire.DecodeMailbox(s, u)
			if !ok {
				continue
			}
			back.Reset(wire.AppendMailbox(nil, name, u))
			if got, ok := wire.DecodeMailbox(back.AString(), u); !ok || got != name {
				t.Fatalf("mailbox %q is read back as %q, %v", name, got, ok)
			}
		}
	})
}

// FuzzSet: a resolved set is in order and apart, and holds what the ranges hold.
func FuzzSet(f *testing.F) {
	f.Add("1:*,5,3:2", uint32(7), uint32(3))
	f.Add("4294967295:1,*", uint32(0), uint32(1))
	f.Fuzz(func(t *testing.T, in string, largest, probe uint32) {
		var l wire.Lexer
		l.Reset([]byte(in))
		set, _ := l.Set()
		if l.Err() != nil || len(set) == 0 {
			return
		}
		want := false
		for _, r := range set {
			a, b := r.First, r.Last
			if a == wire.Star {
				a = largest
			}
			if b == wire.Star {
				b = largest
			}
			if a > b {
				a, b = b, a
			}
			want = want || probe >= max(a, 1) && probe <= b && (a > 0 || probe == b)
		}
		got := set.Resolve(largest)
		for i, r := range got {
			if r.First == 0 || r.First > r.Last || i > 0 && uint64(r.First) <= uint64(got[i-1].Last)+1 {
				t.Fatalf("%q of %d resolves to %v", in, largest, got)
			}
		}
		if got.Contains(probe) != want {
			t.Fatalf("%q of %d resolves to %v: %d is %v", in, largest, got, probe, !want)
		}
		var back wire.Lexer
		back.Reset(wire.AppendSet(nil, got))
		if len(got) > 0 {
			if again, _ := back.Set(); len(again) != len(got) {
				t.Fatalf("%v is read back as %v", got, again)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	line := []byte("a123 UID FETCH 12345 (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT)])\r\n")
	r := wire.NewReader(&endless{line: line}, wire.Limits{Line: 64 << 10, Command: 256 << 10, Drop: 1 << 20}, func() {})
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := r.Wait(); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Command(nil); err != nil {
			b.Fatal(err)
		}
	}
}

// endless repeats a line.
type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}

func BenchmarkLexer(b *testing.B) {
	command := []byte(` 1:100,200:*,7 (FLAGS \Seen $Forwarded) "quoted string" INBOX/Sub {5}` + "\r\nhello")
	buf := make([]byte, len(command))
	b.ReportAllocs()
	b.SetBytes(int64(len(command)))
	var l wire.Lexer
	for b.Loop() {
		copy(buf, command)
		l.Reset(buf)
		l.Space()
		l.Set()
		l.Space()
		l.Open()
		l.Word()
		l.Space()
		l.Flag()
		l.Space()
		l.Flag()
		l.Close()
		l.Space()
		l.AString()
		l.Space()
		l.AString()
		l.Space()
		l.AString()
		l.End()
		if l.Err() != nil {
			b.Fatal(l.Err())
		}
	}
}
