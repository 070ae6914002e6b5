package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// windowLen is how much one read of a walk fetches: a dozen small frames, or header and trailer of large ones.
const windowLen = 64 << 10

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// walker goes through the frames of one segment, up to a place, without reading bodies that it can skip.
type walker struct {
	inc     *incarnation
	segment uint32
	file    io.ReaderAt
	end     int64
	off     int64 // of the next frame

	window []byte // what was read from base on
	base   int64
	header [frame.HeaderLen]byte
}

// met is what a walker found at off: a frame, or damage from there to next.
type met struct {
	segment   uint32
	off, next int64
	header    frame.Header // valid where sound
	sound     bool
	trailer   frame.Trailer // valid where err is nil; lies in memory that the next step overwrites
	err       error         // blob.ErrCorrupt
}

func (s *Store) newWalker(inc *incarnation, segment uint32, file io.ReaderAt, from, to int64) *walker {
	return &walker{inc: inc, segment: segment, file: file, off: max(from, firstOffset), end: to}
}

// view returns n octets from off on, valid until the next call; fewer at the end of the file.
func (w *walker) view(off, n int64) ([]byte, error) {
	if off < w.base || off+n > w.base+int64(len(w.window)) {
		want := max(n, min(windowLen, w.end-off))
		if int64(cap(w.window)) < want {
			w.window = make([]byte, max(want, windowLen))
		}
		w.window = w.window[:want]
		got, err := w.file.ReadAt(w.window, off)
		w.window, w.base = w.window[:got], off
		if err != nil && !isEOF(err) {
			return nil, err
		}
	}
	at := off - w.base
	return w.window[at:min(at+n, int64(len(w.window)))], nil
}

// headerAt reads the header at off; blob.ErrCorrupt or frame.ErrAbsent where there is none that belongs there.
func (w *walker) headerAt(off int64) (frame.Header, error) {
	b, err := w.view(off, frame.HeaderLen)
	if err != nil {
		return frame.Header{}, err
	}
	h, err := frame.ParseHeader(b)
	if err != nil {
		return frame.Header{}, err
	}
	if h.Incarnation != w.inc.id || h.Segment != w.segment || int64(h.Offset) != off || off+h.Len() > w.end {
		return frame.Header{}, fmt.Errorf("%w: header tells another place", blob.ErrCorrupt)
	}
	copy(w.header[:], b)
	return h, nil
}

// step returns what is next, io.EOF at the end. Its errors are of reading; damage is told in met.
func (w *walker) step() (m met, err error) {
	if w.off >= w.end {
		return met{}, io.EOF
	}
	m.segment, m.off = w.segment, w.off
	m.header, err = w.headerAt(w.off)
	switch {
	case isUnsound(err):
		m.err = fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
		if m.next, err = w.search(w.off + 1); err != nil {
			return met{}, err
		}
	case err != nil:
		return met{}, err
	default:
		m.sound = true
		m.next = w.off + m.header.Len()
		m.trailer, m.err = w.trailer(&m.header)
		if m.err != nil && !errors.Is(m.err, blob.ErrCorrupt) {
			return met{}, m.err
		}
	}
	w.off = m.next
	return m, nil
}

func (w *walker) trailer(h *frame.Header) (frame.Trailer, error) {
	n := h.TrailerLen()
	b, err := w.view(int64(h.Offset)+h.Len()-n, n)
	if err != nil {
		return frame.Trailer{}, err
	}
	return frame.ParseTrailer(h, w.header[:], b)
}

// search returns where the next frame with a sound header begins, at off or behind it; the end where there is none, or
// where the incarnation's salt was lost: then nothing tells a frame from a body that looks like one.
func (w *walker) search(off int64) (int64, error) {
	if w.inc.salt == 0 {
		return w.end, nil
	}
	match := func(h *frame.Header) bool {
		return h.Salt == w.inc.salt && h.Incarnation == w.inc.id && h.Segment == w.segment &&
			int64(h.Offset)+h.Len() <= w.end
	}
	for off < w.end {
		b, err := w.view(off, min(windowLen, w.end-off))
		if err != nil {
			return 0, err
		}
		if i := frame.Find(b, off, match); i >= 0 {
			return off + int64(i), nil
		}
		if len(b) < frame.HeaderLen {
			break
		}
		off += int64(len(b)) - frame.HeaderLen + 1
	}
	return w.end, nil
}

