package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// smallFrame is the longest frame that is fetched by one request, body and all. A frame with a body of the default
// threshold and a long tail is one: a second request costs more than its octets.
const smallFrame = 384 << 10

// opened is a frame with what reads its body, made at once.
type opened struct {
	blob.Frame
	header frame.Header
	body   body
}

// Open reads a small frame as a whole, header and trailer of any other.
func (s *Store) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	err := s.check(ctx)
	var o *opened
	if err == nil {
		o, err = s.open(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %v: %w", id, err)
	}
	return &o.Frame, nil
}

func (s *Store) open(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openOne(ctx, id)
	if err != nil || o.header.Place != frame.Shared {
		return o, err
	}
	owner, err := s.openOne(ctx, o.header.Owner)
	if err != nil {
		return nil, fmt.Errorf("body of blob %v: %w", o.header.Owner, err)
	}
	if owner.header.Place == frame.Shared || owner.Digest != o.Digest || owner.Size != o.Size {
		return nil, fmt.Errorf("%w: body of blob %v is another", blob.ErrCorrupt, owner.ID)
	}
	o.Body = owner.Body
	return o, nil
}

// openOwner opens the frame that has the body of id: itself, or the one that it shares with.
func (s *Store) openOwner(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openOne(ctx, id)
	if err != nil || o.header.Place != frame.Shared {
		return o, err
	}
	owner, err := s.openOne(ctx, o.header.Owner)
	if err == nil && owner.header.Place == frame.Shared {
		err = fmt.Errorf("%w: shared body is shared", blob.ErrCorrupt)
	}
	return owner, err
}

// openOne opens a frame, where it was moved to if it is not at its place, without following a shared body: its Body is
// nil then. A body apart is looked for when it is read.
func (s *Store) openOne(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openAt(ctx, id)
	if errors.Is(err, blob.ErrNotFound) {
		return s.openMoved(ctx, id, err)
	}
	return o, err
}

// openAt opens the frame at a place.
func (s *Store) openAt(ctx context.Context, id blob.ID) (*opened, error) {
	if id.Incarnation == 0 || id.Offset < firstOffset || id.Length < frame.HeaderLen+frame.TrailerLen ||
		int64(id.Offset)+int64(id.Length) > math.MaxUint32 {
		return nil, blob.ErrNotFound
	}
	o := &opened{Frame: blob.Frame{ID: id}}
	var err error
	if b := s.cachedFrame(id); b != nil || id.Length <= smallFrame {
		err = o.readWhole(ctx, s, b)
	} else {
		err = o.readEnds(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	switch o.header.Place {
	case frame.Shared:
		return o, nil
	case frame.Apart:
		o.body.key, o.body.base = bodyKey(o.header.Apart.Incarnation, o.header.Apart.Number), 0
	}
	o.body.s, o.body.id, o.body.size = s, id, o.Size
	o.Body = &o.body
	return o, nil
}

// cachedFrame is a frame's octets where they are in memory, else nil.
func (s *Store) cachedFrame(id blob.ID) []byte {
	if b := s.cache.get(cacheKey{incarnation: id.Incarnation, segment: id.Segment}); b != nil {
		if end := int64(id.Offset) + int64(id.Length); end <= int64(len(b)) {
			return b[id.Offset:end:end]
		}
	}
	b := s.cache.get(cacheKey{incarnation: id.Incarnation, segment: id.Segment, offset: id.Offset})
	if len(b) == int(id.Length) {
		return b
	}
	return nil
}

// fetch reads octets of a segment; fewer where it ends.
func (s *Store) fetch(ctx context.Context, id blob.ID, off, n int64) ([]byte, error) {
	b, err := s.bucket.get(ctx, segmentKey(id.Incarnation, id.Segment), int64(id.Offset)+off, n)
	if errors.Is(err, errMissing) || errors.Is(err, errRange) {
		return nil, blob.ErrNotFound
	}
	return b, err
}

// readWhole takes the frame's octets, and reads them where b is nil.
func (o *opened) readWhole(ctx context.Context, s *Store, b []byte) (err error) {
	fetched := b == nil
	if fetched {
		s.metrics.missed.Inc()
		if b, err = s.fetch(ctx, o.ID, 0, int64(o.ID.Length)); err != nil {
			return err
		}
	} else {
		s.metrics.cached.Inc()
	}
	if err := o.parseHeader(b); err != nil {
		return err
	}
	if len(b) < int(o.ID.Length) {
		return fmt.Errorf("%w: %d of %d octets", blob.ErrCorrupt, len(b), o.ID.Length)
	}
	end := frame.HeaderLen + o.header.BodyLen()
	if err := o.parseTrailer(b[:frame.HeaderLen], b[end:]); err != nil {
		return err
	}
	if o.header.Place == frame.Inline {
		o.body.mem, o.body.inMemory = b[frame.HeaderLen:end:end], true
	} else {
		o.body.sums = bytes.Clone(o.body.sums)
	}
	if fetched {
		s.cache.put(cacheKey{incarnation: o.ID.Incarnation, segment: o.ID.Segment, offset: o.ID.Offset}, b)
	}
	return nil
}

// readEnds reads header and trailer.
func (o *opened) readEnds(ctx context.Context, s *Store) error {
	s.metrics.missed.Inc()
	header, err := s.fetch(ctx, o.ID, 0, frame.HeaderLen)
	if err != nil {
		return err
	}
	if err := o.parseHeader(header); err != nil {
		return err
	}
	n := o.header.TrailerLen()
	trailer, err := s.fetch(ctx, o.ID, int64(o.ID.Length)-n, n)
	if errors.Is(err, blob.ErrNotFound) {
		err = fmt.Errorf("%w: segment ends before the frame", blob.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	o.body.key = segmentKey(o.ID.Incarnation, o.ID.Segment)
	o.body.base = int64(o.ID.Offset) + frame.HeaderLen
	return o.parseTrailer(header, trailer)
}

// parseHeader verifies that the header is the one that the ID means.
func (o *opened) parseHeader(b []byte) (err error) {
	o.header, err = frame.ParseHeader(b)
	if errors.Is(err, frame.ErrAbsent) {
		return fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
	}
	if err == nil && o.header.ID() != o.ID {
		err = fmt.Errorf("%w: there is blob %v", blob.ErrNotFound, o.header.ID())
	}
	return err
}

func (o *opened) parseTrailer(header, trailer []byte) error {
	t, err := frame.ParseTrailer(&o.header, header, trailer)
	if err != nil {
		return err
	}
	// The tail is copied: callers keep it, and the rest is the cache's.
	o.Meta = blob.Meta{Kind: o.header.Kind, QueueID: o.header.QueueID, Tail: bytes.Clone(t.Tail)}
	o.Size, o.Digest, o.body.sums = t.Size, t.Digest, t.Sums
	return nil
}

// UseLocator says whom to ask about frames that are not at their places.
func (s *Store) UseLocator(l blob.Locator) { s.moves.Use(l) }

// openMoved opens a frame where it was moved to. cause is why it cannot be read at its first place, and the error where
// nobody knows of another.
func (s *Store) openMoved(ctx context.Context, id blob.ID, cause error) (*opened, error) {
	place, err := s.moves.Of(ctx, id)
	if err != nil {
		return nil, err
	}
	if place.IsZero() {
		return nil, cause
	}
	o, err := s.openAt(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("moved to %v: %w", place, err)
	}
	if o.header.Origin != id {
		return nil, fmt.Errorf("moved to %v: %w: there is blob %v", place, blob.ErrNotFound, o.header.FirstID())
	}
	o.ID, o.body.id = id, id
	o.body.moved = true
	return o, nil
}
