package dir

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// Commit makes the frame durable. Where ctx ends before the frame was handed to the writer, nothing is kept; where it
// ends later the outcome is unknown, and ctx's error is returned as after any failure.
func (d *draft) Commit(ctx context.Context, meta blob.Meta) (blob.ID, error) {
	if d.Over {
		return blob.ID{}, fmt.Errorf("commit: %w", frame.ErrOver)
	}
	d.Over = true
	defer d.release()
	p, err := d.prepare(ctx, &meta)
	if err != nil {
		d.spill.remove()
		return blob.ID{}, fmt.Errorf("commit: %w", err)
	}
	defer d.s.inflight.Done()
	select {
	case d.s.queue <- p:
	case <-ctx.Done():
		p.buf.put()
		d.spill.remove()
		return blob.ID{}, fmt.Errorf("commit: %w", ctx.Err())
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done:
		default:
			// The writer still has the frame, which may still be written: neither memory nor body can go.
			return blob.ID{}, fmt.Errorf("commit: outcome unknown: %w", ctx.Err())
		}
	}
	p.buf.put()
	if p.err != nil {
		if p.gone {
			d.spill.remove()
		}
		return blob.ID{}, fmt.Errorf("commit: %w", p.err)
	}
	return p.id, nil
}

// prepare makes the body durable where it lies apart, and the frame ready to be placed. Without an error s.inflight is
// held.
func (d *draft) prepare(ctx context.Context, meta *blob.Meta) (*pending, error) {
	if err := d.Finishable(meta); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.s.enter(); err != nil {
		return nil, err
	}
	p, err := d.finish(meta)
	if err != nil {
		d.s.inflight.Done()
		return nil, err
	}
	return p, nil
}

func (d *draft) finish(meta *blob.Meta) (*pending, error) {
	p := &pending{
		header: frame.Header{Kind: meta.Kind, Codec: frame.CodecNone, QueueID: meta.QueueID, Size: d.Length},
		done:   make(chan struct{}),
	}
	var sums []byte
	var digest [32]byte
	switch {
	case d.Owner != nil:
		p.header.Place, p.header.Owner = frame.Shared, d.Share.FirstID()
		digest = d.Owner.Digest
	case d.spill != nil:
		if err := d.spill.finish(); err != nil {
			return nil, err
		}
		p.header.Place, p.header.Stored = frame.Apart, d.Length
		p.header.Apart = frame.Ref{Incarnation: d.s.self.id, Number: d.spill.number}
		sums = d.spill.sums
		d.spill.hash.Sum(digest[:0])
	default:
		p.header.Place, p.header.Stored = frame.Inline, d.Length
		body := d.buf.b[frame.HeaderLen:]
		var few [8 * frame.SumLen]byte
		sums = frame.AppendSums(few[:0], body)
		h := d.s.pool.hasher()
		h.Write(body)
		h.Sum(digest[:0])
		d.s.pool.putHasher(h)
	}
	buf := d.buf
	d.buf = nil
	if buf == nil {
		buf = d.s.pool.get(frame.HeaderLen)
		buf.b = buf.b[:frame.HeaderLen]
	}
	p.buf = d.s.pool.grow(buf, len(buf.b)+len(sums)+len(meta.Tail)+frame.TrailerLen)
	p.buf.b = frame.Finish(p.buf.b, &p.header, sums, meta.Tail, &digest)
	return p, nil
}
