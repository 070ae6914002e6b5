package frame

import "bytes"

// Find returns the index in b of the first header that is sound, tells base+index as its offset, and is one that match
// accepts; -1 where there is none. It is for going on behind damage: match compares the salt, so that nobody can put a
// frame into a body.
func Find(b []byte, base int64, match func(*Header) bool) int {
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(headerMagic))
		if i < 0 {
			return -1
		}
		at += i
		h, err := ParseHeader(b[at:])
		if err == nil && int64(h.Offset) == base+int64(at) && match(&h) {
			return at
		}
	}
}
