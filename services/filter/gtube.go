package filter

import "bytes"

// gtube is the Generic Test for Unsolicited Bulk Email: a message with it in its body is spam by agreement.
var gtube = []byte("XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X")

// gtubeFinder looks for it in octets that come in pieces.
type gtubeFinder struct {
	found bool
	tail  []byte // the last octets, fewer than the string has
}

func (f *gtubeFinder) reset() { f.found, f.tail = false, f.tail[:0] }

func (f *gtubeFinder) write(p []byte) {
	if f.found || len(p) == 0 {
		return
	}
	// What lies across the border: the old tail and the beginning of p.
	border := append(f.tail, p[:min(len(p), len(gtube)-1)]...)
	f.found = len(f.tail) > 0 && bytes.Contains(border, gtube) || bytes.Contains(p, gtube)
	last := border
	if len(p) >= len(gtube)-1 {
		last = p
	}
	f.tail = append(f.tail[:0], last[max(0, len(last)-len(gtube)+1):]...)
}
