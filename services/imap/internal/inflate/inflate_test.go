package inflate_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"unsafe"

	"github.com/mailfarm/mailfarm/services/imap/internal/inflate"
)

// texts are what is compressed: of each kind one that is longer than two windows.
func texts() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70<<10)
	var commands bytes.Buffer
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
		if commands.Len() < 150<<10 {
			fmt.Fprintf(&commands, "a%d UID FETCH %d:%d (FLAGS ENVELOPE BODY.PEEK[HEADER.FIELDS (%x)])\r\n", i, rnd.IntN(1e6), rnd.IntN(1e6), noise[i/2:i/2+3])
		}
	}
	return map[string][]byte{
		"nothing": nil, "an octet": []byte("a"), "noise": noise, "commands": commands.Bytes(), "zeros": make([]byte, 100_000),
		"far": bytes.Repeat(noise[:32000], 3),
	}
}

// flated compresses text in pieces, of which every other is flushed.
func flated(tb testing.TB, text []byte, level, piece int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; len(text) > 0; i++ {
		n := min(piece, len(text))
		w.Write(text[:n])
		if text = text[n:]; i%2 == 0 {
			w.Flush()
		}
	}
	w.Close()
	return b.Bytes()
}

// TestLevels reads what Go writes at all its levels.
func TestLevels(t *testing.T) {
	for name, text := range texts() {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			for _, piece := range []int{700, 33_000, 1 << 20} {
				got, err := io.ReadAll(inflate.NewReader(bytes.NewReader(flated(t, text, level, piece))))
				if err != nil || !bytes.Equal(got, text) {
					t.Errorf("%s, level %d, pieces of %d: %d octets, %v, want %d", name, level, piece, len(got), err, len(text))
				}
			}
		}
	}
}

// pieces gives out a stream in pieces of random sizes, also of none.
type pieces struct {
	left []byte
	rnd  *rand.Rand
	most int
}

func (s *pieces) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.left[:min(s.rnd.IntN(s.most+1), len(s.left))])
	s.left = s.left[n:]
	return n, nil
}

// sips reads into buffers of random sizes.
func sips(r io.Reader, rnd *rand.Rand, most int) ([]byte, error) {
	var out []byte
	buf := make([]byte, most)
	for {
		n, err := r.Read(buf[:1+rnd.IntN(most)])
		out = append(out, buf[:n]...)
		if err != nil {
			return out, err
		}
	}
}

// TestPieces decodes streams, also damaged and cut ones, in pieces of any size: the output and the end are those of the whole.
func TestPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for name, text := range texts() {
		for round := range 12 {
			stream := flated(t, text[:min(len(text), 80_000)], []int{-2, 0, 1, 6}[round%4], 5000)
			switch round / 4 {
			case 1:
				stream[rnd.IntN(len(stream))] ^= 1 << rnd.IntN(8)
			case 2:
				stream = stream[:rnd.IntN(len(stream))]
			}
			want, wantErr := io.ReadAll(inflate.NewReader(bytes.NewReader(stream)))
			if wantErr == nil {
				wantErr = io.EOF
			}
			for _, most := range []int{1, 7, 4000} {
				got, err := sips(inflate.NewReader(&pieces{stream, rnd, most}), rnd, 5000/most)
				if !bytes.Equal(got, want) || err.Error() != wantErr.Error() {
					t.Errorf("%s, round %d, pieces up to %d: %d octets, %v, want %d, %v", name, round, most, len(got), err, len(want), wantErr)
				}
			}
		}
	}
}

// bit writes fields of bits, the lowest first, and codes as strings of their bits.
type bit struct {
	out []byte
	n   int
}

func (b *bit) field(value, width int) *bit {
	for i := range width {
		if b.n%8 == 0 {
			b.out = append(b.out, 0)
		}
		b.out[b.n/8] |= byte(value >> i & 1 << (b.n % 8))
		b.n++
	}
	return b
}

func (b *bit) code(s string) *bit {
	for _, c := range strings.ReplaceAll(s, " ", "") {
		b.field(int(c-'0'), 1)
	}
	return b
}

// dynamic begins a last block with dynamic codes; lenCodes are the lengths of the codes for 16, 17, 18, 0, 8, 7, 9, …
func dynamic(lits, dists int, lenCodes ...int) *bit {
	b := new(bit).field(5, 3).field(lits-257, 5).field(dists-1, 5).field(len(lenCodes)-4, 4)
	for _, n := range lenCodes {
		b.field(n, 3)
	}
	return b
}