// segmentHeader reads what a segment begins with. fs.ErrNotExist, frame.ErrAbsent, blob.ErrCorrupt.
func (s *Store) segmentHeader(id uint64, segment uint32) (frame.SegmentHeader, error) {
	file, err := s.segmentFile(id, segment)
	if err != nil {
		return frame.SegmentHeader{}, err
	}
	defer file.release()
	b := make([]byte, frame.SegmentHeaderLen)
	n, err := file.ReadAt(b, 0)
	if err != nil && !isEOF(err) {
		return frame.SegmentHeader{}, err
	}
	h, err := frame.ParseSegmentHeader(b[:n])
	if err == nil && (h.Incarnation != id || h.Segment != segment) {
		err = fmt.Errorf("%w: segment header tells another place", blob.ErrCorrupt)
	}
	return h, err
}

func (s *Store) segmentFile(id uint64, segment uint32) (*handle, error) {
	return s.files.acquire(fileKey{incarnation: id, number: uint64(segment)}, func() string {
		return s.segmentPath(id, segment)
	})
}

// segmentEnd is where the durable part of a segment ends, in an incarnation that ends at last.
func (s *Store) segmentEnd(id uint64, segment uint32, last end, file *handle) (int64, error) {
	if segment == last.segment {
		return int64(last.offset), nil
	}
	next, err := s.segmentHeader(id, segment+1)
	if err == nil {
		return int64(next.Before), nil
	}
	if !isUnsound(err) && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	// The header rotted: all that the file holds counts, so that damage is told rather than passed over.
	size, err := file.Size()
	return min(size, math.MaxUint32), err
}

// walk calls each with what lies in the incarnation from a place on, up to last, in order; and returns the place behind
// the last call.
func (s *Store) walk(ctx context.Context, inc *incarnation, from, last end, each func(frame.SegmentHeader, *met) error) (end, error) {
	segments, err := s.segments(inc.id)
	if err != nil {
		return from, fmt.Errorf("incarnation %d: %w", inc.id, err)
	}
	at := from
	for _, n := range segments {
		// Where the last one has no durable frames it may yet be made anew under its number.
		if n < from.segment || n > last.segment || n == last.segment && last.offset <= firstOffset {
			continue
		}
		start := int64(firstOffset)
		if n == from.segment {
			start = int64(from.offset)
		}
		at, err = s.walkSegment(ctx, inc, n, start, last, at, each)
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

func (s *Store) walkSegment(ctx context.Context, inc *incarnation, n uint32, start int64, last, at end,
	each func(frame.SegmentHeader, *met) error) (end, error) {
	header, err := s.segmentHeader(inc.id, n)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil // removed meanwhile
	}
	if err != nil && !isUnsound(err) {
		return at, err
	}
	if err != nil {
		// Frames tell all but the time; the next best is when the incarnation began.
		header = frame.SegmentHeader{Started: inc.started}
	}
	file, err := s.segmentFile(inc.id, n)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil // removed meanwhile
	}
	if err != nil {
		return at, err
	}
	defer file.release()
	to, err := s.segmentEnd(inc.id, n, last, file)
	if err != nil {
		return at, err
	}
	w := s.newWalker(inc, n, file, start, to)
	for {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		m, err := w.step()
		if isEOF(err) {
			return at, nil
		}
		if err != nil {
			return at, fmt.Errorf("incarnation %d, segment %d at %d: %w", inc.id, n, w.off, err)
		}
		at = end{segment: n, offset: uint32(min(m.next, math.MaxUint32))}
		if err := each(header, &m); err != nil {
			return at, err
		}
	}
}
