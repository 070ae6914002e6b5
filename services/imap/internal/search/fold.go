package search

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/message"
)

// Fold appends text in a form in which strings that differ in case only are equal, by Unicode's simple folding
// (RFC 9051 §6.4.4 asks for no less than ASCII). White space within a folded header counts as written.
func Fold(dst, text []byte) []byte {
	// Nothing gets longer: the lowest rune of an orbit has the shortest form.
	begin := len(dst)
	dst = slices.Grow(dst, len(text))
	out := dst[begin : begin+len(text)]
	k := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c-'a' < 26 {
				c -= 'a' - 'A'
			}
			out[k] = c
			k++
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			out[k] = c
			k++
		} else {
			k += utf8.EncodeRune(out[k:], lowest(r))
		}
		i += n
	}
	return dst[:begin+k]
}

// lowest is the smallest rune of those that r folds to: upper-case ASCII where there is one.
func lowest(r rune) rune {
	low := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		low = min(low, f)
	}
	return low
}

var buffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// FoldReader appends what r gives, folded. Errors of r end it early.
func FoldReader(dst []byte, r io.Reader) []byte {
	buf := buffers.Get().(*[8 << 10]byte)
	defer buffers.Put(buf)
	held := 0
	for {
		n, err := r.Read(buf[held:])
		held += n
		whole := held
		if err == nil {
			whole = wholeRunes(buf[:held])
		}
		dst = Fold(dst, buf[:whole])
		held = copy(buf[:], buf[whole:held])
		if err != nil {
			return dst
		}
	}
}

// FoldValue appends a header field's value, unfolded, decoded and folded. A plain one, which most are, costs no more than its
// octets.
func FoldValue(dst, value []byte) []byte {
	if bytes.Contains(value, []byte("=?")) || bytes.IndexByte(value, '\n') < len(value)-1 && bytes.IndexByte(value, '\n') >= 0 || !utf8.Valid(value) {
		return Fold(dst, []byte(message.DecodeValue(value)))
	}
	return Fold(dst, bytes.TrimSpace(value))
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
