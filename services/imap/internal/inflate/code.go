package inflate

import "math/bits"

const (
	maxLits    = 286 // symbols for literals, the end of a block and lengths
	maxDists   = 30
	maxLens    = 19 // symbols for lengths of codes
	maxBits    = 15
	endOfBlock = 256

	litRoot  = 9
	distRoot = 6
	lenBits  = 7 // the longest code for a length
	// The most entries that a first table of so many bits and its second tables come to, over all complete codes of so many
	// symbols and maxBits.
	litEntries  = 852
	distEntries = 592
)

// entry answers to bits: a symbol and how many bits its code has, or, with link set, where in the table those stand that have
// the same first bits, and how many bits tell these apart. 0 bits: there is no such code.
type entry uint16

const link entry = 1 << 15

func (e entry) bits() uint   { return uint(e & 15) }
func (e entry) symbol() uint { return uint(e &^ link >> 4) } // or the place that a link leads to

type (
	litTable  [litEntries]entry
	distTable [distEntries]entry
	codes     struct {
		lit  litTable
		dist distTable
	}
)

// follow looks a code up whose first root bits led to the link e.
func follow(table []entry, root uint, e entry, b uint64) entry {
	return table[uint64(e.symbol())+b>>root&(1<<e.bits()-1)]
}

// fit is how a set of lengths fills the room of all codes.
type fit uint8

const (
	complete fit = iota
	single       // one code of one bit
	none         // no code at all
	incomplete
	over
)

// build fills the table for the code that has these lengths (RFC 1951 §3.2.2), if it is complete, single or none.
func build(table []entry, root uint, lens []uint8) fit {
	var count [maxBits + 1]int
	for _, n := range lens {
		count[n]++
	}
	count[0] = 0
	longest, left := uint(0), 1
	for n := 1; n <= maxBits; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return over
		}
		if count[n] > 0 {
			longest = uint(n)
		}
	}
	result := complete
	switch {
	case longest == 0:
		result = none
	case left > 0 && longest > 1:
		return incomplete
	case left > 0:
		result = single
	}
	if result != complete {
		clear(table[:1<<root])
	}

	// By length, then by symbol: the order of the codes.
	var next [maxBits + 2]int
	for n := 1; n <= maxBits; n++ {
		next[n+1] = next[n] + count[n]
	}
	total := next[maxBits+1]
	var sorted [maxLits + 2]uint16
	for symbol, n := range lens {
		if n > 0 {
			sorted[next[n]] = uint16(symbol)
			next[n]++
		}
	}

	used := 1 << root
	var code, length uint
	var second []entry // the table of the codes that begin like the last
	prefix := uint(1) << root
	for _, symbol := range sorted[:total] {
		n := uint(lens[symbol])
		code <<= n - length
		length = n
		e := entry(symbol)<<4 | entry(n)
		from := uint(bits.Reverse16(uint16(code))) >> (16 - n) // codes come with their first bit lowest (§3.1.1)
		code++
		if n <= root {
			for i := from; i < 1<<root; i += 1 << n {
				table[i] = e
			}
		} else {
			if p := from & (1<<root - 1); p != prefix {
				prefix = p
				width := secondBits(&count, root, n, longest)
				table[p] = link | entry(used)<<4 | entry(width)
				second = table[used : used+1<<width]
				used += 1 << width
			}
			for i := from >> root; i < uint(len(second)); i += 1 << (n - root) {
				second[i] = e
			}
		}
		count[n]--
	}
	return result
}

// secondBits tells how many bits a second table takes whose first code has n; count has the codes not yet placed.
func secondBits(count *[maxBits + 1]int, root, n, longest uint) uint {
	width := n - root
	for left := 1 << width; n < longest; left <<= 1 {
		left -= count[n]
		if left <= 0 {
			break
		}
		n++
		width++
	}
	return width
}

// static are the codes of §3.2.6.
var static = staticCodes()

func staticCodes() *codes {
	var lens [288]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	c := new(codes)
	build(c.lit[:], litRoot, lens[:])
	for i := range 32 {
		lens[i] = 5
	}
	build(c.dist[:], distRoot, lens[:32])
	return c
}
