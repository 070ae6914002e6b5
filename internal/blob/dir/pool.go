package dir

import (
	"sync"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// classes are the capacities of pooled buffers: a message of some KiB, one with a long header, whatever is read by one
// call, and a whole draft of the default threshold with header and trailer.
var classes = [...]int{8 << 10, 32 << 10, smallFrame, blob.SpoolMemory + frame.HeaderLen + 64<<10}

// pool keeps memory for drafts and reads.
type pool struct {
	buffers [len(classes)]sync.Pool
	hashers sync.Pool
}

// buffer is pooled memory; b is used up to its capacity.
type buffer struct {
	b    []byte
	home *sync.Pool // nil for one too large to keep
}

// get returns an empty buffer with room for n octets.
func (p *pool) get(n int) *buffer {
	for i, c := range classes {
		if n <= c {
			if buf, ok := p.buffers[i].Get().(*buffer); ok {
				return buf
			}
			return &buffer{b: make([]byte, 0, c), home: &p.buffers[i]}
		}
	}
	return &buffer{b: make([]byte, 0, n)}
}

// put gives the memory back; nobody may use it any more.
func (buf *buffer) put() {
	if buf != nil && buf.home != nil {
		buf.b = buf.b[:0]
		buf.home.Put(buf)
	}
}

// grow returns a buffer with the content of buf and room for n octets in all. buf itself is given back if it is another.
func (p *pool) grow(buf *buffer, n int) *buffer {
	if n <= cap(buf.b) {
		return buf
	}
	bigger := p.get(n)
	bigger.b = append(bigger.b, buf.b...)
	buf.put()
	return bigger
}

func (p *pool) hasher() *blake3.Hasher {
	if h, ok := p.hashers.Get().(*blake3.Hasher); ok {
		return h
	}
	return blake3.New()
}

func (p *pool) putHasher(h *blake3.Hasher) {
	h.Reset()
	p.hashers.Put(h)
}
