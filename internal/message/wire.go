package message

import (
	"strconv"
	"strings"
)

// appendString writes a string of IMAP: between quotes where it is short printable ASCII, else as a literal, which also
// peers without UTF8=ACCEPT take (RFC 9051 §4.3).
func appendString(dst, s []byte) []byte { return appendText(dst, s) }

func appendText[T []byte | string](dst []byte, s T) []byte {
	plain := len(s) <= maxQuoted
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f || s[i] == '\t'
	}
	if !plain {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		for i := range len(s) {
			c := s[i]
			if c == 0 {
				c = '?'
			}
			dst = append(dst, c)
		}
		return dst
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendNString writes a string, or NIL where there is none.
func appendNString[T []byte | string](dst []byte, s T, there bool) []byte {
	if !there {
		return append(dst, "NIL"...)
	}
	return appendText(dst, s)
}

// wireReader reads what this package has written. The first fault stays in bad.
type wireReader struct {
	s   string
	i   int
	bad bool
}

func (r *wireReader) fail() { r.bad, r.i = true, len(r.s) }

// take consumes c if it is next.
func (r *wireReader) take(c byte) bool {
	if r.i < len(r.s) && r.s[r.i] == c {
		r.i++
		return true
	}
	return false
}

func (r *wireReader) expect(c byte) {
	if !r.take(c) {
		r.fail()
	}
}

// at tells whether c is next.
func (r *wireReader) at(c byte) bool { return r.i < len(r.s) && r.s[r.i] == c }

// nstring reads a string, or NIL; most need no memory of their own.
func (r *wireReader) nstring() (s string, there bool) {
	switch {
	case strings.HasPrefix(r.s[r.i:], "NIL"):
		r.i += 3
		return "", false
	case r.take('"'):
		start, escaped := r.i, false
		for r.i < len(r.s) {
			switch r.s[r.i] {
			case '\\':
				escaped = true
				r.i++
			case '"':
				s = r.s[start:r.i]
				r.i++
				if escaped {
					s = unescape(s)
				}
				return s, true
			}
			r.i++
		}
	case r.take('{'):
		stop := strings.Index(r.s[r.i:], "}\r\n")
		if stop < 0 {
			break
		}
		n, err := strconv.ParseUint(r.s[r.i:r.i+stop], 10, 31)
		start := r.i + stop + 3
		if err != nil || uint64(len(r.s)-start) < n {
			break
		}
		r.i = start + int(n)
		return r.s[start:r.i], true
	}
	r.fail()
	return "", false
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// number reads digits.
func (r *wireReader) number() int64 {
	start := r.i
	for r.i < len(r.s) && '0' <= r.s[r.i] && r.s[r.i] <= '9' {
		r.i++
	}
	n, err := strconv.ParseInt(r.s[start:r.i], 10, 64)
	if err != nil {
		r.fail()
	}
	return n
}

// skip moves behind one value: a string, NIL, or a list with all that it holds.
func (r *wireReader) skip() (value string) {
	start, depth := r.i, 0
	for {
		switch {
		case r.take('('):
			depth++
		case r.take(')'):
			depth--
		case r.at(' ') && depth > 0:
			r.i++
		case r.i < len(r.s) && '0' <= r.s[r.i] && r.s[r.i] <= '9':
			r.number()
		default:
			r.nstring()
		}
		if r.bad || depth < 0 {
			r.fail()
			return ""
		}
		if depth == 0 {
			return r.s[start:r.i]
		}
	}
}

// envelopeItems takes an envelope apart; false where it is none.
func envelopeItems(envelope string) (items [envItems]string, ok bool) {
	r := wireReader{s: envelope}
	r.expect('(')
	for i := range items {
		if i > 0 {
			r.expect(' ')
		}
		items[i] = r.skip()
	}
	r.expect(')')
	return items, !r.bad
}

// envelopeString is a string item of an envelope; empty where there is none.
func envelopeString(envelope []byte, it envItem) string {
	items, _ := envelopeItems(string(envelope))
	r := wireReader{s: items[it]}
	s, _ := r.nstring()
	return s
}
