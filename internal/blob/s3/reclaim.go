package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// Segments is one listing, and one read of the heartbeat of another process's incarnation. Segments of living incarnations
// are sealed as far as their heartbeat tells: no later one will tell less. Times are the server's.
func (s *Store) Segments(ctx context.Context, incarnation uint64) ([]blob.Segment, error) {
	list, err := s.listSegments(ctx, incarnation)
	if err != nil {
		return nil, fmt.Errorf("segments of incarnation %d: %w", incarnation, err)
	}
	return list, nil
}

func (s *Store) listSegments(ctx context.Context, incarnation uint64) ([]blob.Segment, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	end, dead, err := s.sealedBefore(ctx, incarnation)
	if err != nil {
		return nil, err
	}
	var list []blob.Segment
	err = s.bucket.retry(ctx, func(ctx context.Context) error {
		list = list[:0]
		return s.bucket.list(ctx, segmentsKey(incarnation), "", func(o listed) error {
			n, ok := numberOf(o.key)
			if !ok || o.size == recordLen || dead && n >= uint64(end) {
				return nil
			}
			seg := blob.Segment{Incarnation: incarnation, Number: uint32(n), Bytes: o.size, Sealed: n < uint64(end)}
			if seg.Sealed {
				seg.Ended = o.changed.Add(time.Second) // listings tell whole seconds
			}
			list = append(list, seg)
			return nil
		})
	})
	return list, err
}

// sealedBefore tells how many segments of an incarnation nothing is added to or changed of, and whether that is all there
// will be. blob.ErrNotFound.
func (s *Store) sealedBefore(ctx context.Context, id uint64) (end uint32, dead bool, err error) {
	inc, err := s.lookUp(ctx, id)
	if err != nil {
		return 0, false, err
	}
	if inc.ended {
		return inc.count, true, nil
	}
	// The heartbeat counts, not what is durable: whoever seals the incarnation has nothing else to tell a segment that was
	// removed from one that was never written.
	end, err = s.durableBy(ctx, id)
	return end, false, err
}

// Rewrite copies frames through the writer, like new ones; they share segments. All are in memory at once, up to the
// threshold each. Bodies apart are copied by the server.
func (s *Store) Rewrite(ctx context.Context, frames []blob.Rewrite) ([]blob.Rewritten, error) {
	out, err := s.rewrite(ctx, frames)
	if err != nil {
		return nil, fmt.Errorf("rewrite %d frames: %w", len(frames), err)
	}
	return out, nil
}

func (s *Store) rewrite(ctx context.Context, frames []blob.Rewrite) ([]blob.Rewritten, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.inflight.Done()
	l, err := s.keeper.alive(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]blob.Rewritten, len(frames))
	copies := make([]*pending, len(frames))
	for i, f := range frames {
		p, bytes, err := s.copyOf(ctx, l, f)
		switch {
		case errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrNotFound):
			out[i].Err = err
		case err != nil:
			return nil, fmt.Errorf("blob %v: %w", f.Place, err)
		default:
			copies[i], out[i].Bytes = p, bytes
		}
	}
	fault.Point("s3.copies-before-frames")
	for _, p := range copies {
		if p == nil {
			continue
		}
		select {
		case s.queue <- p:
		case <-ctx.Done():
			return nil, ctx.Err() // copies on their way are nobody's
		}
	}
	for i, p := range copies {
		if p == nil {
			continue
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		err = errors.Join(err, p.err)
		out[i].Place = p.id
	}
	if err != nil {
		return nil, err
	}
	fault.Point("s3.copies-after-frames")
	return out, nil
}

// copyOf makes a frame ready to be placed anew, and tells how many octets that writes.
func (s *Store) copyOf(ctx context.Context, l *life, f blob.Rewrite) (*pending, int64, error) {
	o, err := s.openAt(ctx, f.Place)
	if err != nil {
		return nil, 0, err
	}
	if o.header.FirstID() != f.Origin {
		return nil, 0, fmt.Errorf("%w: there is blob %v", blob.ErrNotFound, o.header.FirstID())
	}
	p := &pending{header: o.header, done: make(chan struct{})}
	p.header.Origin = f.Origin
	bytes := int64(0)
	if o.header.Place == frame.Apart {
		if p.header.Apart, err = s.copyBody(ctx, l, &o.header); err != nil {
			return nil, 0, err
		}
		bytes = o.header.Stored
	}
	inline := int(o.header.BodyLen())
	buf := make([]byte, frame.HeaderLen+inline, int(o.header.Len()))
	if inline > 0 {
		// Reading verifies every block. A frame that was moved meanwhile is somebody else's to copy.
		o.body.moved = true
		if n, err := o.Body.ReadAt(buf[frame.HeaderLen:], 0); n < inline {
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: body ends early", blob.ErrCorrupt)
			}
			return nil, 0, err
		}
	}
	digest := o.Digest
	p.buf = frame.Finish(buf, &p.header, o.body.sums, o.Meta.Tail, &digest)
	return p, int64(len(p.buf)) + bytes, nil
}

