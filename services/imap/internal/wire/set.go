package wire

import (
	"slices"
	"strconv"
)

// Star is "*" in a Range: the largest number in use.
const Star = 0

// Range is an inclusive range of sequence numbers or UIDs; either end may be Star, and First may be above Last until the
// set is resolved.
type Range struct {
	First, Last uint32
}

// Set is a sequence set as it was written (RFC 9051 §9 sequence-set). It is never expanded: 1:4294967295 is one Range.
type Set []Range

// Set reads a sequence set; "$" (RFC 9051 §6.4.4.4) is an empty one, and true.
func (l *Lexer) Set() (set Set, saved bool) {
	if l.Accept('$') {
		return nil, true
	}
	for l.err == nil {
		r := Range{First: l.setNumber()}
		r.Last = r.First
		if l.Accept(':') {
			r.Last = l.setNumber()
		}
		set = append(set, r)
		if !l.Accept(',') {
			break
		}
	}
	if l.err != nil {
		return nil, false
	}
	return set, false
}

func (l *Lexer) setNumber() uint32 {
	if l.Accept('*') {
		return Star
	}
	n := l.Number()
	if n == 0 && l.err == nil {
		l.Fail("0 in a set")
	}
	return n
}

// Resolve puts largest for Star, orders the set and joins what touches. largest 0 (nothing there) drops what is only Star.
func (s Set) Resolve(largest uint32) Set {
	out := make(Set, 0, len(s))
	for _, r := range s {
		if r.First == Star {
			r.First = largest
		}
		if r.Last == Star {
			r.Last = largest
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		if r.Last == 0 {
			continue
		}
		if r.First == 0 {
			// n:* of nothing is n alone, which is not there either.
			r.First = r.Last
		}
		out = append(out, r)
	}
	return out.Join()
}

// Join orders resolved ranges and joins those that overlap or touch.
func (s Set) Join() Set {
	sorted := true
	for i := 1; i < len(s); i++ {
		if s[i].First <= s[i-1].Last || s[i].First-1 == s[i-1].Last {
			sorted = false
			break
		}
	}
	if sorted {
		return s
	}
	slices.SortFunc(s, func(a, b Range) int {
		if a.First < b.First {
			return -1
		}
		if a.First > b.First {
			return 1
		}
		return 0
	})
	out := s[:1]
	for _, r := range s[1:] {
		last := &out[len(out)-1]
		if r.First <= last.Last || r.First-1 == last.Last {
			last.Last = max(last.Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Add appends n to a set being built in ascending order.
func (s Set) Add(n uint32) Set {
	if k := len(s); k > 0 && s[k-1].Last == n-1 {
		s[k-1].Last = n
		return s
	}
	return append(s, Range{n, n})
}

// AddRange appends a range to a set being built in ascending order.
func (s Set) AddRange(first, last uint32) Set {
	if k := len(s); k > 0 && s[k-1].Last == first-1 {
		s[k-1].Last = last
		return s
	}
	return append(s, Range{first, last})
}

// Contains tells whether a resolved set holds n.
func (s Set) Contains(n uint32) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := (lo + hi) / 2
		if s[mid].Last < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s) && s[lo].First <= n
}

// Count is how many numbers a resolved set holds.
func (s Set) Count() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// AppendSet writes a resolved set.
func AppendSet(b []byte, s Set) []byte {
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return b
}
