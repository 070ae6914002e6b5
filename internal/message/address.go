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
