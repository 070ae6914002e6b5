package dir

import (
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// spillBuffer is how much of a body apart is gathered for one write: whole blocks.
const spillBuffer = 4 * frame.BlockLen

// spill is a body above the threshold: a file of its own, with what was not written yet in memory.
type spill struct {
	s       *Store
	number  uint64
	file    vfs.File
	written int64 // whole blocks, until the end
	buf     *buffer
	sums    []byte // of what is written
	hash    *blake3.Hasher
}

// startSpill moves what the draft has in memory to a spill.
func (d *draft) startSpill() error {
	s := d.s
	if err := s.enter(); err != nil {
		return err
	}
	defer s.inflight.Done()
	if err := s.ensureBegun(); err != nil {
		return full(fmt.Errorf("spill body: %w", err))
	}
	sp := &spill{s: s, number: s.bodies.Add(1), buf: s.pool.get(spillBuffer), hash: s.pool.hasher()}
	file, err := s.createFresh(s.bodyPath(s.self.id, sp.number))
	if err != nil {
		sp.release()
		return full(fmt.Errorf("spill body: %w", err))
	}
	sp.file = file
	d.spill = sp
	_, err = sp.write(d.buf.b[frame.HeaderLen:])
	d.buf.put()
	d.buf = nil
	return err
}

// write appends to the body, and to the file whenever the buffer is full.
func (sp *spill) write(p []byte) (n int, err error) {
	for len(p) > 0 {
		take := min(len(p), spillBuffer-len(sp.buf.b))
		sp.buf.b = append(sp.buf.b, p[:take]...)
		p = p[take:]
		n += take
		if len(sp.buf.b) == spillBuffer {
			if err := sp.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// flush writes the buffer to the file.
func (sp *spill) flush() error {
	b := sp.buf.b
	if err := sp.file.WriteVec([][]byte{b}, sp.written); err != nil {
		return full(fmt.Errorf("write body %d: %w", sp.number, err))
	}
	sp.sums = frame.AppendSums(sp.sums, b)
	sp.hash.Write(b)
	sp.written += int64(len(b))
	sp.s.metrics.bodyBytes.Add(float64(len(b)))
	sp.buf.b = b[:0]
	return nil
}

// finish makes the body durable. Nothing refers to it before it has returned.
func (sp *spill) finish() error {
	if err := sp.flush(); err != nil {
		return err
	}
	if err := sp.file.Sync(); err != nil {
		return full(fmt.Errorf("flush body %d: %w", sp.number, err))
	}
	if err := sp.s.fs.SyncDir(sp.s.bodiesPath(sp.s.self.id)); err != nil {
		return full(fmt.Errorf("flush body %d: %w", sp.number, err))
	}
	fault.Point("blob.body-written")
	return nil
}

func (sp *spill) readAt(p []byte, off int64) (n int, err error) {
	if off < sp.written {
		n, err = sp.file.ReadAt(p[:min(int64(len(p)), sp.written-off)], off)
		if err != nil && !isEOF(err) || n == len(p) {
			return n, err
		}
		p, off = p[n:], sp.written
	}
	if off-sp.written >= int64(len(sp.buf.b)) {
		return n, io.EOF
	}
	m, err := frame.Copied(p, sp.buf.b[off-sp.written:])
	return n + m, err
}

// remove removes the file of a body that no frame refers to. What stays is an orphan: Sweep removes it once the
// incarnation is dead.
func (sp *spill) remove() {
	if sp == nil || sp.file == nil {
		return
	}
	path := sp.s.bodyPath(sp.s.self.id, sp.number)
	if err := sp.s.fs.Remove(path); err != nil {
		sp.s.opt.Log.Warn("discarded body not removed", obs.Path(path), obs.Error(err))
	}
}

// release gives back what the spill holds in memory, and closes the file.
func (sp *spill) release() {
	if sp == nil {
		return
	}
	sp.buf.put()
	sp.s.pool.putHasher(sp.hash)
	sp.buf, sp.hash = nil, nil
	if sp.file != nil {
		sp.file.Close()
	}
}
