package wire

import (
	"io"
	"strconv"
	"sync"
)

// FlushSize is how many octets of responses are gathered before they are written.
const FlushSize = 32 << 10

// direct is from where on octets are written as they are rather than copied.
const direct = 8 << 10

var writePool = sync.Pool{New: func() any { b := make([]byte, 0, FlushSize+direct); return &b }}

// Writer gathers responses. It holds no memory while nothing is to be written. The first error sticks: what is written
// after it goes nowhere. Not for concurrent use.
type Writer struct {
	dst    io.Writer
	b      []byte
	pooled *[]byte
	total  int64 // octets handed to dst
	err    error
}

// NewWriter writes to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Reset goes on with another destination. Flush before.
func (w *Writer) Reset(dst io.Writer) { w.dst = dst }

// Err is the first error of the destination.
func (w *Writer) Err() error { return w.err }

// Take gives the buffer to append to; Give gives it back. Between them no other method may be called.
func (w *Writer) Take() []byte {
	if w.pooled == nil {
		w.pooled = writePool.Get().(*[]byte)
		w.b = (*w.pooled)[:0]
	}
	return w.b
}

// Give takes what Take gave, with more appended, and writes it out once there is enough.
func (w *Writer) Give(b []byte) {
	w.b = b
	if len(b) >= FlushSize {
		w.write()
	}
}

// Buffered is how many octets wait to be written.
func (w *Writer) Buffered() int { return len(w.b) }

// Written is how many octets were ever given.
func (w *Writer) Written() int64 { return w.total + int64(len(w.b)) }

// Str appends text.
func (w *Writer) Str(s string) { w.Give(append(w.Take(), s...)) }

// Num appends a number.
func (w *Writer) Num(n uint64) { w.Give(strconv.AppendUint(w.Take(), n, 10)) }

// Write appends octets; many are written without being copied. It never fails: see Err.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) < direct {
		w.Give(append(w.Take(), p...))
		return len(p), nil
	}
	w.write()
	w.total += int64(len(p))
	if w.err == nil {
		_, w.err = w.dst.Write(p)
	}
	return len(p), nil
}

func (w *Writer) write() {
	if len(w.b) > 0 && w.err == nil {
		_, w.err = w.dst.Write(w.b)
	}
	w.total += int64(len(w.b))
	w.b = w.b[:0]
}

// Flush writes what waits and lets go of the memory.
func (w *Writer) Flush() error {
	if w.pooled == nil {
		return w.err
	}
	w.write()
	if cap(w.b) <= 2*(FlushSize+direct) {
		*w.pooled = w.b[:0]
		writePool.Put(w.pooled)
	}
	w.b, w.pooled = nil, nil
	return w.err
}
