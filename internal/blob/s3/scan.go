package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// Scan fetches segments as a whole, by consecutive numbers. Behind a damaged frame whose header is sound it goes on by its
// length, else with the next header that bears the incarnation's salt.
//
// It passes over segments that are missing before the end of a dead incarnation, or before what a living one calls durable
// in its heartbeat: those were removed. A segment is missing only if it was asked for after the heartbeat was read. At the
// first that is missing behind, or the seal, it ends.
func (s *Store) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	at, err := from, s.check(ctx)
	if err == nil {
		at, err = s.scan(ctx, from, each)
	}
	if err != nil {
		return at, fmt.Errorf("scan incarnation %d: %w", from.Incarnation, err)
	}
	return at, nil
}

func (s *Store) scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	inc, err := s.lookUp(ctx, from.Incarnation)
	if err != nil {
		return from, err
	}
	end, durable, asked := uint32(math.MaxUint32), uint32(0), false
	switch l := s.keeper.living(inc.id); {
	case l != nil:
		end = l.durable.Load()
		durable, asked = end, true
	case inc.ended:
		end, durable, asked = inc.count, inc.count, true
	}
	at := from
	for n := from.Segment; n < end; n++ {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		if n == from.Segment && s.ends.is(from) {
			continue
		}
		data, err := s.segment(ctx, inc.id, n)
		if errors.Is(err, errMissing) && n >= durable && !asked {
			if durable, err = s.durableBy(ctx, inc.id); err != nil {
				return at, fmt.Errorf("heartbeat: %w", err)
			}
			asked = true
			if n >= durable {
				return at, nil
			}
			// The heartbeat is younger than the answer: the segment may have been written in between, not removed.
			data, err = s.segment(ctx, inc.id, n)
		}
		switch {
		case errors.Is(err, errMissing) && n >= durable:
			return at, nil
		case errors.Is(err, errMissing):
			continue
		case err == nil && isSeal(data):
			return at, nil
		case err != nil:
			return at, fmt.Errorf("segment %d: %w", n, err)
		}
		w := &walker{inc: &inc, segment: n, data: data, off: firstOffset}
		if n == from.Segment {
			w.off = max(w.off, int64(from.Offset))
		}
		if at, err = w.walk(at, each); err != nil {
			return at, err
		}
		if int64(at.Offset) == int64(len(data)) && at.Segment == n {
			s.ends.set(at)
		}
	}
	return at, nil
}

// segment returns all of a segment.
func (s *Store) segment(ctx context.Context, id uint64, n uint32) ([]byte, error) {
	if b := s.cache.get(cacheKey{incarnation: id, segment: n}); b != nil {
		s.metrics.cached.Inc()
		return b, nil
	}
	s.metrics.missed.Inc()
	return s.bucket.get(ctx, segmentKey(id, n), 0, -1)
}

// living returns the life under way if it has that number.
func (k *keeper) living(id uint64) *life {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != nil && k.life.id == id {
		return k.life
	}
	return nil
}

// ends remembers where the segments end that scans ended with, so that the next scan need not fetch them to find nothing.
type ends struct {
	mu sync.Mutex
	at map[uint64]blob.Position
}

func (e *ends) is(p blob.Position) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at[p.Incarnation] == p
}

func (e *ends) set(p blob.Position) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at == nil {
		e.at = map[uint64]blob.Position{}
	}
	e.at[p.Incarnation] = p
}

// walker goes through the frames of one segment.
type walker struct {
	inc     *incarnation
	segment uint32
	data    []byte
	off     int64 // of the next frame
}

// met is what a walker found: a frame, or damage from off to next.
type met struct {
	off, next int64
	header    frame.Header // valid where sound
	sound     bool
	trailer   frame.Trailer // valid where err is nil
	err       error         // blob.ErrCorrupt
}

// walk calls each with what lies from off on, and returns the place behind the last call.
func (w *walker) walk(at blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	written := w.inc.started
	if h, err := frame.ParseSegmentHeader(w.data); err == nil {
		written = h.Started
	}
	for w.off < int64(len(w.data)) {
		m := w.step()
		at = blob.Position{Incarnation: w.inc.id, Segment: w.segment, Offset: uint32(m.next)}
		found := blob.Scanned{
			ID:      blob.ID{Incarnation: w.inc.id, Segment: w.segment, Offset: uint32(m.off), Length: uint32(m.next - m.off)},
			Written: written,
			Err:     m.err,
		}
		if m.err == nil {
			found.Meta = blob.Meta{Kind: m.header.Kind, QueueID: m.header.QueueID, Tail: bytes.Clone(m.trailer.Tail)}
			found.Size = m.trailer.Size
			found.Origin, found.Owner = m.header.Origin, m.header.Owner
			if m.header.Place == frame.Apart {
				found.Apart = m.header.Stored
			}
		}
		if err := each(found); err != nil {
			return at, err
		}
	}
	return at, nil
}

func (w *walker) step() met {
	m := met{off: w.off}
	var err error
	m.header, err = w.headerAt(w.off)
	if err != nil {
		m.err = fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
		m.next = w.search(w.off + 1)
	} else {
		m.sound = true
		m.next = w.off + m.header.Len()
		m.trailer, m.err = frame.ParseTrailer(&m.header, w.data[w.off:], w.data[m.next-m.header.TrailerLen():m.next])
	}
	w.off = m.next
	return m
}

// headerAt reads the header at off; an error where there is none that belongs there.
func (w *walker) headerAt(off int64) (frame.Header, error) {
	h, err := frame.ParseHeader(w.data[off:])
	if err == nil && (h.Incarnation != w.inc.id || h.Segment != w.segment || int64(h.Offset) != off || off+h.Len() > int64(len(w.data))) {
		err = errors.New("header tells another place")
	}
	return h, err
}

// search returns where the next frame with a sound header begins; the end where there is none, or where the incarnation's
// salt was lost: then nothing tells a frame from a body that looks like one.
func (w *walker) search(off int64) int64 {
	end := int64(len(w.data))
	if w.inc.salt == 0 || off >= end {
		return end
	}
	i := frame.Find(w.data[off:], off, func(h *frame.Header) bool {
		return h.Salt == w.inc.salt && h.Incarnation == w.inc.id && h.Segment == w.segment && int64(h.Offset)+h.Len() <= end
	})
	if i < 0 {
		return end
	}
	return off + int64(i)
}
