package message

import "bytes"

// Address is one mailbox of an address field (RFC 5322 §3.4).
type Address struct {
	// Name is the display name, decoded (RFC 2047).
	Name string
	// Mailbox is the local-part without quotes, Host the domain; either is empty where it is missing.
	Mailbox, Host string
}

// Addresses reads the mailboxes of an address field's value, folded or not; those of groups too. At most limit of them.
func Addresses(value []byte, limit int) []Address {
	var list []Address
	var p addressParser
	p.reset(value)
	for len(list) < limit && p.next() {
		if p.kind == kindMailbox {
			list = append(list, Address{
				Name: DecodeWords(string(p.name)), Mailbox: string(p.local), Host: string(p.domain),
			})
		}
	}
	return list
}

type addressKind uint8

const (
	kindMailbox addressKind = iota
	kindGroup               // name begins a group
	kindGroupEnd
)

// addressParser reads an address list as RFC 5322 §3.4 and §4.4 have it, and makes the best of what is neither. Its slices
// are valid until the next call.
type addressParser struct {
	kind    addressKind
	hasName bool
	name    []byte // the display name, or the group's
	route   []byte // the source route of old: "@a,@b"
	local   []byte
	domain  []byte

	s         []byte
	i         int
	lastAngle int // where the last '>' is
	inGroup   bool
	comment   []byte
}

// reset begins a value.
func (p *addressParser) reset(value []byte) {
	p.s, p.i, p.inGroup = value, 0, false
	p.lastAngle = bytes.LastIndexByte(value, '>')
}

// next moves to the next address, or to a group's begin or end; false at the end.
func (p *addressParser) next() bool {
	p.hasName = false
	p.name, p.route, p.local, p.domain, p.comment = p.name[:0], p.route[:0], p.local[:0], p.domain[:0], p.comment[:0]
	for {
		p.skip()
		if p.i == len(p.s) {
			if p.inGroup {
				p.inGroup, p.kind = false, kindGroupEnd
				return true
			}
			return false
		}
		switch c := p.s[p.i]; {
		case c == ';' && p.inGroup:
			p.i++
			p.inGroup, p.kind = false, kindGroupEnd
			return true
		case c == ',' || c == ';':
			p.i++
			p.comment = p.comment[:0]
			continue
		}
		switch p.look() {
		case '<':
			p.phrase('<')
			p.angle()
		case ':':
			p.phrase(':')
			p.i++
			p.inGroup, p.kind = true, kindGroup
			return true
		default:
			p.bare()
		}
		p.rest()
		p.kind = kindMailbox
		if len(p.name) == 0 && len(p.comment) > 0 {
			p.name, p.hasName = append(p.name, p.comment...), true
		}
		return true
	}
}

// look tells what the next address is by the first octet that decides: '<', ':' of a group, or 0.
func (p *addressParser) look() byte {
	at := false
	for i := p.i; i < len(p.s); {
		switch c := p.s[i]; c {
		case '"':
			i = skipQuoted(p.s, i)
		case '(':
			i = skipComment(p.s, i)
		case '[':
			i = skipLiteral(p.s, i)
		case '<':
			return '<'
		case ',', ';':
			return 0
		case ':':
			if !p.inGroup && !at {
				return ':'
			}
			i++
		case '@':
			at = true
			i++
		default:
			i++
		}
	}
	return 0
}

func skipQuoted(s []byte, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// skipLiteral gives the position behind the domain literal at i, which no sound one makes longer than 255 octets.
func skipLiteral(s []byte, i int) int {
	if j := bytes.IndexByte(s[i:min(len(s), i+255)], ']'); j >= 0 {
		return i + j + 1
	}
	return i + 1
}

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

// groupEnd ends a group in a list of addresses (RFC 9051 §7.5.2).
const groupEnd = "(NIL NIL NIL NIL)"

// appendTo renders the address as IMAP's (name route mailbox host).
func (p *addressParser) appendTo(dst []byte) []byte {
	switch p.kind {
	case kindGroup:
		dst = append(dst, "(NIL NIL "...)
		return append(appendString(dst, p.name), " NIL)"...)
	case kindGroupEnd:
		return append(dst, groupEnd...)
	}
	dst = append(dst, '(')
	dst = appendNString(dst, p.name, p.hasName)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.route, len(p.route) > 0)
	dst = append(dst, ' ')
	dst = appendOr(dst, p.local, missingMailbox)
	dst = append(dst, ' ')
	dst = appendOr(dst, p.domain, missingDomain)
	return append(dst, ')')
}

func appendOr(dst, s []byte, missing string) []byte {
	if len(s) == 0 {
		return appendString(dst, []byte(missing))
	}
	return appendString(dst, s)
}