// copyBody has the server copy a body apart to the incarnation under way.
func (s *Store) copyBody(ctx context.Context, l *life, h *frame.Header) (frame.Ref, error) {
	from := bodyKey(h.Apart.Incarnation, h.Apart.Number)
	ref := frame.Ref{Incarnation: l.id, Number: l.bodies.Add(1)}
	err := s.bucket.copy(ctx, from, bodyKey(ref.Incarnation, ref.Number), h.Stored)
	if errors.Is(err, errMissing) {
		return ref, fmt.Errorf("%w: its body %s is missing", blob.ErrCorrupt, from)
	}
	return ref, err
}

// copy has the server copy an object of n octets to a key that is free, and verifies its length.
func (b *bucket) copy(ctx context.Context, from, to string, n int64) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := b.within(ctx, n)
		defer cancel()
		_, err := b.core.CopyObject(ctx, b.name, b.prefix+from, b.name, b.prefix+to, nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
		return meaning(err)
	})
	if err != nil {
		return err
	}
	size, err := b.stat(ctx, to)
	if err == nil && size != n {
		err = fmt.Errorf("%w: copy of %d octets, want %d", blob.ErrCorrupt, size, n)
	}
	return doubtfulUnless(err, blob.ErrCorrupt)
}

// doubtfulUnless is doubtful for errors that are not one.
func doubtfulUnless(err, one error) error {
	if errors.Is(err, one) {
		return err
	}
	return doubtful(err)
}

// FreeBodies reads the headers of the frames and removes the bodies that they refer to.
func (s *Store) FreeBodies(ctx context.Context, places []blob.ID) (freed int64, err error) {
	if err := s.enter(); err != nil {
		return 0, fmt.Errorf("free bodies: %w", err)
	}
	defer s.inflight.Done()
	for _, place := range places {
		if err := ctx.Err(); err != nil {
			return freed, fmt.Errorf("free bodies: %w", err)
		}
		o, err := s.openAt(ctx, place)
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || err == nil && o.header.Place != frame.Apart {
			continue
		}
		var n int64
		if err == nil {
			n, err = s.removeBody(ctx, &o.header)
		}
		if err != nil {
			return freed, fmt.Errorf("free body of blob %v: %w", place, err)
		}
		freed += n
	}
	return freed, nil
}

// removeBody removes the body apart of a frame and tells its octets; 0 where it is gone already.
func (s *Store) removeBody(ctx context.Context, h *frame.Header) (int64, error) {
	key := bodyKey(h.Apart.Incarnation, h.Apart.Number)
	n, err := s.bucket.stat(ctx, key)
	if errors.Is(err, errMissing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return n, s.bucket.remove(ctx, key)
}

// RemoveSegment reads the segment, removes the bodies that its frames refer to, then the segment. A frame that is open and
// not in memory answers ErrNotFound from then on, unless it was moved.
func (s *Store) RemoveSegment(ctx context.Context, incarnation uint64, segment uint32) (int64, error) {
	freed, err := s.removeSegment(ctx, incarnation, segment)
	if err != nil {
		return freed, fmt.Errorf("remove segment %d of incarnation %d: %w", segment, incarnation, err)
	}
	return freed, nil
}

func (s *Store) removeSegment(ctx context.Context, incarnation uint64, n uint32) (freed int64, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.inflight.Done()
	end, _, err := s.sealedBefore(ctx, incarnation)
	if errors.Is(err, blob.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if n >= end {
		return 0, errors.New("it is being written")
	}
	data, err := s.segment(ctx, incarnation, n)
	if errors.Is(err, errMissing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	inc, err := s.lookUp(ctx, incarnation)
	if err != nil {
		return 0, err
	}
	if freed, err = s.removeBodies(ctx, &inc, n, data); err != nil {
		return freed, err
	}
	fault.Point("s3.before-remove")
	if err := s.bucket.remove(ctx, segmentKey(incarnation, n)); err != nil {
		return freed, err
	}
	s.cache.drop(cacheKey{incarnation: incarnation, segment: n})
	return freed + int64(len(data)), nil
}

// removeBodies removes the bodies apart that frames of a segment refer to. Where a frame's header is lost its body cannot
// be told: the incarnation is swept again then, once the segment is gone.
func (s *Store) removeBodies(ctx context.Context, inc *incarnation, n uint32, data []byte) (freed int64, err error) {
	lost := false
	for w := (&walker{inc: inc, segment: n, data: data, off: firstOffset}); w.off < int64(len(data)); {
		m := w.step()
		if !m.sound {
			lost = true
			continue
		}
		if m.header.Place != frame.Apart || m.header.Apart.Incarnation != inc.id {
			continue
		}
		got, err := s.removeBody(ctx, &m.header)
		freed += got
		if err != nil {
			return freed, err
		}
	}
	if lost {
		if err := s.bucket.remove(ctx, claimKey(inc.id)+sweptSuffix); err != nil {
			return freed, err
		}
		s.roster.change(inc.id, func(inc *incarnation) { inc.swept = false })
	}
	return freed, nil
}
