package frame_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// build makes a frame as a store does.
func build(h frame.Header, body, tail []byte) []byte {
	b := make([]byte, frame.HeaderLen)
	if h.Place == frame.Inline {
		b = append(b, body...)
	}
	var sums []byte
	if h.Place != frame.Shared {
		sums = frame.AppendSums(nil, body)
		h.Stored = int64(len(body))
	}
	h.Size = int64(len(body))
	digest := blake3.Sum256(body)
	b = frame.Finish(b, &h, sums, tail, &digest)
	frame.Seal(b, &h)
	return b
}

func place() frame.Header {
	return frame.Header{
		Kind: blob.Accepted, Place: frame.Inline, QueueID: envelope.QueueID{1, 2, 3}, Tenant: 9,
		Incarnation: 7, Segment: 3, Offset: 4096, Durable: 64, Salt: 0xfeed,
	}
}

// decode reads a whole frame.
func decode(b []byte) (frame.Header, frame.Trailer, error) {
	h, err := frame.ParseHeader(b)
	if err != nil {
		return h, frame.Trailer{}, err
	}
	if h.Len() != int64(len(b)) {
		return h, frame.Trailer{}, errors.New("another length")
	}
	tr, err := frame.ParseTrailer(&h, b, b[int64(len(b))-h.TrailerLen():])
	if err == nil && h.Place == frame.Inline {
		err = frame.CheckBody(tr.Sums, b[frame.HeaderLen:frame.HeaderLen+h.BodyLen()])
	}
	return h, tr, err
}

func TestRoundTrip(t *testing.T) {
	apart, shared := place(), place()
	apart.Place, apart.Apart = frame.Apart, frame.Ref{Incarnation: 7, Number: 1 << 40}
	shared.Place, shared.Owner = frame.Shared, blob.ID{Incarnation: 6, Segment: 5, Offset: 4, Length: 3}
	for _, h := range []frame.Header{place(), apart, shared} {
		for _, n := range []int{0, 1, 4096, frame.BlockLen, frame.BlockLen + 1, 5 * frame.BlockLen} {
			body, tail := bytes.Repeat([]byte("body "), n)[:n], []byte("tail")
			got, tr, err := decode(build(h, body, tail))
			if err != nil {
				t.Fatalf("place %d, %d octets: %v", h.Place, n, err)
			}
			want := h
			want.Size, want.Tail = int64(n), 4
			if h.Place != frame.Shared {
				want.Stored, want.Blocks = int64(n), frame.BlocksOf(int64(n))
			}
			if got != want {
				t.Errorf("place %d, %d octets: header %+v, want %+v", h.Place, n, got, want)
			}
			if tr.Size != int64(n) || tr.Digest != blake3.Sum256(body) || string(tr.Tail) != "tail" {
				t.Errorf("place %d, %d octets: trailer %+v", h.Place, n, tr)
			}
		}
	}
}

// Every octet is covered by a checksum.
func TestAnyChangedBit(t *testing.T) {
	whole := build(place(), bytes.Repeat([]byte("body "), 60), []byte("tail"))
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := decode(b); err == nil {
			t.Errorf("bit %d of octet %d changed: no error", i%8, i/8)
		}
	}
	for n := range whole {
		if _, _, err := decode(whole[:n]); err == nil {
			t.Errorf("cut to %d of %d octets: no error", n, len(whole))
		}
	}
}

// Parts of two sound frames make no sound frame.
func TestMixedFrames(t *testing.T) {
	h := place()
	a, b := build(h, []byte("body"), []byte("tail")), []byte(nil)
	h.QueueID[5] = 99
	b = build(h, []byte("body"), []byte("tail"))
	mixed := append(bytes.Clone(a[:frame.HeaderLen]), b[frame.HeaderLen:]...)
	if _, _, err := decode(mixed); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("header and trailer of two frames: %v", err)
	}
}

