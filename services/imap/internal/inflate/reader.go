package inflate

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	windowSize = 32 << 10
	// inputSize makes Reader fill a size class of the allocator.
	inputSize = 3 << 10
	// emptyReads is how often in a row the source may return nothing and no error.
	emptyReads = 100
)

// Error is a stream that is none.
type Error struct {
	At   int64 // octets of the stream before the fault
	What string
}

func (e *Error) Error() string { return fmt.Sprintf("inflate: octet %d: %s", e.At, e.What) }

// Reader decompresses one stream.
type Reader struct {
	src    io.Reader
	srcErr error // came with the octets in hand
	err    error // the end of the stream, or its fault
	state  state
	final  bool // this block is the last

	in      [inputSize]byte
	at, end int   // in[at:end] is not yet looked at
	base    int64 // octets before in

	// bits holds the next count bits, the first lowest; above them are zeros. At most 63.
	bits  uint64
	count uint

	// window is written at w; window[given:w] is still to be given out. Behind w is what was there a window ago, once wrapped.
	window   *[windowSize]byte
	w, given int
	wrapped  bool

	// length and distance are what is left of a match; length also of a stored block.
	length, distance int

	// The codes of this block: own or the static ones.
	lit  *litTable
	dist *distTable
	own  codes
	// Reading the codes: lens has those of have symbols, lits of which literals and lengths are first.
	lens              [maxLits + maxDists]uint8
	have, lits, dists int
	lenCodes          int
}

// NewReader returns a Reader of what src gives. It asks src for more than it needs, but only when all before is given out.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, window: new([windowSize]byte)}
}

// Read gives out what there is; it reads from the source only where that is nothing.
//
// Errors: io.EOF behind the last block, whatever follows it; io.ErrUnexpectedEOF where the source ends before; an *Error, which
// stays, for an invalid stream, when all before the fault is given out. An error of the source is returned as it is, and the
// next Read goes on from there.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.given < r.w {
			n := copy(p, r.window[r.given:r.w])
			r.given += n
			return n, nil
		}
		if r.w == windowSize {
			r.w, r.given, r.wrapped = 0, 0, true
		}
		for r.err == nil && r.step() {
		}
		if r.given < r.w {
			continue
		}
		if r.err != nil {
			return 0, r.err
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// fill asks the source. All octets in hand are in bits by now: no step needs more than those hold.
func (r *Reader) fill() error {
	if err := r.srcErr; err != nil {
		r.srcErr = nil
		return sourceError(err)
	}
	for range emptyReads {
		n, err := r.src.Read(r.in[:])
		if n > 0 {
			r.base += int64(r.end)
			r.at, r.end, r.srcErr = 0, n, err
			return nil
		}
		if err != nil {
			return sourceError(err)
		}
	}
	return io.ErrNoProgress
}

func sourceError(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// load moves octets into bits: afterwards these are 56 at least, or all there are.
func (r *Reader) load() {
	if r.end-r.at >= 8 {
		r.bits |= binary.LittleEndian.Uint64(r.in[r.at:]) << r.count
		r.at += int(63-r.count) >> 3
		r.count |= 56
		r.bits &= 1<<r.count - 1
		return
	}
	for r.count < 56 && r.at < r.end {
		r.bits |= uint64(r.in[r.at]) << r.count
		r.at++
		r.count += 8
	}
}

// need tells whether n bits are there, 56 at most.
func (r *Reader) need(n uint) bool {
	if r.count < n {
		r.load()
	}
	return r.count >= n
}

// take consumes n bits that are there.
func (r *Reader) take(n uint) int {
	v := r.bits & (1<<n - 1)
	r.bits >>= n
	r.count -= n
	return int(v)
}

// fail ends the stream at the bit it is at.
func (r *Reader) fail(what string) bool {
	r.err = &Error{At: r.base + int64(r.at) - int64(r.count+7)/8, What: what}
	return false
}
