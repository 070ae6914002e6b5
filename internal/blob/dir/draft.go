package dir

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// tailRoom is kept free behind a body in memory, so that the usual tail does not move it.
const tailRoom = 3 << 10

// draft is a frame being written: in memory, in the octets that will be the frame; above the threshold in a spill.
type draft struct {
	frame.Draft
	s     *Store
	buf   *buffer // header's room, then the body; nil once it is spilled
	spill *spill  // the body above the threshold, else nil
}

// Create begins a frame. Where it shares a body, the other frame's header is read, and a frame that shares itself is
// replaced by the one that has the body.
func (s *Store) Create(body blob.ID) (blob.Draft, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.inflight.Done()
	d := &draft{s: s}
	if body.IsZero() {
		d.buf = s.pool.get(frame.HeaderLen)
		d.buf.b = d.buf.b[:frame.HeaderLen]
		return d, nil
	}
	o, err := s.openOwner(context.Background(), body)
	if err != nil {
		return nil, fmt.Errorf("share body of blob %v: %w", body, err)
	}
	d.Owner, d.Share, d.Length = &o.Frame, o.header, o.Size
	return d, nil
}

// Write appends to the body. blob.ErrTooLarge, blob.ErrFull: the draft can only be discarded.
func (d *draft) Write(p []byte) (int, error) {
	if err := d.Writable(len(p)); err != nil {
		return 0, err
	}
	if d.spill == nil && d.Length+int64(len(p)) > int64(d.s.opt.Threshold) {
		if d.Err = d.startSpill(); d.Err != nil {
			return 0, d.Err
		}
	}
	if d.spill != nil {
		n, err := d.spill.write(p)
		d.Length += int64(n)
		d.Err = err
		return n, err
	}
	if need := len(d.buf.b) + len(p); need > cap(d.buf.b) {
		d.buf = d.s.pool.grow(d.buf, need+tailRoom)
	}
	d.buf.b = append(d.buf.b, p...)
	d.Length += int64(len(p))
	return len(p), nil
}

// ReadAt reads what was written so far, or the shared body.
func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	if d.spill != nil {
		return d.ReadBody(p, off, nil, d.spill.readAt)
	}
	return d.ReadBody(p, off, d.written(), nil)
}

// written is the body in memory.
func (d *draft) written() []byte {
	if d.buf == nil {
		return nil
	}
	return d.buf.b[frame.HeaderLen:]
}

// Discard gives up.
func (d *draft) Discard() {
	if d.Over {
		return
	}
	d.Over = true
	d.spill.remove()
	d.release()
}

// release gives back what the draft holds in memory.
func (d *draft) release() {
	d.buf.put()
	d.buf = nil
	d.spill.release()
	if d.Owner != nil {
		d.Owner.Close()
	}
}
