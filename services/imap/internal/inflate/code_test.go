package inflate

import (
	"math/bits"
	"math/rand/v2"
	"testing"
)

// TestBuild builds tables for random complete codes, up to the deepest, and looks each code up.
func TestBuild(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for round := range 3000 {
		table, root, symbols := make([]entry, litEntries), uint(litRoot), maxLits
		if round%2 == 0 {
			table, root, symbols = make([]entry, distEntries), distRoot, maxDists
		}
		// A complete code: from two of one bit, one is split into two again and again, the later ones rather.
		lens := []uint8{1, 1}
		for n := 2 + rnd.IntN(symbols-1); len(lens) < n; {
			i := len(lens) - 1 - min(rnd.IntN(len(lens)), rnd.IntN(1+round%40))
			if lens[i] < maxBits {
				lens[i]++
				lens = append(lens, lens[i])
			} else {
				lens[0], lens[i] = lens[i], lens[0]
				rnd.Shuffle(len(lens), func(i, j int) { lens[i], lens[j] = lens[j], lens[i] })
			}
		}
		lens = append(lens, make([]uint8, symbols-len(lens))...)
		rnd.Shuffle(len(lens), func(i, j int) { lens[i], lens[j] = lens[j], lens[i] })
		if got := build(table, root, lens); got != complete {
			t.Fatalf("%v: %d", lens, got)
		}
		code := 0
		for n := 1; n <= maxBits; n++ {
			for symbol, l := range lens {
				if int(l) != n {
					continue
				}
				b := uint64(bits.Reverse16(uint16(code))>>(16-n)) | rnd.Uint64()<<n
				e := table[b&(1<<root-1)]
				if e&link != 0 {
					e = follow(table, root, e, b)
				}
				if e.bits() != uint(n) || e.symbol() != uint(symbol) {
					t.Fatalf("%v: code %0*b is symbol %d of %d bits, want %d", lens, n, code, e.symbol(), e.bits(), symbol)
				}
				code++
			}
			code <<= 1
		}
	}
}
