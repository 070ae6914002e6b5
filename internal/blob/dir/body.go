package dir

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// body reads ranges of a stored body and verifies each block that it touches.
type body struct {
	s    *Store
	size int64
	sums []byte

	mu     sync.Mutex // guards what follows
	closed bool

	// A body in memory: the octets, of one block, which lie in buf; verified by the first read.
	mem      []byte
	buf      *buffer
	verified bool

	// A body in a file: from base on. block is the one read last that was not asked for as a whole.
	file  *handle
	base  int64
	block *buffer
	at    int64
}

// ReadAt reads a range. blob.ErrCorrupt where a block of it is damaged: what is returned before it is sound.
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
	case b.file != nil:
		return b.readFile(p, off)
	}
	if !b.verified {
		if err := frame.CheckBody(b.sums, b.mem); err != nil {
			return 0, fmt.Errorf("read body: %w", err)
		}
		b.verified = true
	}
	return frame.Copied(p, b.mem[off:])
}

func (b *body) readFile(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < b.size {
		var m int
		if whole := b.wholeBlocks(off, len(p)-n); whole > 0 {
			m, err = b.readBlocks(p[n:n+whole], off)
		} else {
			m, err = b.readPart(p[n:], off)
		}
		n, off = n+m, off+int64(m)
		if err != nil {
			return n, fmt.Errorf("read body: %w", err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// wholeBlocks is how many octets of whole blocks, the last one of the body included, begin at off and go into n.
func (b *body) wholeBlocks(off int64, n int) int {
	if off%frame.BlockLen != 0 {
		return 0
	}
	if rest := b.size - off; int64(n) >= rest {
		return int(rest)
	}
	return n - n%frame.BlockLen
}

// readBlocks reads whole blocks to where they are wanted.
func (b *body) readBlocks(p []byte, off int64) (int, error) {
	if err := readFull(b.file, p, b.base+off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		block := p[n:min(n+frame.BlockLen, len(p))]
		if err := frame.CheckBlock(b.sums, (off+int64(n))/frame.BlockLen, block); err != nil {
			return n, err
		}
		n += len(block)
	}
	return len(p), nil
}

// readPart reads from one block, which is read as a whole and kept for the next read.
func (b *body) readPart(p []byte, off int64) (int, error) {
	i := off / frame.BlockLen
	start := i * frame.BlockLen
	if b.block == nil || b.at != start {
		if b.block == nil {
			b.block = b.s.pool.get(frame.BlockLen)
		}
		b.at = -1
		block := b.block.b[:min(frame.BlockLen, b.size-start)]
		if err := readFull(b.file, block, b.base+start); err != nil {
			return 0, err
		}
		if err := frame.CheckBlock(b.sums, i, block); err != nil {
			return 0, err
		}
		b.block.b, b.at = block, start
	}
	return copy(p, b.block.b[off-start:]), nil
}

// Close gives back memory and file.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.buf.put()
	b.block.put()
	b.mem, b.buf, b.block = nil, nil, nil
	if b.file != nil {
		b.file.release()
	}
	return nil
}
