package dir

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// pending is a frame on its way to the disk. The writer owns it until it has closed done.
type pending struct {
	header frame.Header
	buf    *buffer // the frame, finished but not sealed
	done   chan struct{}

	// What became of it; set before done is closed.
	id  blob.ID
	err error
	// gone tells, beside an error, that nothing is kept.
	gone bool
}

func (p *pending) answer(err error, gone bool) {
	p.err, p.gone = err, gone
	close(p.done)
}

// writer is the one goroutine that writes segments.
type writer struct {
	s     *Store
	seg   *segment // being written; nil before the first and after an abandoned one
	next  uint32   // number of the next segment
	batch []*pending
	vec   [][]byte
	zeros []byte
}

// run writes what is queued until the queue is closed.
func (w *writer) run() {
	w.zeros = make([]byte, w.s.opt.ZeroAhead)
	for first := range w.s.queue {
		for rest := w.gather(first); len(rest) > 0; {
			rest = rest[w.write(rest):]
		}
		clear(w.batch)
	}
}

// gather returns the frame and all that wait behind it, without waiting for more.
func (w *writer) gather(first *pending) []*pending {
	w.batch = append(w.batch[:0], first)
	bytes := int64(len(first.buf.b))
	for len(w.batch) < w.s.opt.MaxBatchFrames && bytes < w.s.opt.MaxBatchBytes {
		select {
		case p, ok := <-w.s.queue:
			if !ok {
				return w.batch
			}
			w.batch = append(w.batch, p)
			bytes += int64(len(p.buf.b))
		default:
			return w.batch
		}
	}
	return w.batch
}

// write makes as many of the frames durable as go into one segment, answers them, and returns how many they were.
func (w *writer) write(ps []*pending) int {
	if err := w.room(int64(len(ps[0].buf.b))); err != nil {
		if isNoRoom(err) {
			w.s.logNoRoom(err)
		}
		w.answer(ps, full(fmt.Errorf("begin segment %d: %w", w.next, err)), true)
		return len(ps)
	}
	seg := w.seg
	w.vec = w.vec[:0]
	end, n := seg.end, 0
	for ; n < len(ps); n++ {
		p := ps[n]
		if n > 0 && end+int64(len(p.buf.b)) > w.s.opt.SegmentBytes {
			break
		}
		p.header.Incarnation, p.header.Segment, p.header.Salt = w.s.self.id, seg.number, w.s.self.salt
		p.header.Offset, p.header.Durable = uint32(end), uint32(seg.end)
		frame.Seal(p.buf.b, &p.header)
		p.id = p.header.ID()
		w.vec = append(w.vec, p.buf.b)
		end += int64(len(p.buf.b))
	}
	ahead := int64(0)
	if end > seg.length {
		ahead = max(0, min(int64(len(w.zeros)), w.s.opt.SegmentBytes-end))
		w.vec = append(w.vec, w.zeros[:ahead])
	}
	err := w.flush(seg)
	clear(w.vec)
	if err != nil {
		err = fmt.Errorf("write segment %d: %w", seg.number, err)
		gone := w.abandon(err)
		if gone {
			err = full(err)
		}
		w.answer(ps[:n], err, gone)
		return n
	}
	w.s.metrics.segmentBytes.Add(float64(end - seg.end + ahead))
	seg.length = max(seg.length, end+ahead)
	seg.end = end
	w.s.durable.Store(pack(seg.endsAt()))
	w.s.logRoom()
	w.s.metrics.frames.Observe(float64(n))
	w.answer(ps[:n], nil, false)
	return n
}

// flush writes w.vec behind the end of the segment.
func (w *writer) flush(seg *segment) error {
	fault.Point("blob.before-write")
	if err := seg.file.WriteVec(w.vec, seg.end); err != nil {
		return err
	}
	fault.Point("blob.after-write")
	w.s.metrics.flushes.Inc()
	if err := seg.file.SyncData(); err != nil {
		return err
	}
	fault.Point("blob.after-flush")
	return nil
}

// answer tells the frames' fate, in order.
func (w *writer) answer(ps []*pending, err error, gone bool) {
	result := w.s.metrics.durable
	switch {
	case err != nil && isNoRoom(err):
		result = w.s.metrics.full
	case err != nil:
		result = w.s.metrics.failed
	}
	result.Add(float64(len(ps)))
	for _, p := range ps {
		p.answer(err, gone)
	}
}
