package s3

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/minio/minio-go/v7"
	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// spillBuffer is how much of a body apart is gathered for one write to its file: whole blocks.
const spillBuffer = 4 * frame.BlockLen

// spill is a body above the threshold. It is written to a file of the spool folder that has no name any more, so that a
// crash leaves none, and sent from there, part by part while it arrives: what it holds in memory is spillBuffer, whatever
// its length. One that fits a part is sent as one object at its end.
type spill struct {
	s       *Store
	life    *life
	number  uint64
	file    *os.File
	written int64  // whole blocks, until the end
	buf     []byte // not yet written
	sums    []byte // of what is written
	hash    *blake3.Hasher

	partMD5 hash.Hash // of the part being written
	partAt  int64     // where it begins

	ctx    context.Context // ends with the life, or with Discard
	cancel context.CancelFunc
	sent   bool // as a whole, or perhaps

	sending sync.WaitGroup
	mu      sync.Mutex // guards what follows
	upload  string     // id of the upload in parts; "" before it was begun
	begun   bool
	parts   []minio.CompletePart
	err     error // what a part failed with
}

// startSpill moves what the draft has in memory to a spill.
func (d *draft) startSpill() error {
	s := d.s
	if err := s.enter(); err != nil {
		return err
	}
	defer s.inflight.Done()
	l, err := s.keeper.alive(context.Background())
	if err != nil {
		return fmt.Errorf("spill body: %w", err)
	}
	file, err := os.CreateTemp(s.cfg.Spool, "body-")
	if err != nil {
		return spoolError(err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return spoolError(err)
	}
	sp := &spill{
		s: s, life: l, number: l.bodies.Add(1), file: file, buf: make([]byte, 0, spillBuffer), hash: blake3.New(), partMD5: md5.New(),
	}
	sp.ctx, sp.cancel = context.WithCancel(l.ctx)
	d.spill = sp
	_, err = sp.write(d.buf[frame.HeaderLen:])
	d.buf = nil
	return err
}

// spoolError makes a full disk blob.ErrFull: nothing is kept of a body whose frame was not written.
func spoolError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("spool body: %w: %w", blob.ErrFull, err)
	}
	return fmt.Errorf("spool body: %w", err)
}

// write appends to the body.
func (sp *spill) write(p []byte) (n int, err error) {
	for len(p) > 0 {
		take := min(len(p), spillBuffer-len(sp.buf))
		sp.buf = append(sp.buf, p[:take]...)
		p = p[take:]
		n += take
		if len(sp.buf) == spillBuffer {
			if err := sp.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// flush writes the buffer to the file, and sends parts that are whole and not the last.
func (sp *spill) flush() error {
	if err := sp.failed(); err != nil {
		return err
	}
	for b := sp.buf; len(b) > 0; {
		if sp.written-sp.partAt == sp.s.cfg.PartSize {
			sp.sendPart()
		}
		piece := b[:min(int64(len(b)), sp.s.cfg.PartSize-(sp.written-sp.partAt))]
		if _, err := sp.file.WriteAt(piece, sp.written); err != nil {
			return spoolError(err)
		}
		sp.partMD5.Write(piece)
		sp.written += int64(len(piece))
		b = b[len(piece):]
	}
	sp.sums = frame.AppendSums(sp.sums, sp.buf)
	sp.hash.Write(sp.buf)
	sp.buf = sp.buf[:0]
	return nil
}

func (sp *spill) failed() error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.err
}

// part ends the part being written and begins the next.
func (sp *spill) part() content {
	c := content{from: sp.file, off: sp.partAt, size: sp.written - sp.partAt}
	sp.partMD5.Sum(c.md5[:0])
	sp.partMD5.Reset()
	sp.partAt = sp.written
	return c
}

// sendPart sends the part being written in the background.
func (sp *spill) sendPart() {
	n := int(sp.partAt/sp.s.cfg.PartSize) + 1
	c := sp.part()
	sp.sending.Go(func() {
		err := sp.putPart(n, c)
		sp.mu.Lock()
		defer sp.mu.Unlock()
		if err != nil && sp.err == nil {
			sp.err = fmt.Errorf("send body %d: %w", sp.number, err)
		}
	})
}

func (sp *spill) putPart(n int, c content) error {
	select {
	case sp.s.parts <- struct{}{}:
	case <-sp.ctx.Done():
		return sp.ctx.Err()
	}
	defer func() { <-sp.s.parts }()
	id, err := sp.beginParts()
	if err != nil {
		return err
	}
	part, err := sp.s.bucket.putPart(sp.ctx, sp.key(), id, n, c)
	if err != nil {
		return err
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.parts = append(sp.parts, part)
	return nil
}

// beginParts begins the upload, once.
func (sp *spill) beginParts() (string, error) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.begun {
		return sp.upload, sp.err
	}
	sp.begun = true
	sp.upload, sp.err = sp.s.bucket.beginParts(sp.ctx, sp.key())
	return sp.upload, sp.err
}

func (sp *spill) key() string { return bodyKey(sp.life.id, sp.number) }

// finish stores the body. Nothing refers to it before finish has returned.
func (sp *spill) finish(ctx context.Context) error {
	defer context.AfterFunc(ctx, sp.cancel)()
	err := sp.flush()
	if err == nil {
		err = sp.store()
	}
	switch {
	case err == nil:
		fault.Point("s3.body-stored")
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("store body %d: %w", sp.number, err)
}

func (sp *spill) store() error {
	sp.sent = true
	if sp.partAt == 0 {
		return sp.s.bucket.create(sp.ctx, sp.key(), sp.part())
	}
	sp.sendPart()
	sp.sending.Wait()
	if err := sp.failed(); err != nil {
		return err
	}
	fault.Point("s3.parts-sent")
	return sp.s.bucket.endParts(sp.ctx, sp.key(), sp.upload, sp.parts, sp.written)
}

func (sp *spill) readAt(p []byte, off int64) (n int, err error) {
	if off < sp.written {
		n, err = sp.file.ReadAt(p[:min(int64(len(p)), sp.written-off)], off)
		if err != nil && !errors.Is(err, io.EOF) || n == len(p) {
			return n, err
		}
		p, off = p[n:], sp.written
	}
	if off-sp.written >= int64(len(sp.buf)) {
		return n, io.EOF
	}
	m, err := frame.Copied(p, sp.buf[off-sp.written:])
	return n + m, err
}

// remove removes in the background what was sent of a body that no frame refers to. What stays is an orphan: Sweep removes
// it once the incarnation is dead; so it is with one discarded behind Close.
func (sp *spill) remove() {
	if sp == nil {
		return
	}
	sp.cancel()
	if !sp.sent && sp.partAt == 0 {
		return
	}
	sp.s.tidyUnlessClosed(func(ctx context.Context) {
		sp.sending.Wait()
		b := sp.s.bucket
		var err error
		if sp.begun && sp.upload != "" {
			err = b.abortParts(ctx, sp.key(), sp.upload)
		}
		if sp.sent {
			err = errors.Join(err, b.remove(ctx, sp.key()))
		}
		if err != nil {
			sp.s.opt.Log.Warn("discarded body not removed", obs.Path(sp.key()), obs.Error(err))
		}
	})
}

// release gives back what the spill holds. What is still being sent is given up.
func (sp *spill) release() {
	if sp == nil {
		return
	}
	sp.buf = nil
	sp.cancel()
	sp.sending.Wait()
	sp.file.Close()
}
