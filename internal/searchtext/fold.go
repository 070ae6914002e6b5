package searchtext

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/mailfarm/mailfarm/internal/message"
)

// Fold appends text in the canonical form of i;unicode-casemap (RFC 5051 §2), which SEARCH, SORT and THREAD compare by
// (RFC 5255 §4.2): every rune becomes its titlecase and that is decomposed, canonically and for compatibility. Strings that
// the collation takes for equal are equal octets, and order and substrings are those of the octets. White space counts as
// written. Octets that are no UTF-8 stand for themselves.
func Fold(dst, text []byte) []byte {
	dst = slices.Grow(dst, len(text))
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c-'a' < 26 {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, c)
		} else {
			dst = foldRune(dst, r)
		}
		i += n
	}
	return dst
}

// foldRune folds one rune that is not ASCII.
func foldRune(dst []byte, r rune) []byte {
	var room [utf8.UTFMax]byte
	title := room[:utf8.EncodeRune(room[:], unicode.ToTitle(r))]
	if d := norm.NFKD.Properties(title).Decomposition(); d != nil {
		return append(dst, d...)
	}
	return append(dst, title...)
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
			whole = WholeRunes(buf[:held])
		}
		dst = Fold(dst, buf[:whole])
		held = copy(buf[:], buf[whole:held])
		if err != nil {
			return dst
		}
	}
}

// FoldValue appends a header field's value, unfolded, without blanks around it, decoded and folded. A plain one, which most
// are, costs no more than its octets.
func FoldValue(dst, value []byte) []byte {
	value = bytes.TrimSpace(value)
	if bytes.ContainsAny(value, "\n\x00") {
		value = unfold(value)
	}
	if bytes.Contains(value, []byte("=?")) || !utf8.Valid(value) {
		return Fold(dst, []byte(message.DecodeWords(string(value))))
	}
	return Fold(dst, value)
}

// unfold gives a value on one line (RFC 5322 §2.2.3). NUL, which IMAP cannot say, is "?".
func unfold(value []byte) []byte {
	out := make([]byte, 0, len(value))
	for _, c := range value {
		switch c {
		case '\r', '\n':
			continue
		case 0:
			c = '?'
		}
		out = append(out, c)
	}
	return out
}

// FoldBlanks appends the blanks that a field's value begins with, which TEXT may look for (RFC 9051 §6.4.4).
func FoldBlanks(dst, value []byte) []byte {
	for _, c := range value {
		switch c {
		case ' ', '\t':
			dst = append(dst, c)
		case '\r', '\n':
		default:
			return dst
		}
	}
	return dst
}

// WholeRunes is how much of b does not end within a rune.
func WholeRunes(b []byte) int {
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
