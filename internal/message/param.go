package message

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// paramScanner reads "value; name=value; …" (RFC 2045 §5.1), unfolded, and takes what mailers make of it.
type paramScanner struct {
	s       []byte
	i       int
	unquote []byte
}

// skip skips blanks and comments.
func (s *paramScanner) skip() {
	for s.i < len(s.s) {
		switch s.s[s.i] {
		case ' ', '\t':
			s.i++
		case '(':
			s.i = skipComment(s.s, s.i)
		default:
			return
		}
	}
}

// skipComment gives the position behind the comment at i, or the end where it does not close.
func skipComment(s []byte, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// token reads octets up to a separator; it may be empty.
func (s *paramScanner) token() []byte {
	s.skip()
	start := s.i
	for s.i < len(s.s) && bytes.IndexByte([]byte(" \t;=,/\"("), s.s[s.i]) < 0 {
		s.i++
	}
	return s.s[start:s.i]
}

func firstToken(value []byte) []byte {
	s := paramScanner{s: value}
	return s.token()
}

// skipTo moves behind the next c; false at the end.
func (s *paramScanner) skipTo(c byte) bool {
	i := bytes.IndexByte(s.s[s.i:], c)
	if i < 0 {
		s.i = len(s.s)
		return false
	}
	s.i += i + 1
	return true
}

// mediaType reads "type/subtype".
func (s *paramScanner) mediaType() (typ, subtype []byte, ok bool) {
	typ = s.token()
	s.skip()
	if s.i == len(s.s) || s.s[s.i] != '/' {
		return nil, nil, false
	}
	s.i++
	subtype = s.token()
	return typ, subtype, len(typ) > 0 && len(subtype) > 0 && len(typ) <= maxType && len(subtype) <= maxType &&
		isASCII(typ) && isASCII(subtype)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// param reads the next parameter; what it returns is valid until the next call. Semicolons may be missing or too many.
func (s *paramScanner) param() (name, value []byte, ok bool) {
	for {
		s.skip()
		if s.i == len(s.s) {
			return nil, nil, false
		}
		name = s.token()
		s.skip()
		if s.i == len(s.s) {
			return nil, nil, false
		}
		if s.s[s.i] != '=' || len(name) == 0 {
			if s.s[s.i] == '"' {
				s.quoted()
			} else {
				s.i++
			}
			continue
		}
		s.i++
		s.skip()
		if s.i < len(s.s) && s.s[s.i] == '"' {
			return name, s.quoted(), true
		}
		return name, s.bare(), true
	}
}

// quoted reads a quoted string, or what there is of it.
func (s *paramScanner) quoted() []byte {
	s.unquote, s.i = unquote(s.unquote[:0], s.s, s.i)
	return s.unquote
}

// unquote appends the content of the quoted string at i and gives the position behind it.
func unquote(dst, s []byte, i int) ([]byte, int) {
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return dst, i + 1
		case c == '\\' && i+1 < len(s):
			i++
			dst = append(dst, s[i])
		default:
			dst = append(dst, c)
		}
	}
	return dst, i
}

// bare reads a value without quotes. QUIRK: mailers of all makes leave them out around names with blanks and specials: the
// value goes on until a semicolon, a comment, or what looks like the next parameter.
func (s *paramScanner) bare() []byte {
	start, stop := s.i, s.i
	for s.i < len(s.s) {
		for s.i < len(s.s) && s.s[s.i] != ';' && s.s[s.i] != ' ' && s.s[s.i] != '\t' {
			s.i++
		}
		stop = s.i
		for s.i < len(s.s) && (s.s[s.i] == ' ' || s.s[s.i] == '\t') {
			s.i++
		}
		if s.i == len(s.s) || s.s[s.i] == ';' || s.s[s.i] == '(' || s.atParam() {
			break
		}
	}
	return s.s[start:stop]
}

// atParam tells whether "name=" comes next.
func (s *paramScanner) atParam() bool {
	for i := s.i; i < len(s.s); i++ {
		switch s.s[i] {
		case '=':
			return i > s.i
		case ' ', '\t', ';', '"', '(':
			return false
		}
	}
	return false
}

// section is what the name of a continued parameter tells: "name*12*".
type section struct {
	base    string
	n       int
	encoded bool
	ok      bool
}

func splitSection(s string) section {
	base, rest, found := strings.Cut(s, "*")
	if !found || base == "" || rest == "" {
		return section{}
	}
	number, encoded := strings.CutSuffix(rest, "*")
	n, err := strconv.ParseUint(number, 10, 16)
	return section{base: base, n: int(n), encoded: encoded, ok: err == nil && n < MaxParams}
}

// joinContinued joins continuations (RFC 2231 §3, §4.1), in the place of the first of each; list has at most MaxParams. A
// value of which any section has a charset or percent signs gets all of it in that form, and a name that ends with "*".
func joinContinued(list []Param) []Param {
	var sections [MaxParams]section
	for i, q := range list {
		sections[i] = splitSection(q.Name)
	}
	out := make([]Param, 0, len(list))
	for i, q := range list {
		s := sections[i]
		if !s.ok {
			out = append(out, q)
			continue
		}
		earlier := func(t section) bool { return t.ok && t.base == s.base }
		if !slices.ContainsFunc(sections[:i], earlier) {
			out = append(out, joinSections(list, sections[:], s.base))
		}
	}
	return out
}

// joinSections joins the sections of base, from 0 up to the first that is missing.
func joinSections(list []Param, sections []section, base string) Param {
	var at [MaxParams + 1]int // the n-th section's place in list, from 1
	for i := range list {
		if s := sections[i]; s.ok && s.base == base && at[s.n] == 0 {
			at[s.n] = i + 1
		}
	}
	anyEncoded := false
	for n := 0; at[n] > 0; n++ {
		anyEncoded = anyEncoded || sections[at[n]-1].encoded
	}
	var value []byte
	if anyEncoded && !(at[0] > 0 && sections[at[0]-1].encoded) {
		value = append(value, "''"...)
	}
	for n := 0; at[n] > 0; n++ {
		i := at[n] - 1
		if anyEncoded && !sections[i].encoded {
			value = appendPercent(value, list[i].Value)
		} else {
			value = append(value, list[i].Value...)
		}
	}
	if anyEncoded {
		base += "*"
	}
	return Param{Name: base, Value: string(value)}
}

// appendPercent writes the octets that RFC 2231 §7 does not allow as they are, percent-encoded.
func appendPercent(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("*'%()<>@,;:\\\"/[]?=", c) >= 0 {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
