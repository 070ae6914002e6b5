package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// RemoveSegment removes the bodies that its frames refer to, then the segment. Frames that are open can be read to
// their end: the file system keeps what is open.
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
	inc := s.byID[incarnation]
	if inc == nil {
		return 0, nil
	}
	if !s.sealed(inc, n) {
		return 0, errors.New("it is being written")
	}
	bytes, err := s.segmentBytes(inc, n, s.endOf(inc))
	if errors.Is(err, fs.ErrNotExist) {
		// A crash may have come before this.
		return 0, s.fs.SyncDir(s.incarnationPath(inc.id))
	}
	if err != nil {
		return 0, err
	}
	if freed, err = s.removeBodies(ctx, inc, n); err != nil {
		return freed, err
	}
	fault.Point("reclaim.blob-before-trim")
	if err := s.trimBefore(inc, n); err != nil {
		return freed, err
	}
	fault.Point("reclaim.blob-before-segment")
	if err := s.fs.Remove(s.segmentPath(inc.id, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return freed, err
	}
	s.files.forget(fileKey{incarnation: inc.id, number: uint64(n)})
	fault.Point("reclaim.blob-before-flush")
	return freed + bytes, s.fs.SyncDir(s.incarnationPath(inc.id))
}

// removeBodies removes the bodies apart that frames of a segment refer to. Where a frame's header is lost its body cannot
// be told: the incarnation is swept again then, once the segment is gone.
func (s *Store) removeBodies(ctx context.Context, inc *incarnation, n uint32) (freed int64, err error) {
	removed, lost := false, false
	_, err = s.walkSegment(ctx, inc, n, firstOffset, s.endOf(inc), end{}, func(_ frame.SegmentHeader, m *met) error {
		lost = lost || !m.sound
		if !m.sound || m.header.Place != frame.Apart || m.header.Apart.Incarnation != inc.id {
			return nil
		}
		got, err := s.removeBody(&m.header)
		removed, freed = removed || got > 0, freed+got
		return err
	})
	if err == nil && lost {
		if err = s.fs.Remove(filepath.Join(s.incarnationPath(inc.id), sweptName)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil && removed {
		// Durable before the segment goes: nobody would know of them afterwards.
		err = s.fs.SyncDir(s.bodiesPath(inc.id))
	}
	return freed, err
}

// removeBody removes the body apart of a frame and tells its octets; 0 where it is gone already.
func (s *Store) removeBody(h *frame.Header) (int64, error) {
	err := s.fs.Remove(s.bodyPath(h.Apart.Incarnation, h.Apart.Number))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s.files.forget(fileKey{incarnation: h.Apart.Incarnation, apart: true, number: h.Apart.Number})
	return h.Stored, nil
}

// trimBefore gives the segment before this one the length of its durable part: this one's header, which told it, goes.
func (s *Store) trimBefore(inc *incarnation, n uint32) error {
	if n == 0 {
		return nil
	}
	h, err := s.segmentHeader(inc.id, n)
	if isUnsound(err) {
		return nil // it did not tell
	}
	if err != nil {
		return err
	}
	f, err := s.fs.Modify(s.segmentPath(inc.id, n-1))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > int64(h.Before) {
		if err := f.Truncate(int64(h.Before)); err != nil {
			return err
		}
	}
	// Also where it was cut before: nobody flushed that.
	return f.Sync()
}

// FreeBodies reads the headers of the frames and removes the bodies that they refer to.
func (s *Store) FreeBodies(ctx context.Context, places []blob.ID) (freed int64, err error) {
	if err := s.enter(); err != nil {
		return 0, fmt.Errorf("free bodies: %w", err)
	}
	defer s.inflight.Done()
	flush := map[uint64]bool{}
	for _, place := range places {
		if err := ctx.Err(); err != nil {
			return freed, fmt.Errorf("free bodies: %w", err)
		}
		h, err := s.headerOf(place)
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || err == nil && h.Place != frame.Apart {
			continue
		}
		var got int64
		if err == nil {
			got, err = s.removeBody(&h)
		}
		if err != nil {
			return freed, fmt.Errorf("free body of blob %v: %w", place, err)
		}
		if freed += got; got > 0 {
			flush[h.Apart.Incarnation] = true
		}
	}
	fault.Point("reclaim.bodies-before-flush")
	for incarnation := range flush {
		if err := s.fs.SyncDir(s.bodiesPath(incarnation)); err != nil {
			return freed, fmt.Errorf("free bodies: %w", err)
		}
	}
	return freed, nil
}

// headerOf reads the header of the frame at a place.
func (s *Store) headerOf(place blob.ID) (frame.Header, error) {
	inc := s.byID[place.Incarnation]
	if inc == nil || !s.endOf(inc).holds(place) || place.Offset < firstOffset {
		return frame.Header{}, blob.ErrNotFound
	}
	file, err := s.segmentFile(place.Incarnation, place.Segment)
	if err != nil {
		return frame.Header{}, orNotFound(err)
	}
	defer file.release()
	b := make([]byte, frame.HeaderLen)
	if err := readFull(file, b, int64(place.Offset)); err != nil {
		return frame.Header{}, err
	}
	h, err := frame.ParseHeader(b)
	switch {
	case errors.Is(err, frame.ErrAbsent):
		err = fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
	case err == nil && h.ID() != place:
		err = blob.ErrNotFound
	}
	return h, err
}
