package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// body reads ranges of a stored body and verifies each block that it touches.
type body struct {
	s    *Store
	id   blob.ID // of its frame, as it was asked for
	size int64
	sums []byte

	mu     sync.Mutex // guards what follows
	closed bool

	// A body in memory. sound are the blocks that were verified.
	inMemory bool
	mem      []byte
	sound    []bool

	// A body in an object: from base on. window holds verified blocks from at on; next is where the last read ended.
	key    string
	base   int64
	window []byte
	at     int64
	next   int64
	moved  bool // looked up already
}

// ReadAt reads a range. blob.ErrCorrupt where a block of it is damaged: what is returned before it is sound.
//
// A body that is not in memory is fetched block by block where it is read here and there, and by Config.ReadAhead where it
// is read in order.
func (b *body) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, fmt.Errorf("read body: %w", os.ErrClosed)
	case off < 0:
		return 0, fmt.Errorf("read body at %d", off)
	case off >= b.size:
		return 0, io.EOF
	}
	n, err := b.read(p, off)
	if errors.Is(err, errMissing) {
		n, err = b.readMoved(p, off, err)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read body: %w", err)
	}
	return n, err
}

func (b *body) read(p []byte, off int64) (int, error) {
	if b.inMemory {
		return b.readMemory(p, off)
	}
	return b.readObject(p, off)
}

// readMoved looks up once where the frame was moved to, with its body, and reads there.
func (b *body) readMoved(p []byte, off int64, cause error) (int, error) {
	ctx := context.Background()
	if b.moved {
		return 0, b.lost(ctx, cause)
	}
	o, err := b.s.openMoved(ctx, b.id, cause)
	if errors.Is(err, errMissing) {
		return 0, b.lost(ctx, cause)
	}
	if err != nil {
		return 0, err
	}
	b.moved = true
	to := &o.body
	b.sums, b.inMemory, b.mem, b.sound, b.key, b.base, b.window = to.sums, to.inMemory, to.mem, nil, to.key, to.base, nil
	n, err := b.read(p, off)
	if errors.Is(err, errMissing) {
		err = b.lost(ctx, err)
	}
	return n, err
}

// lost tells what it means that the body's object is missing: with its segment gone too the frame was removed, else the
// body alone was lost, or freed.
func (b *body) lost(ctx context.Context, cause error) error {
	_, err := b.s.bucket.stat(ctx, segmentKey(b.id.Incarnation, b.id.Segment))
	switch {
	case errors.Is(err, errMissing):
		return fmt.Errorf("%w: %w", blob.ErrNotFound, cause)
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: its object %s is missing", blob.ErrCorrupt, b.key)
}

func (b *body) readMemory(p []byte, off int64) (int, error) {
	if b.sound == nil {
		b.sound = make([]bool, frame.BlocksOf(b.size))
	}
	end := min(off+int64(len(p)), b.size)
	for i := off / frame.BlockLen; i*frame.BlockLen < end; i++ {
		if b.sound[i] {
			continue
		}
		if err := frame.CheckBlock(b.sums, i, b.mem[i*frame.BlockLen:min((i+1)*frame.BlockLen, b.size)]); err != nil {
			n := copy(p, b.mem[off:max(off, i*frame.BlockLen)])
			return n, err
		}
		b.sound[i] = true
	}
	return frame.Copied(p, b.mem[off:])
}

func (b *body) readObject(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < b.size {
		if off < b.at || off >= b.at+int64(len(b.window)) {
			if err := b.fill(off, int64(len(p)-n)); err != nil {
				return n, err
			}
		}
		m := copy(p[n:], b.window[off-b.at:])
		n, off = n+m, off+int64(m)
	}
	b.next = off
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fill fetches the blocks of n octets from off on, and more where it goes on where the last read ended; never more than
// Config.ReadAhead at once.
func (b *body) fill(off, n int64) error {
	most := b.s.cfg.ReadAhead / frame.BlockLen * frame.BlockLen
	start := off / frame.BlockLen * frame.BlockLen
	want := min(n, most)
	if off == b.next && (off > 0 || n > frame.BlockLen) {
		want = most
	}
	end := (off + want + frame.BlockLen - 1) / frame.BlockLen * frame.BlockLen
	end = min(end, start+most, b.size)
	b.window, b.at = nil, 0
	octets, err := b.s.bucket.get(context.Background(), b.key, b.base+start, end-start)
	switch {
	case errors.Is(err, errRange):
		return fmt.Errorf("%w: its object %s is short", blob.ErrCorrupt, b.key)
	case err != nil:
		return err
	case int64(len(octets)) < end-start:
		return fmt.Errorf("%w: %d of %d octets at %d", blob.ErrCorrupt, len(octets), end-start, start)
	}
	// Sound blocks count up to the first that is not.
	sound := int64(0)
	for at := start; at < end; at += frame.BlockLen {
		block := octets[at-start : min(at+frame.BlockLen, end)-start]
		if err = frame.CheckBlock(b.sums, at/frame.BlockLen, block); err != nil {
			break
		}
		sound += int64(len(block))
	}
	b.window, b.at = octets[:sound], start
	if off < start+sound {
		return nil
	}
	return err
}

// Close gives back memory.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.mem, b.window = nil, nil
	if b.key != "" && b.s.check(context.Background()) != nil {
		b.s.bucket.closeIdle()
	}
	return nil
}
