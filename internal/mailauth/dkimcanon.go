package mailauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// bodyHash is the hash of a body under one canonicalization, up to a length.
type bodyHash struct {
	sum hash.Hash
	// limit is the "l" tag, or -1.
	limit int64
	// size is what the canonical body measures.
	size int64
}

func (h *bodyHash) write(p []byte) {
	if h.limit >= 0 {
		if left := max(h.limit-h.size, 0); int64(len(p)) > left {
			h.sum.Write(p[:left])
			h.size += int64(len(p))
			return
		}
	}
	h.size += int64(len(p))
	h.sum.Write(p)
}

// bodyCanon brings a body into canonical form (RFC 6376 §3.4.3 and §3.4.4) for one or several hashes. What it holds is a few
// numbers and a small buffer, however the body looks.
type bodyCanon struct {
	relaxed bool
	hashes  []*bodyHash

	lines int  // line ends that count only if more text follows
	cr    bool // a CR that waits for its LF
	space bool // white space that counts only if more text follows on the line
	any   bool // something was written
	out   []byte
}

const canonBuffer = 4 << 10

var (
	octetCR  = []byte{'\r'}
	lineEnd  = []byte{'\r', '\n'}
	oneSpace = []byte{' '}
)

// hash gives the hash for a limit, shared by signatures that ask for the same.
func (c *bodyCanon) hash(limit int64) *bodyHash {
	for _, h := range c.hashes {
		if h.limit == limit {
			return h
		}
	}
	h := &bodyHash{sum: sha256.New(), limit: limit}
	c.hashes = append(c.hashes, h)
	return h
}

func (c *bodyCanon) Write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if c.cr {
			c.cr = false
			if i == 0 {
				c.endLine()
				p = p[1:]
				continue
			}
			c.text(octetCR)
		}
		if i < 0 {
			if n := len(p) - 1; p[n] == '\r' {
				c.cr = true
				p = p[:n]
			}
			c.text(p)
			return
		}
		line := p[:i]
		if i > 0 && line[i-1] == '\r' {
			line = line[:i-1]
		}
		c.text(line)
		c.endLine() // QUIRK: a bare LF counts as CRLF; signers that met one changed it
		p = p[i+1:]
	}
}

func (c *bodyCanon) endLine() {
	c.lines++
	c.space = false
}

// text adds octets of a line.
func (c *bodyCanon) text(p []byte) {
	if !c.relaxed {
		c.run(p)
		return
	}
	for len(p) > 0 {
		i := 0
		for i < len(p) && !wsp(p[i]) {
			i++
		}
		c.run(p[:i])
		if i < len(p) {
			c.space = true
			for i < len(p) && wsp(p[i]) {
				i++
			}
		}
		p = p[i:]
	}
}

// run adds octets that are kept, behind what waited for them.
func (c *bodyCanon) run(p []byte) {
	if len(p) == 0 {
		return
	}
	for ; c.lines > 0; c.lines-- {
		c.put(lineEnd)
	}
	if c.space {
		c.put(oneSpace)
		c.space = false
	}
	c.any = true
	c.put(p)
}

func (c *bodyCanon) put(p []byte) {
	if len(c.out)+len(p) > canonBuffer {
		c.flush()
	}
	if len(p) > canonBuffer {
		c.feed(p)
		return
	}
	c.out = append(c.out, p...)
}

func (c *bodyCanon) flush() {
	c.feed(c.out)
	c.out = c.out[:0]
}

func (c *bodyCanon) feed(p []byte) {
	for _, h := range c.hashes {
		h.write(p)
	}
}

// Close ends the body: exactly one line end, but an empty body stays empty when relaxed.
func (c *bodyCanon) Close() {
	if c.cr {
		c.cr = false
		c.text(octetCR)
	}
	if c.any || !c.relaxed {
		c.put(lineEnd)
	}
	c.flush()
}

// relaxedField brings a header field into relaxed form (RFC 6376 §3.4.2), its line end included.
func relaxedField(dst, raw []byte) []byte {
	name, value, _ := bytes.Cut(raw, []byte{':'})
	for _, c := range bytes.TrimRight(name, fws) {
		dst = append(dst, lower(c))
	}
	dst = append(dst, ':')
	space := false
	for _, c := range bytes.Trim(value, fws) {
		if wsp(c) || c == '\r' || c == '\n' {
			space = true
			continue
		}
		if space {
			dst = append(dst, ' ')
			space = false
		}
		dst = append(dst, c)
	}
	return append(dst, '\r', '\n')
}
