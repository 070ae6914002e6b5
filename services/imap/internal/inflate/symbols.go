package inflate

import "encoding/binary"

// Lengths and distances from their symbols, and how many bits are added (RFC 1951 §3.2.5).
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{8: 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   = [maxDists]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
		4097, 6145, 8193, 12289, 16385, 24577}
	distBits = [maxDists]uint8{4: 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbols decodes to the end of the block. A match is taken as a whole, length and distance, or not at all: 48 bits at most.
func (r *Reader) symbols() bool {
	// What changes with each symbol is kept out of memory.
	b, count, at, w := r.bits, r.count, r.at, r.w
	in, window, lit, dist := r.in[:r.end], r.window, r.lit, r.dist
	fault, ended := "", false
	for w < windowSize {
		if count < 48 {
			if len(in)-at >= 8 {
				// Bits above count are set too: those of the octet at at, which come again with it.
				b |= binary.LittleEndian.Uint64(in[at:]) << count
				at += int(63-count) >> 3
				count |= 56
			} else {
				for count < 56 && at < len(in) {
					b |= uint64(in[at]) << count
					at++
					count += 8
				}
			}
		}
		e := lit[b&(1<<litRoot-1)]
		if e&link != 0 {
			e = follow(lit[:], litRoot, e, b)
		}
		n := e.bits()
		if n > count {
			break
		}
		symbol := e.symbol()
		if symbol < endOfBlock && n > 0 {
			window[w] = byte(symbol)
			w++
			b >>= n
			count -= n
			continue
		}
		if symbol == endOfBlock {
			b >>= n
			count -= n
			ended = true
			break
		}
		symbol -= endOfBlock + 1
		if n == 0 || symbol >= uint(len(lengthBase)) {
			fault = "no such code for a literal or length"
			break
		}
		extra := uint(lengthBits[symbol])
		length := int(lengthBase[symbol]) + int(b>>n&(1<<extra-1))
		n += extra

		e = dist[b>>n&(1<<distRoot-1)]
		if e&link != 0 {
			e = follow(dist[:], distRoot, e, b>>n)
		}
		if n+e.bits() > count {
			break
		}
		symbol = e.symbol()
		if e.bits() == 0 || symbol >= uint(len(distBase)) {
			fault = "no such code for a distance"
			break
		}
		n += e.bits()
		extra = uint(distBits[symbol])
		if n+extra > count {
			break
		}
		distance := int(distBase[symbol]) + int(b>>n&(1<<extra-1))
		if distance > w && !r.wrapped {
			fault = "distance reaches before the stream"
			break
		}
		b >>= n + extra
		count -= n + extra
		var left int
		if w, left = repeat(window, w, distance, length); left > 0 {
			r.length, r.distance, r.state = left, distance, inMatch
		}
	}
	r.bits, r.count, r.at, r.w = b&(1<<count-1), count, at, w
	switch {
	case fault != "":
		return r.fail(fault)
	case ended:
		return r.ended()
	}
	return false
}

// match goes on with a match for which the window had no room.
func (r *Reader) match() bool {
	r.w, r.length = repeat(r.window, r.w, r.distance, r.length)
	if r.length > 0 {
		return false
	}
	r.state = inSymbols
	return true
}

// repeat writes at w what stands distance before, length octets or up to the end of the window; it returns the new w and what
// is left. What it writes may be repeated in turn.
func repeat(window *[windowSize]byte, w, distance, length int) (int, int) {
	from := (w - distance) & (windowSize - 1)
	if from >= w { // a window ago: up to its end, and on from its start
		n := copy(window[w:min(w+length, windowSize)], window[from:])
		w += n
		length -= n
		from = 0
	}
	for length > 0 && w < windowSize {
		n := copy(window[w:min(w+length, windowSize)], window[from:w])
		w += n
		length -= n
	}
	return w, length
}
