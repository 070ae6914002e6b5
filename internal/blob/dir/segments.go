package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Segments reads the header of each segment, which tells where and when the one before it ended.
func (s *Store) Segments(ctx context.Context, incarnation uint64) ([]blob.Segment, error) {
	list, err := s.listSegments(ctx, incarnation)
	if err != nil {
		return nil, fmt.Errorf("segments of incarnation %d: %w", incarnation, err)
	}
	return list, nil
}

func (s *Store) listSegments(ctx context.Context, incarnation uint64) ([]blob.Segment, error) {
	inc := s.byID[incarnation]
	if inc == nil {
		return nil, blob.ErrNotFound
	}
	if inc == s.self && !s.begun.Load() {
		return nil, nil
	}
	last := s.endOf(inc)
	numbers, err := s.segments(inc.id)
	if err != nil {
		return nil, err
	}
	var list []blob.Segment
	for _, n := range numbers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !last.reaches(n) {
			break
		}
		bytes, err := s.segmentBytes(inc, n, last)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", n, err)
		}
		list = append(list, blob.Segment{Incarnation: inc.id, Number: n, Bytes: bytes, Sealed: s.sealed(inc, n)})
	}
	// What follows a segment was begun after its last frame was written; this process, after all that others wrote.
	ended := s.self.started
	if inc == s.self {
		ended = s.opt.Now()
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Sealed {
			list[i].Ended = ended
		}
		if started := s.startOf(inc, list[i].Number); !started.IsZero() {
			ended = started
		}
	}
	return list, nil
}

// reaches tells whether a segment holds durable frames.
func (e end) reaches(n uint32) bool {
	return n < e.segment || n == e.segment && e.offset > firstOffset
}

// sealed tells whether no frame will be added to a segment.
func (s *Store) sealed(inc *incarnation, n uint32) bool {
	return inc != s.self || n < s.endOf(inc).segment
}

func (s *Store) segmentBytes(inc *incarnation, n uint32, last end) (int64, error) {
	file, err := s.segmentFile(inc.id, n)
	if err != nil {
		return 0, err
	}
	defer file.release()
	return s.segmentEnd(inc.id, n, last, file)
}

// startOf is when a segment was begun; zero where its header is lost.
func (s *Store) startOf(inc *incarnation, n uint32) time.Time {
	h, err := s.segmentHeader(inc.id, n)
	if err != nil {
		return time.Time{}
	}
	return h.Started
}
