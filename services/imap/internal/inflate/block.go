package inflate

import "io"

// state is what the next bits are.
type state uint8

const (
	atHeader state = iota
	atStored
	inStored
	atCounts
	inLenCodes
	inLens
	inSymbols
	inMatch
)

// step does what it can in one state. It returns false where it can do no more: bits are missing, the window is full or the
// stream has failed or ended. Each step consumes bits only when all that belong together are there, 48 at most, so that nothing
// but the fields of Reader is to be remembered.
func (r *Reader) step() bool {
	switch r.state {
	case atHeader:
		return r.header()
	case atStored:
		return r.storedLength()
	case inStored:
		return r.stored()
	case atCounts:
		return r.counts()
	case inLenCodes:
		return r.readLenCodes()
	case inLens:
		return r.readLens()
	case inSymbols:
		return r.symbols()
	default:
		return r.match()
	}
}

// header reads the first bits of a block (RFC 1951 §3.2.3).
func (r *Reader) header() bool {
	if !r.need(3) {
		return false
	}
	if r.bits>>1&3 == 3 {
		return r.fail("unknown type of block")
	}
	r.final = r.take(1) == 1
	switch r.take(2) {
	case 0:
		r.take(r.count & 7) // §3.2.4: the rest of the octet is ignored
		r.state = atStored
	case 1:
		r.lit, r.dist = &static.lit, &static.dist
		r.state = inSymbols
	case 2:
		r.state = atCounts
	}
	return true
}

// ended goes on behind a block.
func (r *Reader) ended() bool {
	r.state = atHeader
	if r.final {
		r.err = io.EOF
	}
	return true
}

// storedLength reads LEN and its complement (§3.2.4).
func (r *Reader) storedLength() bool {
	if !r.need(32) {
		return false
	}
	if uint16(r.bits) != ^uint16(r.bits>>16) {
		return r.fail("length of a stored block is not its complement's")
	}
	r.length = r.take(16)
	r.take(16)
	r.state = inStored
	return true
}

// stored copies: first the octets that are in bits, which are whole, then from the input.
func (r *Reader) stored() bool {
	for r.length > 0 {
		to := r.window[r.w:min(r.w+r.length, windowSize)]
		n := 0
		if r.count > 0 && len(to) > 0 {
			to[0], n = byte(r.take(8)), 1
		} else {
			n = copy(to, r.in[r.at:r.end])
			r.at += n
		}
		if n == 0 {
			return false
		}
		r.w += n
		r.length -= n
	}
	return r.ended()
}

// lenOrder is the order in which the lengths of the codes for lengths come (§3.2.7).
var lenOrder = [maxLens]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// counts reads how many codes a block describes.
func (r *Reader) counts() bool {
	if !r.need(14) {
		return false
	}
	if r.bits&31+257 > maxLits {
		return r.fail("too many codes for literals and lengths")
	}
	if r.bits>>5&31+1 > maxDists {
		return r.fail("too many codes for distances")
	}
	r.lits, r.dists, r.lenCodes = r.take(5)+257, r.take(5)+1, r.take(4)+4
	clear(r.lens[:maxLens])
	r.have = 0
	r.state = inLenCodes
	return true
}

// readLenCodes reads the code of which the lengths of the others are written. It lives in the table of distances until then.
func (r *Reader) readLenCodes() bool {
	for ; r.have < r.lenCodes; r.have++ {
		if !r.need(3) {
			return false
		}
		r.lens[lenOrder[r.have]] = uint8(r.take(3))
	}
	switch build(r.own.dist[:], lenBits, r.lens[:maxLens]) {
	case complete:
	case over:
		return r.fail("code for lengths is over-subscribed")
	default:
		return r.fail("code for lengths is incomplete")
	}
	r.have = 0
	r.state = inLens
	return true
}

// readLens reads the lengths of both codes, which run on from one to the other (§3.2.7).
func (r *Reader) readLens() bool {
	all := r.lens[:r.lits+r.dists]
	for r.have < len(all) {
		if r.count < lenBits+7 {
			r.load()
		}
		e := r.own.dist[r.bits&(1<<lenBits-1)]
		n, symbol := e.bits(), e.symbol()
		if n > r.count {
			return false
		}
		if symbol < 16 {
			r.take(n)
			all[r.have] = uint8(symbol)
			r.have++
			continue
		}
		var value uint8
		times, extra := 3, uint(2)
		switch symbol {
		case 16:
			if r.have == 0 {
				return r.fail("no length to repeat")
			}
			value = all[r.have-1]
		case 17:
			extra = 3
		case 18:
			times, extra = 11, 7
		}
		if n+extra > r.count {
			return false
		}
		times += int(r.bits >> n & (1<<extra - 1))
		if times > len(all)-r.have {
			return r.fail("more lengths than codes")
		}
		r.take(n + extra)
		for range times {
			all[r.have] = value
			r.have++
		}
	}
	return r.begin()
}

// begin builds the codes of a block.
func (r *Reader) begin() bool {
	if r.lens[endOfBlock] == 0 {
		return r.fail("no code for the end of the block")
	}
	// One code alone may be one bit, the other value of which is never sent; there may be no distances at all (§3.2.7).
	switch build(r.own.lit[:], litRoot, r.lens[:r.lits]) {
	case over:
		return r.fail("code for literals and lengths is over-subscribed")
	case incomplete:
		return r.fail("code for literals and lengths is incomplete")
	}
	switch build(r.own.dist[:], distRoot, r.lens[r.lits:r.lits+r.dists]) {
	case over:
		return r.fail("code for distances is over-subscribed")
	case incomplete:
		return r.fail("code for distances is incomplete")
	}
	r.lit, r.dist = &r.own.lit, &r.own.dist
	r.state = inSymbols
	return true
}
