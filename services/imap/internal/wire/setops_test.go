package wire

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestSetOperations compares with what the same does number by number, at the ends of what numbers there are.
func TestSetOperations(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const top = 1<<32 - 1
	random := func(base uint32) (s Set, has map[uint32]bool) {
		has = map[uint32]bool{}
		for range rnd.IntN(5) {
			first := base + uint32(rnd.IntN(30))
			last := min(first+uint32(rnd.IntN(6)), base+39)
			s = append(s, Range{first, last})
			for n := first; n <= last && n >= first; n++ {
				has[n] = true
				if n == top {
					break
				}
			}
		}
		return s.Join(), has
	}
	of := func(base uint32, in func(uint32) bool) (s Set) {
		for i := range uint32(40) {
			if in(base + i) {
				s = s.Add(base + i)
			}
		}
		return s
	}
	for range 5000 {
		base := uint32(1)
		if rnd.IntN(2) == 0 {
			base = top - 39
		}
		a, inA := random(base)
		b, inB := random(base)
		if got, want := a.Intersect(b), of(base, func(n uint32) bool { return inA[n] && inB[n] }); !same(got, want) {
			t.Fatalf("%v and %v share %v, want %v", a, b, got, want)
		}
		if got, want := a.Less(b), of(base, func(n uint32) bool { return inA[n] && !inB[n] }); !same(got, want) {
			t.Fatalf("%v less %v is %v, want %v", a, b, got, want)
		}
		lo := uint64(1 + rnd.IntN(12))
		hi := lo + uint64(rnd.IntN(12))
		k := uint64(0)
		want := of(base, func(n uint32) bool {
			if inA[n] {
				k++
			}
			return inA[n] && k >= lo && k <= hi
		})
		if got := a.Slice(lo, hi); !same(got, want) {
			t.Fatalf("%v from %d to %d is %v, want %v", a, lo, hi, got, want)
		}
	}
}

func same(a, b Set) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a.Join(), b.Join())
}