// oneAndZeros begins a block whose codes for lengths are 0 for 18 (many zeros), 10 for 0 and 11 for 1.
func oneAndZeros(lits, dists int) *bit {
	return dynamic(lits, dists, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
}

// zeros writes n lengths of 0 with those codes, 11 to 138.
func (b *bit) zeros(n int) *bit { return b.code("0").field(n-11, 7) }

// TestInvalid names the fault of a stream, after all that came before it.
func TestInvalid(t *testing.T) {
	static := func() *bit { return new(bit).field(3, 3) }
	for _, tc := range []struct {
		name   string
		stream *bit
		out    string
		err    string // "" where it is valid
	}{
		{"empty static block", static().code("0000000"), "", ""},
		{"behind the end", static().code("0000000").field(-1, 50), "", ""},
		{"literal and match", static().code("10010001 0000001 00000 0000000"), "aaaa", ""},
		{"type 3", new(bit).field(7, 3), "", "octet 0: unknown type of block"},
		{"stored", new(bit).field(1, 8).field(2, 16).field(^2, 16).field('h'|'i'<<8, 16), "hi", ""},
		{"stored length", new(bit).field(1, 8).field(2, 16).field(2, 16), "", "octet 1: length of a stored block is not its complement's"},
		{"too far", static().code("10010001 0000001 00001"), "a", "octet 1: distance reaches before the stream"},
		{"at the start", static().code("0000001 00000"), "", "octet 0: distance reaches before the stream"},
		{"symbol 286", static().code("10010001 11000110"), "a", "octet 1: no such code for a literal or length"},
		{"distance 30", static().code("10010001 0000001 11110"), "a", "octet 1: no such code for a distance"},
		{"287 literals", new(bit).field(5, 3).field(30, 5).field(0, 9), "", "octet 0: too many codes for literals and lengths"},
		{"31 distances", new(bit).field(5, 3).field(0, 5).field(30, 5).field(0, 4), "", "octet 0: too many codes for distances"},
		{"lengths over", dynamic(257, 1, 1, 1, 1, 0), "", "octet 3: code for lengths is over-subscribed"},
		{"lengths incomplete", dynamic(257, 1, 1, 2, 0, 0), "", "octet 3: code for lengths is incomplete"},
		{"lengths of one code", dynamic(257, 1, 0, 0, 1, 0), "", "octet 3: code for lengths is incomplete"},
		{"lengths none", dynamic(257, 1, 0, 0, 0, 0), "", "octet 3: code for lengths is incomplete"},
		{"nothing to repeat", dynamic(257, 1, 1, 1, 0, 0).code("0"), "", "octet 3: no length to repeat"},
		{"too many lengths", oneAndZeros(257, 1).zeros(138).zeros(121), "", "octet 9: more lengths than codes"},
		{"no end", oneAndZeros(257, 1).code("11").zeros(138).zeros(118).code("11"), "", "octet 11: no code for the end of the block"},
		{"literals over", oneAndZeros(257, 1).code("11 11").zeros(138).zeros(116).code("11 10"), "",
			"octet 11: code for literals and lengths is over-subscribed"},
		// The end alone has a code, and there is no distance: valid. The other bit is not.
		{"one code", oneAndZeros(257, 1).zeros(138).zeros(118).code("11 10 0"), "", ""},
		{"one code, the other", oneAndZeros(257, 1).zeros(138).zeros(118).code("11 10 1"), "", "octet 11: no such code for a literal or length"},
		{"distances over", oneAndZeros(257, 3).zeros(138).zeros(118).code("11 11 11 11"), "", "octet 11: code for distances is over-subscribed"},
		// Two lengths, of three octets; a distance of one, whose code is alone, or none.
		{"match", oneAndZeros(258, 1).zeros(138).zeros(118).code("11 11 11 1 0"), "", "octet 11: distance reaches before the stream"},
		{"no distances", oneAndZeros(258, 1).zeros(138).zeros(118).code("11 11 10 1"), "", "octet 11: no such code for a distance"},
		{"one distance, the other", oneAndZeros(258, 1).zeros(138).zeros(118).code("11 11 11 1 1"), "", "octet 11: no such code for a distance"},
		// Lengths 18: 1 bit, 0 and 2: 2 bits; 256 and 257 have codes of two bits, and half of all is left.
		{"literals incomplete", dynamic(258, 1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2).zeros(138).zeros(118).code("11 11 10"), "",
			"octet 10: code for literals and lengths is incomplete"},
		{"distances incomplete", dynamic(257, 2, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3).zeros(138).zeros(118).code("111 10 10"), "",
			"octet 11: code for distances is incomplete"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := inflate.NewReader(iotest.OneByteReader(bytes.NewReader(tc.stream.out)))
			got, err := io.ReadAll(r)
			said := ""
			if err != nil {
				said = err.Error()
			}
			want := tc.err
			if want != "" {
				want = "inflate: " + want
			}
			if string(got) != tc.out || said != want {
				t.Errorf("%x: %q, %q, want %q, %q", tc.stream.out, got, said, tc.out, want)
			}
			if _, again := r.Read(make([]byte, 1)); err != nil && again != err {
				t.Errorf("read again: %v", again)
			}
			_, err = io.ReadAll(flate.NewReader(bytes.NewReader(tc.stream.out)))
			if (err == nil) != (tc.err == "") {
				t.Errorf("compress/flate: %v", err)
			}
		})
	}
}

