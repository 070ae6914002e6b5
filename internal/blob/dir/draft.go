package dir

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// errOver is a draft used after its end.
var errOver = errors.New("draft was committed or discarded")

// tailRoom is kept free behind a body in memory, so that the usual tail does not move it.
const tailRoom = 3 << 10

// draft is a frame being written: in memory, in the octets that will be the frame; above the threshold in a spill.
type draft struct {
	s     *Store
	buf   *buffer      // header's room, then the body; nil once it is spilled
	spill *spill       // the body above the threshold, else nil
	owner *blob.Frame  // the frame whose body is shared, else nil
	share frame.Header // its header
	size  int64
	err   error // what Write failed with; the draft cannot be committed
	over  bool
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
	d.owner, d.share, d.size = &o.Frame, o.header, o.Size
	return d, nil
}

// Size is how many octets the body has.
func (d *draft) Size() int64 { return d.size }

// Write appends to the body. blob.ErrTooLarge, blob.ErrFull: the draft can only be discarded.
func (d *draft) Write(p []byte) (int, error) {
	if err := d.writable(len(p)); err != nil {
		return 0, err
	}
	if d.spill == nil && d.size+int64(len(p)) > int64(d.s.opt.Threshold) {
		if d.err = d.startSpill(); d.err != nil {
			return 0, d.err
		}
	}
	if d.spill != nil {
		n, err := d.spill.write(p)
		d.size += int64(n)
		d.err = err
		return n, err
	}
	if need := len(d.buf.b) + len(p); need > cap(d.buf.b) {
		d.buf = d.s.pool.grow(d.buf, need+tailRoom)
	}
	d.buf.b = append(d.buf.b, p...)
	d.size += int64(len(p))
	return len(p), nil
}

func (d *draft) writable(n int) error {
	switch {
	case d.over:
		return errOver
	case d.err != nil:
		return d.err
	case d.owner != nil:
		return errors.New("write to a draft that shares a body")
	case d.size+int64(n) > frame.MaxBody:
		d.err = fmt.Errorf("%w: body of more than %d octets", blob.ErrTooLarge, frame.MaxBody)
	}
	return d.err
}

// ReadAt reads what was written so far, or the shared body.
func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case d.over:
		return 0, errOver
	case off < 0:
		return 0, fmt.Errorf("read at %d", off)
	case d.owner != nil:
		return d.owner.Body.ReadAt(p, off)
	case off >= d.size:
		return 0, io.EOF
	case d.spill != nil:
		return d.spill.readAt(p, off)
	}
	return copied(p, d.buf.b[frame.HeaderLen+off:])
}

// copied is what ReadAt returns for octets in memory, the last of a body.
func copied(p, rest []byte) (int, error) {
	n := copy(p, rest)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Discard gives up.
func (d *draft) Discard() {
	if d.over {
		return
	}
	d.over = true
	d.spill.remove()
	d.release()
}

// release gives back what the draft holds in memory.
func (d *draft) release() {
	d.buf.put()
	d.buf = nil
	d.spill.release()
	if d.owner != nil {
		d.owner.Close()
	}
}
