package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// Rewrite copies frames through the writer, like new ones; they share writes and flushes. All are in memory at once, up
// to the threshold each. Bodies apart get a second name in this process's incarnation.
func (s *Store) Rewrite(ctx context.Context, frames []blob.Rewrite) ([]blob.Rewritten, error) {
	out, err := s.rewrite(ctx, frames)
	if err != nil {
		return nil, fmt.Errorf("rewrite %d frames: %w", len(frames), err)
	}
	return out, nil
}

func (s *Store) rewrite(ctx context.Context, frames []blob.Rewrite) ([]blob.Rewritten, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.inflight.Done()
	if err := s.ensureBegun(); err != nil {
		return nil, full(err)
	}
	out := make([]blob.Rewritten, len(frames))
	copies := make([]*pending, len(frames))
	apart := false
	for i, f := range frames {
		p, bytes, err := s.copyOf(ctx, f)
		switch {
		case errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrNotFound):
			out[i].Err = err
		case err != nil:
			return nil, fmt.Errorf("blob %v: %w", f.Place, err)
		default:
			copies[i], out[i].Bytes = p, bytes
			apart = apart || p.header.Place == frame.Apart
		}
	}
	if apart {
		if err := s.fs.SyncDir(s.bodiesPath(s.self.id)); err != nil {
			return nil, full(err)
		}
	}
	fault.Point("reclaim.copies-before-frames")
	for _, p := range copies {
		if p == nil {
			continue
		}
		select {
		case s.queue <- p:
		case <-ctx.Done():
			return nil, ctx.Err() // copies on their way are nobody's
		}
	}
	var err error
	for i, p := range copies {
		if p == nil {
			continue
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		p.buf.put()
		err = errors.Join(err, p.err)
		out[i].Place = p.id
	}
	if err != nil {
		return nil, err
	}
	fault.Point("reclaim.copies-after-frames")
	return out, nil
}

// copyOf makes a frame ready to be placed anew, and tells how many octets that writes.
func (s *Store) copyOf(ctx context.Context, f blob.Rewrite) (*pending, int64, error) {
	o, err := s.openAt(ctx, f.Place)
	if err != nil {
		return nil, 0, err
	}
	defer o.Close()
	if o.header.FirstID() != f.Origin {
		return nil, 0, fmt.Errorf("%w: there is blob %v", blob.ErrNotFound, o.header.FirstID())
	}
	p := &pending{header: o.header, done: make(chan struct{})}
	p.header.Origin = f.Origin
	linked := int64(0)
	if o.header.Place == frame.Apart {
		if p.header.Apart, linked, err = s.linkBody(&o.header); err != nil {
			return nil, 0, err
		}
	}
	inline := int(o.header.BodyLen())
	buf := s.pool.get(frame.HeaderLen + inline + int(o.header.TrailerLen()))
	buf.b = buf.b[:frame.HeaderLen+inline]
	if inline > 0 {
		// Reading verifies every block.
		if n, err := o.Body.ReadAt(buf.b[frame.HeaderLen:], 0); n < inline {
			buf.put()
			return nil, 0, early(err)
		}
	}
	digest := o.Digest
	p.buf = buf
	p.buf.b = frame.Finish(buf.b, &p.header, o.sums(), o.Meta.Tail, &digest)
	return p, int64(len(p.buf.b)) + linked, nil
}

// early makes an end that came too soon damage.
func early(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: body ends early", blob.ErrCorrupt)
	}
	return err
}

// sums are the checksums of the body's blocks.
func (o *opened) sums() []byte { return o.body.sums }

// linkBody gives a body apart a second name in this process's incarnation, or copies it where the file system has none,
// and tells how many octets that wrote. SyncDir of the bodies must follow.
func (s *Store) linkBody(h *frame.Header) (frame.Ref, int64, error) {
	from := s.bodyPath(h.Apart.Incarnation, h.Apart.Number)
	ref := frame.Ref{Incarnation: s.self.id, Number: s.bodies.Add(1)}
	to := s.bodyPath(ref.Incarnation, ref.Number)
	err := s.fs.Link(from, to)
	switch {
	case err == nil:
		return ref, 0, nil
	case errors.Is(err, fs.ErrNotExist):
		return ref, 0, fmt.Errorf("%w: its body %d/%d is missing", blob.ErrCorrupt, h.Apart.Incarnation, h.Apart.Number)
	case isNoRoom(err):
		return ref, 0, full(err)
	}
	n, err := s.copyBody(from, to)
	if err != nil {
		// What was made of it is an orphan, for Sweep.
		return ref, 0, full(fmt.Errorf("copy body %d/%d: %w", h.Apart.Incarnation, h.Apart.Number, err))
	}
	return ref, n, nil
}

func (s *Store) copyBody(from, to string) (n int64, err error) {
	in, err := s.fs.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := s.createFresh(to)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	buf := s.pool.get(spillBuffer)
	defer buf.put()
	for b := buf.b[:spillBuffer]; ; {
		got, err := in.ReadAt(b, n)
		if got > 0 {
			if err := out.WriteVec([][]byte{b[:got]}, n); err != nil {
				return n, err
			}
			n += int64(got)
		}
		if isEOF(err) || err == nil && got == 0 {
			return n, out.Sync()
		}
		if err != nil {
			return n, err
		}
	}
}
