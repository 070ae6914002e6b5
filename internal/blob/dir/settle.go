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
// That batch is written again as it is read, and flushed, before it counts: where only the process died, it may be in the
// kernel's memory alone, and after a failed flush no other flush would write it. flushed tells that this was done, and
// that the end may be noted for good.
func (s *Store) settle(ctx context.Context, inc *incarnation, segments []uint32) (at end, flushed bool, err error) {
	for i := len(segments) - 1; i >= 0; i-- {
		n := segments[i]
		_, err := s.segmentHeader(inc.id, n)
		if err != nil && !isUnsound(err) {
			return end{}, false, err
		}
		headed := err == nil
		offset, flushed, err := s.settleSegment(ctx, inc, n)
		if err != nil {
			return end{}, false, fmt.Errorf("settle segment %d: %w", n, err)
		}
		// Without header and frames it was never begun: its making was cut short.
		if headed || offset > firstOffset {
			return end{segment: n, offset: uint32(offset)}, flushed, nil
		}
	}
	return end{}, true, nil
}

func (s *Store) settleSegment(ctx context.Context, inc *incarnation, n uint32) (at int64, flushed bool, err error) {
	file, err := s.segmentFile(inc.id, n)
	if err != nil {
		return 0, false, err
	}
	defer file.release()
	size, err := file.Size()
	if err != nil {
		return 0, false, err
	}
	size = min(size, math.MaxUint32)
	at, err = s.durableBySelf(ctx, inc, n, file, size)
	if err != nil {
		return 0, false, err
	}
	// On a full disk the mail that is there is read all the same, and the next Open settles again.
	if err := s.writeAgain(inc.id, n, at, size); err != nil && !isNoRoom(err) {
		return 0, false, err
	} else if err != nil {
		s.logNoRoom(err)
	} else {
		flushed = true
	}
	w := s.newWalker(inc, n, file, at, size)
	for {
		m, err := w.step()
		if isEOF(err) {
			return at, flushed, nil
		}
		if err != nil {
			return 0, false, err
		}
		whole := m.err == nil
		if whole && m.header.Place == frame.Inline {
			if whole, err = bodyIsWhole(file, &m); err != nil {
				return 0, false, err
			}
		}
		if !whole {
			if m.sound {
				s.opt.Log.Info("unanswered frame torn", obs.Path(s.segmentPath(inc.id, n)), obs.QueueID(m.header.QueueID))
			}
			return at, flushed, nil
		}
		at = m.next
	}
}

// writeAgain writes the segment's header and what lies from from to to once more, and flushes it.
func (s *Store) writeAgain(id uint64, n uint32, from, to int64) error {
	f, err := s.fs.Modify(s.segmentPath(id, n))
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	again := func(off, end int64) error {
		for off < end {
			got, err := f.ReadAt(chunk[:min(int64(len(chunk)), end-off)], off)
			if err != nil && !isEOF(err) {
				return err
			}
			if got == 0 {
				return nil
			}
			if err := f.WriteVec([][]byte{chunk[:got]}, off); err != nil {
				return err
			}
			off += int64(got)
		}
		return nil
	}
	if err := again(0, min(firstOffset, to)); err != nil {
		return err
	}
	if err := again(from, to); err != nil {
		return err
	}
	return f.Sync()
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
