package searchtext

import "bytes"

// StemsMax bounds the words of one key, each of which is looked for.
const StemsMax = 20

// Stems are the stems of the words of a folded text, each once, StemsMax at most.
func Stems(text []byte) [][]byte {
	var out [][]byte
	EachWord(text, func(w []byte) bool {
		w = Stem(w)
		for _, have := range out {
			if bytes.Equal(have, w) {
				return true
			}
		}
		out = append(out, w)
		return len(out) < StemsMax
	})
	return out
}

// HasStems tells whether a folded text has words of all stems.
func HasStems(text []byte, stems [][]byte) bool {
	var found uint32
	return hasStems(text, stems, &found)
}

// hasStems goes on looking: found has a bit for each stem that the text had before.
func hasStems(text []byte, stems [][]byte, found *uint32) bool {
	all := uint32(1)<<len(stems) - 1
	EachWord(text, func(w []byte) bool {
		for i, s := range stems {
			if *found&(1<<i) == 0 && bytes.HasPrefix(w, s[:min(len(s), 1)]) && bytes.Equal(Stem(w), s) {
				*found |= 1 << i
			}
		}
		return *found != all
	})
	return *found == all
}

// EachWord calls f with runs of letters, digits and anything beyond ASCII, until it returns false.
func EachWord(text []byte, f func([]byte) bool) {
	for i := 0; i < len(text); {
		if !isWord(text[i]) {
			i++
			continue
		}
		begin := i
		for i < len(text) && isWord(text[i]) {
			i++
		}
		if !f(text[begin:i]) {
			return
		}
	}
}

func isWord(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 || c >= 'a' && c <= 'z'
}

// Stem takes the commonest endings of English off a folded word. Words of other tongues mostly stay as they are.
func Stem(w []byte) []byte {
	cut := func(ending string, left int) bool {
		rest, ok := bytes.CutSuffix(w, []byte(ending))
		if ok && len(rest) >= left {
			w = rest
			return true
		}
		return false
	}
	if !cut("SSES", 3) && !bytes.HasSuffix(w, []byte("SS")) && !bytes.HasSuffix(w, []byte("US")) {
		cut("S", 3)
	}
	if cut("ING", 3) || cut("ED", 3) {
		if n := len(w); n > 3 && w[n-1] == w[n-2] && w[n-1] != 'L' && w[n-1] != 'S' {
			w = w[:n-1]
		}
	}
	cut("LY", 4)
	cut("E", 3)
	return w
}
