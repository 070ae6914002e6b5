package search

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// Fold appends text in a form in which strings that differ in case only are equal, by Unicode's simple folding
// (RFC 9051 §6.4.4 asks for no less than ASCII). White space within a folded header counts as written.
func Fold(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, c)
			i++
			continue
		}
		dst = utf8.AppendRune(dst, lowest(r))
		i += n
	}
	return dst
}

// lowest is the smallest rune of those that r folds to: upper-case ASCII where there is one.
func lowest(r rune) rune {
	low := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		low = min(low, f)
	}
	return low
}

// FoldReader folds what r gives; size is about how much that is. Errors of r end it early.
func FoldReader(r io.Reader, size int) []byte {
	out := make([]byte, 0, size+64)
	var buf [4 << 10]byte
	held := 0
	for {
		n, err := r.Read(buf[held:])
		held += n
		whole := held
		if err == nil {
			whole = wholeRunes(buf[:held])
		}
		out = Fold(out, buf[:whole])
		held = copy(buf[:], buf[whole:held])
		if err != nil {
			return out
		}
	}
}

// wholeRunes is how much of b does not end within a rune.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				return len(b)
			}
			return i
		}
	}
	return len(b)
}