// TestSourceErrors goes on behind an error of the source, and takes an end of the source for none of the stream.
func TestSourceErrors(t *testing.T) {
	stream, err := hex.DecodeString("2a3054f0f3f70fe0e50208") // zlib's "p1 NOOP\r\n", flushed partly
	if err != nil {
		t.Fatal(err)
	}
	src := new(steps)
	r := inflate.NewReader(src)
	buf := make([]byte, 100)
	for i := range stream[:5] {
		src.left = stream[i : i+1]
		r.Read(buf)
		if _, err := r.Read(buf); err != errAsked {
			t.Fatalf("octet %d: %v", i, err)
		}
	}
	if got, err := io.ReadAll(inflate.NewReader(iotest.DataErrReader(bytes.NewReader(stream)))); string(got) != "p1 NOOP\r\n" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := inflate.NewReader(bytes.NewReader(nil)).Read(buf); err != io.ErrUnexpectedEOF {
		t.Errorf("nothing: %v", err)
	}
	if _, err := inflate.NewReader(&pieces{left: stream, rnd: rand.New(rand.NewPCG(1, 1))}).Read(buf); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v", err)
	}
}

// TestMemory holds what the package says of its memory.
func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(inflate.Reader{}); n > 6528 { // a size class of the allocator
		t.Errorf("a Reader of %d octets beside its window", n)
	}
	stream := flated(t, texts()["commands"], 6, 700)
	src := bytes.NewReader(stream)
	buf := make([]byte, 4096)
	if n := testing.AllocsPerRun(5, func() {
		src.Reset(stream)
		for r := inflate.NewReader(src); ; {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}); n > 2 {
		t.Errorf("%v allocations for a stream", n)
	}
}

// FuzzReader compares with compress/flate: both give the same, or both fail, and in pieces it is as in whole.
func FuzzReader(f *testing.F) {
	for _, text := range texts() {
		f.Add(flated(f, text[:min(len(text), 300)], 6, 100), byte(3))
	}
	f.Add(oneAndZeros(257, 1).zeros(138).zeros(118).code("11 10 0").out, byte(1))
	f.Fuzz(func(t *testing.T, stream []byte, size byte) {
		const most = 1 << 20
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stream)), most))
		got, err := io.ReadAll(io.LimitReader(inflate.NewReader(bytes.NewReader(stream)), most))
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d octets, %v; compress/flate: %d octets, %v", len(got), err, len(want), wantErr)
		}
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) {
			t.Error("what came before the fault differs")
		}
		src := &pieces{stream, rand.New(rand.NewPCG(uint64(size), 1)), 1 + int(size)}
		sipped, sipErr := sips(io.LimitReader(inflate.NewReader(src), most), src.rnd, 1+int(size))
		if err == nil {
			err = io.EOF
		}
		if !bytes.Equal(sipped, got) || sipErr.Error() != err.Error() {
			t.Errorf("in pieces: %d octets, %v; in whole %d, %v", len(sipped), sipErr, len(got), err)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for _, name := range []string{"commands", "noise", "zeros"} {
		text := texts()[name]
		stream := flated(b, text, 6, 1<<20)
		src, buf := bytes.NewReader(nil), make([]byte, 4096)
		run := func(b *testing.B, start func() io.Reader) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(stream)
				for r := start(); ; {
					if _, err := r.Read(buf); err != nil {
						break
					}
				}
			}
		}
		b.Run(name+"/inflate", func(b *testing.B) { run(b, func() io.Reader { return inflate.NewReader(src) }) })
		std := flate.NewReader(nil)
		b.Run(name+"/flate", func(b *testing.B) {
			run(b, func() io.Reader { std.(flate.Resetter).Reset(src, nil); return std })
		})
	}
}
