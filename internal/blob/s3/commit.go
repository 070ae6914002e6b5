package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// errBusy is more mail than the server takes.
var errBusy = errors.New("too much waits for the S3 server")

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
	n := int64(len(p.buf))
	defer func() { d.s.metrics.waiting.Set(float64(d.s.waiting.Add(-n))) }()
	waiting := d.s.waiting.Add(n)
	d.s.metrics.waiting.Set(float64(waiting))
	if waiting > max(d.s.cfg.MaxWaitingBytes, n) {
		d.spill.remove()
		return blob.ID{}, fmt.Errorf("commit: %w: %d octets", errBusy, waiting)
	}
	d.leave()
	select {
	case d.s.queue <- p:
	case <-ctx.Done():
		d.spill.remove()
		return blob.ID{}, fmt.Errorf("commit: %w", ctx.Err())
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done:
		default:
			// The writer still has the frame, which may yet be stored: the body must stay.
			return blob.ID{}, fmt.Errorf("commit: outcome unknown: %w", ctx.Err())
		}
	}
	if p.err != nil {
		if p.gone {
			d.spill.remove()
		}
		return blob.ID{}, fmt.Errorf("commit: %w", p.err)
	}
	return p.id, nil
}

// prepare stores the body where it lies apart, and makes the frame ready to be placed. Without an error s.inflight is held.
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
	err := d.s.keeper.failing()
	if err == nil {
		var p *pending
		if p, err = d.finish(ctx, meta); err == nil {
			return p, nil
		}
	}
	d.s.inflight.Done()
	return nil, err
}

func (d *draft) finish(ctx context.Context, meta *blob.Meta) (*pending, error) {
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
		if err := d.spill.finish(ctx); err != nil {
			return nil, err
		}
		p.header.Place, p.header.Stored = frame.Apart, d.Length
		p.header.Apart = frame.Ref{Incarnation: d.spill.life.id, Number: d.spill.number}
		sums = d.spill.sums
		d.spill.hash.Sum(digest[:0])
	default:
		p.header.Place, p.header.Stored = frame.Inline, d.Length
		body := d.buf[frame.HeaderLen:]
		sums = frame.AppendSums(nil, body)
		digest = blake3.Sum256(body)
	}
	buf := d.buf
	d.buf = nil
	if buf == nil {
		buf = make([]byte, frame.HeaderLen, frame.HeaderLen+len(sums)+len(meta.Tail)+frame.TrailerLen)
	}
	p.buf = frame.Finish(buf, &p.header, sums, meta.Tail, &digest)
	return p, nil
}
