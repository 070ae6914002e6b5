package s3

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// draftRoom is what a draft begins with: a message of some KiB with its trailer.
const draftRoom = 8 << 10

// draft is a frame being written: in memory, in the octets that will be the frame; above the threshold in a spill.
type draft struct {
	frame.Draft
	s     *Store
	buf   []byte // header's room, then the body; nil once it is spilled
	spill *spill // the body above the threshold, else nil
	left  bool   // counted no more in s.joining
}

// Create begins a frame. Where it shares a body, the other frame is read, and a frame that shares itself is replaced by the
// one that has the body. While the server is away it fails at once.
func (s *Store) Create(body blob.ID) (blob.Draft, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.inflight.Done()
	if err := s.keeper.failing(); err != nil {
		return nil, err
	}
	d := &draft{s: s}
	if body.IsZero() {
		d.buf = make([]byte, frame.HeaderLen, draftRoom)
	} else {
		o, err := s.openOwner(context.Background(), body)
		if err != nil {
			return nil, fmt.Errorf("share body of blob %v: %w", body, err)
		}
		d.Owner, d.Share, d.Length = &o.Frame, o.header, o.Size
	}
	s.joining.Add(1)
	return d, nil
}

// leave ends the wait of others for this draft to join their segment.
func (d *draft) leave() {
	if !d.left {
		d.left = true
		d.s.joining.Add(-1)
	}
}

// Write appends to the body. blob.ErrTooLarge, blob.ErrFull: the draft can only be discarded.
func (d *draft) Write(p []byte) (int, error) {
	if err := d.Writable(len(p)); err != nil {
		return 0, err
	}
	if d.spill == nil && d.Length+int64(len(p)) > int64(d.s.cfg.Threshold) {
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
	d.buf = append(d.buf, p...)
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
	return d.buf[frame.HeaderLen:]
}

// Discard gives up. What was sent of a large body is removed in the background.
func (d *draft) Discard() {
	if d.Over {
		return
	}
	d.Over = true
	d.spill.remove()
	d.release()
}

// release gives back what the draft holds.
func (d *draft) release() {
	d.leave()
	d.buf = nil
	d.spill.release()
	if d.Owner != nil {
		d.Owner.Close()
	}
}
