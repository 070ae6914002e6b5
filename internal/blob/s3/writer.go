package s3

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// Reasons why a life ends before the process does.
const (
	reasonSealed  = "sealed"
	reasonRefused = "refused"
	reasonUnknown = "unknown"
)

// maxTries is how often a frame is placed: again where the life ended and it is certain that nothing of it is stored.
const maxTries = 4

// pending is a frame on its way to the server. The writer owns it until it has closed done.
type pending struct {
	header frame.Header
	buf    []byte // the frame, finished but not sealed
	tries  int
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

// segment is one object on its way.
type segment struct {
	life   *life
	number uint32
	before uint32 // length of the one before
	data   []byte
	frames []*pending
	done   chan struct{} // closed when err is set
	err    error
}

// writer packs frames into segments and answers them. One goroutine gathers and places; one for each segment under way
// sends it; one answers in segment order.
type writer struct {
	s       *Store
	answers chan *segment
	landed  chan struct{} // told when a segment was answered, or frames come again
	wrote   sync.WaitGroup

	under  atomic.Int32 // segments under way
	closed time.Time    // when the last one was closed

	mu    sync.Mutex // guards again, and life.next and life.length
	again []*pending // frames to be placed once more
}

func (w *writer) init(s *Store) {
	w.s = s
	w.answers = make(chan *segment, s.cfg.Parallel)
	w.landed = make(chan struct{}, 1)
}

func (w *writer) start() {
	w.wrote.Go(w.pack)
	w.wrote.Go(func() {
		for seg := range w.answers {
			<-seg.done
			w.settle(seg)
		}
	})
}

func (w *writer) wait() { w.wrote.Wait() }

func (w *writer) wake() {
	select {
	case w.landed <- struct{}{}:
	default:
	}
}

// pack sends segments until the queue is closed and empty. The queue is closed once nobody waits for an answer, so that
// nothing can come again.
func (w *writer) pack() {
	defer close(w.answers)
	for open := true; open; {
		var batch []*pending
		if batch, open = w.gather(); len(batch) > 0 {
			w.place(batch)
		}
	}
}

// gather returns frames for one segment, as soon as fewer than Parallel segments are under way, and
//   - there are enough of them, or
//   - nothing is under way and no draft could join, or
//   - SegmentTime has passed since the last one was closed.
func (w *writer) gather() (batch []*pending, open bool) {
	open = true
	size := int64(0)
	var timer *time.Timer
	passed := false
	for {
		w.mu.Lock()
		for _, p := range w.again {
			size += int64(len(p.buf))
		}
		batch, w.again = append(batch, w.again...), nil
		w.mu.Unlock()
		full := size >= w.s.cfg.SegmentBytes
		under := w.under.Load()
		ready := full || passed || !open || under == 0 && w.s.joining.Load() == 0
		if under < int32(w.s.cfg.Parallel) && (ready && len(batch) > 0 || !open) && (full || !open || len(w.s.queue) == 0) {
			return batch, open
		}
		if len(batch) > 0 && timer == nil {
			timer = time.NewTimer(time.Until(w.closed.Add(w.s.cfg.SegmentTime)))
			defer timer.Stop()
		}
		queue, expired := w.s.queue, (<-chan time.Time)(nil)
		if full || !open {
			queue = nil
		}
		if timer != nil && !passed {
			expired = timer.C
		}
		select {
		case p, ok := <-queue:
			if !ok {
				open = false
				continue
			}
			batch = append(batch, p)
			size += int64(len(p.buf))
		case <-expired:
			passed = true
		case <-w.landed:
		}
	}
}

// place gives the frames a segment and sends it.
func (w *writer) place(batch []*pending) {
	l, err := w.s.keeper.alive(w.s.keeper.ctx)
	if err != nil {
		w.answer(batch, err, true)
		return
	}
	frames, size := batch[:0], int64(firstOffset)
	for _, p := range batch {
		p.tries++
		switch {
		case p.header.Place == frame.Apart && p.header.Apart.Incarnation != l.id:
			// Once its incarnation is dead, the body counts as an orphan.
			w.answer([]*pending{p}, fmt.Errorf("incarnation %d ended before the frame of its body", p.header.Apart.Incarnation), true)
		case p.tries > maxTries:
			w.answer([]*pending{p}, fmt.Errorf("given up after %d incarnations", maxTries), true)
		default:
			frames = append(frames, p)
			size += int64(len(p.buf))
		}
	}
	if len(frames) == 0 {
		return
	}
	seg := w.assemble(l, frames, size)
	w.closed = time.Now()
	w.under.Add(1)
	w.s.metrics.frames.Observe(float64(len(frames)))
	w.s.metrics.segmentBytes.Observe(float64(size))
	w.answers <- seg
	w.wrote.Go(func() {
		defer close(seg.done)
		fault.Point("s3.before-put")
		seg.err = w.send(seg)
		fault.Point("s3.after-put")
	})
}

// send stores a segment. errSealed where its incarnation was sealed instead.
func (w *writer) send(seg *segment) error {
	b, key := w.s.bucket, segmentKey(seg.life.id, seg.number)
	err := b.create(seg.life.ctx, key, contentOf(seg.data))
	if !errors.Is(err, errExists) {
		return err
	}
	there, err := b.get(seg.life.ctx, key, 0, -1)
	if err == nil && isSeal(there) {
		return errSealed
	}
	if err == nil {
		err = errDiffers
	}
	return fmt.Errorf("%s: %w", key, doubtful(err))
}

// firstOffset is where the first frame of a segment lies.
const firstOffset = frame.SegmentHeaderLen

// assemble copies the frames into a segment with the next number. The originals stay unsealed: they may be placed again.
func (w *writer) assemble(l *life, frames []*pending, size int64) *segment {
	w.mu.Lock()
	defer w.mu.Unlock()
	seg := &segment{life: l, number: l.next, before: l.length, frames: frames, done: make(chan struct{})}
	seg.data = frame.AppendSegmentHeader(make([]byte, 0, size), &frame.SegmentHeader{
		Incarnation: l.id,
		Segment:     seg.number,
		Before:      l.length,
		Started:     w.s.opt.Now(),
		Salt:        l.salt,
	})
	for _, p := range frames {
		h := p.header
		h.Incarnation, h.Segment, h.Salt = l.id, seg.number, l.salt
		h.Offset, h.Durable = uint32(len(seg.data)), firstOffset
		at := len(seg.data)
		seg.data = append(seg.data, p.buf...)
		frame.Seal(seg.data[at:], &h)
		p.id = h.ID()
	}
	l.next++
	l.length = uint32(len(seg.data))
	return seg
}

// settle answers a segment. It is called in segment order.
func (w *writer) settle(seg *segment) {
	l := seg.life
	var again []*pending
	switch err := seg.err; {
	case l.over != nil:
		again = w.behind(seg)
	case err == nil:
		l.durable.Store(seg.number + 1)
		w.s.cache.put(cacheKey{incarnation: l.id, segment: seg.number}, seg.data)
		w.answer(seg.frames, nil, false)
	case errors.Is(err, errSealed):
		l.over = errSealed
		w.s.keeper.lose(l, reasonSealed, errSealed)
		again = seg.frames
	case errors.Is(err, errRefused):
		// Certain to have stored nothing: the number is used again, unless segments behind it are under way.
		if !w.giveBack(seg) {
			l.over = fmt.Errorf("segment %d: %w", seg.number, err)
			w.s.keeper.lose(l, reasonRefused, err)
		}
		w.answer(seg.frames, fmt.Errorf("write segment %d: %w", seg.number, err), true)
	default:
		l.over = fmt.Errorf("segment %d: %w", seg.number, err)
		w.s.keeper.lose(l, reasonUnknown, err)
		w.answer(seg.frames, fmt.Errorf("write segment %d: outcome unknown: %w", seg.number, err), false)
	}
	w.under.Add(-1)
	w.mu.Lock()
	w.again = append(w.again, again...)
	w.mu.Unlock()
	w.wake()
}

// behind answers a segment that lies behind the one that its life ended with, or returns its frames to be placed again:
// where that one is certain to be missing for ever, nobody will ever find this one.
func (w *writer) behind(seg *segment) []*pending {
	if errors.Is(seg.life.over, errSealed) || errors.Is(seg.life.over, errRefused) {
		return seg.frames
	}
	w.answer(seg.frames, fmt.Errorf("behind an unknown outcome: %w", seg.life.over), false)
	return nil
}

// giveBack makes a segment's number the next one again, if it was the last.
func (w *writer) giveBack(seg *segment) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seg.life.next != seg.number+1 {
		return false
	}
	seg.life.next, seg.life.length = seg.number, seg.before
	return true
}

// answer tells the frames' fate, in order.
func (w *writer) answer(frames []*pending, err error, gone bool) {
	result := "durable"
	switch {
	case isFull(err):
		result = "full"
	case err != nil:
		result = "failed"
	}
	w.s.metrics.answered(result, len(frames))
	for _, p := range frames {
		p.answer(err, gone)
	}
}
