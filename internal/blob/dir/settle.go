package dir

import (
	"context"
	"fmt"
	"math"

	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// settle finds where an incarnation that was not closed ends.
//
// What some later frame or segment calls durable counts, damaged or not. Behind it lies at most one batch, of which a
// power cut may have kept any part: its frames count up to the first that is not whole. If it was answered it is whole.
func (s *Store) settle(ctx context.Context, inc *incarnation, segments []uint32) (end, error) {
	for i := len(segments) - 1; i >= 0; i-- {
		n := segments[i]
		_, err := s.segmentHeader(inc.id, n)
		if err != nil && !isUnsound(err) {
			return end{}, err
		}
		headed := err == nil
		offset, err := s.settleSegment(ctx, inc, n)
		if err != nil {
			return end{}, fmt.Errorf("settle segment %d: %w", n, err)
		}
		// Without header and frames it was never begun: its making was cut short.
		if headed || offset > firstOffset {
			return end{segment: n, offset: uint32(offset)}, nil
		}
	}
	return end{}, nil
}

func (s *Store) settleSegment(ctx context.Context, inc *incarnation, n uint32) (int64, error) {
	file, err := s.segmentFile(inc.id, n)
	if err != nil {
		return 0, err
	}
	defer file.release()
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	size = min(size, math.MaxUint32)
	durable, err := s.durableBySelf(ctx, inc, n, file, size)
	if err != nil {
		return 0, err
	}
	w := s.newWalker(inc, n, file, durable, size)
	for {
		m, err := w.step()
		if isEOF(err) {
			return durable, nil
		}
		if err != nil {
			return 0, err
		}
		whole := m.err == nil
		if whole && m.header.Place == frame.Inline {
			whole, err = bodyIsWhole(file, &m)
			if err != nil {
				return 0, err
			}
		}
		if !whole {
			if m.sound {
				s.opt.Log.Info("unanswered frame torn", obs.Path(s.segmentPath(inc.id, n)), obs.QueueID(m.header.QueueID))
			}
			return durable, nil
		}
		durable = m.next
	}
}

// durableBySelf is the furthest that any frame of a segment calls durable.
func (s *Store) durableBySelf(ctx context.Context, inc *incarnation, n uint32, file *handle, size int64) (int64, error) {
	durable := int64(firstOffset)
	w := s.newWalker(inc, n, file, firstOffset, size)
	for w.off < size {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		h, err := w.headerAt(w.off)
		if isUnsound(err) {
			if w.off, err = w.search(w.off + 1); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		durable = max(durable, min(int64(h.Durable), w.off))
		w.off += h.Len()
	}
	return durable, nil
}

// bodyIsWhole verifies the inline body of a frame whose trailer is sound.
func bodyIsWhole(file *handle, m *met) (bool, error) {
	block := make([]byte, min(frame.BlockLen, m.header.Stored))
	for i := int64(0); i*frame.BlockLen < m.header.Stored; i++ {
		b := block[:min(frame.BlockLen, m.header.Stored-i*frame.BlockLen)]
		if _, err := file.ReadAt(b, m.off+frame.HeaderLen+i*frame.BlockLen); err != nil {
			if isEOF(err) {
				return false, nil
			}
			return false, err
		}
		if frame.CheckBlock(m.trailer.Sums, i, b) != nil {
			return false, nil
		}
	}
	return true, nil
}