// A header with a sound checksum that says what no writer says is refused: readers trust lengths.
func TestHeaderSaysNonsense(t *testing.T) {
	tests := map[string]func(h *frame.Header){
		"codec":        func(h *frame.Header) { h.Codec = 1 },
		"key":          func(h *frame.Header) { h.KeyID = 1 },
		"place":        func(h *frame.Header) { h.Place = 4 },
		"size":         func(h *frame.Header) { h.Size = frame.MaxBody + 1; h.Stored = h.Size },
		"negative":     func(h *frame.Header) { h.Size = math.MinInt64; h.Stored = h.Size },
		"stored":       func(h *frame.Header) { h.Stored++ },
		"blocks":       func(h *frame.Header) { h.Blocks = math.MaxUint32 },
		"tail":         func(h *frame.Header) { h.Tail = frame.MaxTail + 1 },
		"end":          func(h *frame.Header) { h.Offset = math.MaxUint32 - 10 },
		"shared octet": func(h *frame.Header) { h.Place = frame.Shared },
	}
	for name, change := range tests {
		h := place()
		h.Size, h.Stored, h.Blocks = 4, 4, 1
		change(&h)
		b := make([]byte, frame.HeaderLen+frame.TrailerLen)
		frame.Seal(b, &h)
		if got, err := frame.ParseHeader(b); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("%s: %+v, %v; want ErrCorrupt", name, got, err)
		}
	}
	if _, err := frame.ParseHeader(make([]byte, 4096)); !errors.Is(err, frame.ErrAbsent) {
		t.Errorf("zeros: %v, want ErrAbsent", err)
	}
}

func TestFind(t *testing.T) {
	h := place()
	junk := bytes.Repeat([]byte("MFfh"), 500)
	forged := h
	forged.Offset, forged.Salt = 1000+uint32(len(junk)), 1
	elsewhere := h
	b := append(bytes.Clone(junk), build(forged, []byte("forged"), nil)...)
	b = append(b, build(elsewhere, []byte("tells another place"), nil)...)
	want := len(b)
	h.Offset = 1000 + uint32(want)
	b = append(b, build(h, []byte("the one"), nil)...)
	match := func(h *frame.Header) bool { return h.Salt == 0xfeed }
	if got := frame.Find(b, 1000, match); got != want {
		t.Errorf("Find: %d, want %d", got, want)
	}
	if got := frame.Find(b[:want+frame.HeaderLen-1], 1000, match); got != -1 {
		t.Errorf("Find in a cut header: %d", got)
	}
}

func TestSegmentHeader(t *testing.T) {
	want := frame.SegmentHeader{Incarnation: 1 << 50, Segment: 7, Before: 1 << 31, Started: time.Unix(5, 6), Salt: 8}
	b := frame.AppendSegmentHeader([]byte("xx"), &want)[2:]
	if got, err := frame.ParseSegmentHeader(b); !reflect.DeepEqual(got, want) || err != nil || len(b) != frame.SegmentHeaderLen {
		t.Errorf("got %+v of %d octets, %v; want %+v", got, len(b), err, want)
	}
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if _, err := frame.ParseSegmentHeader(c); err == nil {
			t.Errorf("bit %d of octet %d changed: no error", i%8, i/8)
		}
	}
}

// FuzzDecode feeds hostile octets, once as they are and once with sound checksums, to all that decodes.
func FuzzDecode(f *testing.F) {
	f.Add(build(place(), []byte("body"), []byte("tail")))
	shared := place()
	shared.Place, shared.Owner = frame.Shared, blob.ID{Incarnation: 1}
	f.Add(build(shared, []byte("body"), nil))
	f.Add(frame.AppendSegmentHeader(nil, &frame.SegmentHeader{Segment: 1}))
	f.Add([]byte("MFfhMFfh"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame.ParseSegmentHeader(b)
		frame.Find(b, 0, func(*frame.Header) bool { return true })
		check(t, b)
		check(t, resum(b))
	})
}

func check(t *testing.T, b []byte) {
	h, err := frame.ParseHeader(b)
	if err != nil {
		if !errors.Is(err, blob.ErrCorrupt) && !errors.Is(err, frame.ErrAbsent) {
			t.Fatalf("ParseHeader: %v", err)
		}
		return
	}
	if h.Len() < frame.HeaderLen+frame.TrailerLen || int64(h.Offset)+h.Len() > math.MaxUint32 || h.BodyLen() < 0 {
		t.Fatalf("header %+v has length %d", h, h.Len())
	}
	if h.Len() > int64(len(b)) {
		return
	}
	trailer := b[h.Len()-h.TrailerLen() : h.Len()]
	tr, err := frame.ParseTrailer(&h, b, trailer)
	if err != nil {
		if !errors.Is(err, blob.ErrCorrupt) {
			t.Fatalf("ParseTrailer: %v", err)
		}
		return
	}
	if len(tr.Tail) != int(h.Tail) || len(tr.Sums) != int(h.Blocks)*frame.SumLen || tr.Size != h.Size {
		t.Fatalf("trailer %+v of header %+v", tr, h)
	}
	frame.CheckBody(tr.Sums, b[frame.HeaderLen:frame.HeaderLen+h.BodyLen()])
}
