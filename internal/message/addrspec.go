package message

import "bytes"

// skip skips blanks and comments, of which it keeps the last.
func (p *addressParser) skip() {
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case isBlank(c):
			p.i++
		case c == '(':
			stop := skipComment(p.s, p.i)
			p.comment = appendComment(p.comment[:0], p.s[p.i:stop])
			p.i = stop
		default:
			return
		}
	}
}

// appendComment appends what is within a comment's parentheses, on one line.
func appendComment(dst, s []byte) []byte {
	s = bytes.TrimSuffix(s[1:], []byte{')'})
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		dst = appendOctet(dst, s[i])
	}
	return bytes.TrimSpace(dst)
}

// appendOctet leaves out line ends, and writes "?" for NUL.
func appendOctet(dst []byte, c byte) []byte {
	switch c {
	case '\r', '\n':
		return dst
	case 0:
		c = '?'
	}
	return append(dst, c)
}

// phrase reads a display name up to stop, which look has found: words with one blank where there are some (RFC 5322 §3.2.5), and specials that
// should have been quoted.
func (p *addressParser) phrase(stop byte) {
	for {
		before := p.i
		p.skip()
		if p.i == len(p.s) || p.s[p.i] == stop {
			break
		}
		if p.i > before && len(p.name) > 0 {
			p.name = append(p.name, ' ')
		}
		p.hasName = true
		switch p.s[p.i] {
		case '"':
			p.name, p.i = appendUnquoted(p.name, p.s, p.i)
		case '[': // as look does, which has found stop
			from := p.i
			p.i = skipLiteral(p.s, p.i)
			for _, c := range p.s[from:p.i] {
				p.name = appendOctet(p.name, c)
			}
		default:
			p.name = appendOctet(p.name, p.s[p.i])
			p.i++
		}
	}
}

// appendUnquoted is unquote without line ends and NUL.
func appendUnquoted(dst, s []byte, i int) ([]byte, int) {
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return dst, i + 1
		case c == '\\' && i+1 < len(s):
			i++
			dst = appendOctet(dst, s[i])
		default:
			dst = appendOctet(dst, c)
		}
	}
	return dst, len(s)
}

// angle reads "<route:local-part@domain>".
func (p *addressParser) angle() {
	p.i++ // <
	p.skip()
	if p.i > p.lastAngle {
		p.addrSpec(',') // the bracket is never closed
		return
	}
	if p.s[p.i] == '@' || p.s[p.i] == ',' {
		p.sourceRoute()
	}
	p.addrSpec('>')
	if p.i < len(p.s) && p.s[p.i] == '>' {
		p.i++
	}
}

// sourceRoute reads "@a,@b:" (RFC 5322 §4.4); without the colon nothing is one.
func (p *addressParser) sourceRoute() {
	colon := bytes.IndexAny(p.s[p.i:], ":>\"")
	if colon < 0 || p.s[p.i+colon] != ':' {
		return
	}
	for _, c := range p.s[p.i : p.i+colon] {
		if !isBlank(c) {
			p.route = appendOctet(p.route, c)
		}
	}
	p.i += colon + 1
}

// addrSpec reads "local-part@domain" up to stop, where ',' stands for ';' too, or to a comma that no domain has. With more than one "@" the last one counts.
func (p *addressParser) addrSpec(stop byte) {
	seenAt := false
	for {
		p.skip()
		if p.i == len(p.s) {
			return
		}
		c := p.s[p.i]
		switch {
		case c == stop || c == ',' && seenAt || c == ';' && stop == ',':
			return
		case c == '@':
			if seenAt {
				p.local = append(append(p.local, '@'), p.domain...)
				p.domain = p.domain[:0]
			}
			seenAt = true
			p.i++
		case seenAt && c == '[':
			j := skipLiteral(p.s, p.i)
			for _, c := range p.s[p.i:j] {
				p.domain = appendOctet(p.domain, c)
			}
			p.i = j
		case seenAt:
			p.domain = appendOctet(p.domain, c)
			p.i++
		case c == '"':
			p.local, p.i = appendUnquoted(p.local, p.s, p.i)
		default:
			p.local = appendOctet(p.local, c)
			p.i++
		}
	}
}

// bare reads an address without angle brackets. QUIRK: "Name local@domain", brackets forgotten, is taken as meant.
func (p *addressParser) bare() {
	afterDot := true
	for {
		before := p.i
		p.skip()
		if p.i == len(p.s) || p.s[p.i] == ',' || p.s[p.i] == ';' {
			p.noDomain()
			return
		}
		c := p.s[p.i]
		if p.i > before && !afterDot && c != '.' && c != '@' && len(p.local) > 0 {
			if len(p.name) > 0 {
				p.name = append(p.name, ' ')
			}
			p.name, p.hasName = append(p.name, p.local...), true
			p.local = p.local[:0]
		}
		switch c {
		case '@':
			p.addrSpec(',')
			return
		case '"':
			p.local, p.i = appendUnquoted(p.local, p.s, p.i)
		default:
			p.local = appendOctet(p.local, c)
			p.i++
		}
		afterDot = c == '.'
	}
}

// noDomain takes all words before a missing "@" as the local-part.
func (p *addressParser) noDomain() {
	if len(p.name) > 0 {
		p.name = append(append(p.name, ' '), p.local...)
		p.local = append(p.local[:0], p.name...)
		p.name, p.hasName = p.name[:0], false
	}
}

// rest skips what is left of an address.
func (p *addressParser) rest() {
	for {
		p.skip()
		if p.i == len(p.s) {
			return
		}
		switch p.s[p.i] {
		case ',':
			p.i++
			return
		case ';':
			if !p.inGroup {
				p.i++
			}
			return
		case '"':
			p.i = skipQuoted(p.s, p.i)
		default:
			p.i++
		}
	}
}
