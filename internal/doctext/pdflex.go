package doctext

import (
	"bytes"
	"strconv"
)

// lexer reads objects and operators (ISO 32000 §7.2, §7.3).
type lexer struct {
	b  []byte
	at int
	// nodes, where it is set, is how many objects may still be kept.
	nodes *int
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

func (l *lexer) skipBlanks() {
	for l.at < len(l.b) {
		switch c := l.b[l.at]; {
		case isBlank(c):
			l.at++
		case c == '%':
			for l.at < len(l.b) && l.b[l.at] != '\n' && l.b[l.at] != '\r' {
				l.at++
			}
		default:
			return
		}
	}
}

// next reads one object; nil at the end.
func (l *lexer) next(depth int) object {
	l.skipBlanks()
	if l.nodes != nil {
		*l.nodes--
	}
	if l.at >= len(l.b) || depth > depthMax || l.nodes != nil && *l.nodes < 0 {
		l.at = len(l.b)
		return nil
	}
	switch c := l.b[l.at]; {
	case c == '(':
		return l.literal()
	case c == '<' && l.at+1 < len(l.b) && l.b[l.at+1] == '<':
		l.at += 2
		return l.dict(depth)
	case c == '<':
		return l.hex()
	case c == '/':
		l.at++
		return name(l.regular())
	case c == '[':
		l.at++
		return l.array(depth)
	case c == '>' && l.at+1 < len(l.b) && l.b[l.at+1] == '>':
		l.at += 2
		return operator(">>")
	case isDelimiter(c):
		l.at++
		return operator(c)
	}
	return l.number(l.regular())
}

// regular reads up to the next blank or delimiter.
func (l *lexer) regular() string {
	begin := l.at
	for l.at < len(l.b) && !isBlank(l.b[l.at]) && !isDelimiter(l.b[l.at]) {
		l.at++
	}
	return string(l.b[begin:l.at])
}

// number is a word as a number, a reference, or an operator.
func (l *lexer) number(word string) object {
	n, err := strconv.ParseFloat(word, 64)
	if err != nil || n != n || n > 1<<40 || n < -1<<40 {
		return operator(word)
	}
	// "12 0 R"
	save := l.at
	l.skipBlanks()
	generation := l.regular()
	if _, err := strconv.ParseUint(generation, 10, 16); err == nil {
		l.skipBlanks()
		if l.at < len(l.b) && l.b[l.at] == 'R' && (l.at+1 == len(l.b) || isBlank(l.b[l.at+1]) || isDelimiter(l.b[l.at+1])) {
			l.at++
			return ref(n)
		}
	}
	l.at = save
	return n
}

func (l *lexer) array(depth int) object {
	var list []object
	for len(list) < elementsMax {
		o := l.next(depth + 1)
		if o == nil && l.at >= len(l.b) || o == operator("]") {
			break
		}
		list = append(list, o)
	}
	return list
}

func (l *lexer) dict(depth int) object {
	d := dict{}
	for len(d) < elementsMax {
		key := l.next(depth + 1)
		if key == nil && l.at >= len(l.b) || key == operator(">>") {
			break
		}
		k, ok := key.(name)
		if !ok {
			continue
		}
		v := l.next(depth + 1)
		if v == operator(">>") {
			break
		}
		d[k] = v
	}
	return d
}

// literal reads "(…)" with its escapes.
func (l *lexer) literal() object {
	var out []byte
	depth := 0
	for l.at++; l.at < len(l.b); l.at++ {
		switch c := l.b[l.at]; c {
		case '(':
			depth++
			out = append(out, c)
		case ')':
			if depth == 0 {
				l.at++
				return string(out)
			}
			depth--
			out = append(out, c)
		case '\\':
			l.at++
			out = l.escape(out)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// escape reads what follows a backslash, and stays on its last octet.
func (l *lexer) escape(out []byte) []byte {
	if l.at >= len(l.b) {
		return out
	}
	switch c := l.b[l.at]; c {
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'b', 'f', '\n':
		return out
	case '\r':
		if l.at+1 < len(l.b) && l.b[l.at+1] == '\n' {
			l.at++
		}
		return out
	default:
		if c < '0' || c > '7' {
			return append(out, c)
		}
		n := 0
		for i := 0; i < 3 && l.at < len(l.b) && l.b[l.at] >= '0' && l.b[l.at] <= '7'; i++ {
			n = n*8 + int(l.b[l.at]-'0')
			l.at++
		}
		l.at--
		return append(out, byte(n))
	}
}

// hex reads "<…>".
func (l *lexer) hex() object {
	var out []byte
	high, half := byte(0), false
	for l.at++; l.at < len(l.b); l.at++ {
		c := l.b[l.at]
		var v byte
		switch {
		case c == '>':
			l.at++
			if half {
				out = append(out, high<<4)
			}
			return string(out)
		case c >= '0' && c <= '9':
			v = c - '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = (c | 0x20) - 'a' + 10
		default:
			continue
		}
		if half {
			out = append(out, high<<4|v)
		}
		high, half = v, !half
	}
	return string(out)
}
