package search

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/message"
)

// slot is a place in ENVELOPE (RFC 9051 §7.5.2).
type slot uint8

const (
	noSlot slot = iota
	slotDate
	slotSubject
	slotFrom
	slotSender
	slotReplyTo
	slotTo
	slotCc
	slotBcc
	slotInReplyTo
	slotMessageID
)

// slots are the fields whose text ENVELOPE has as it was written: HEADER of them reads no body. Addresses are not among
// them, which ENVELOPE has taken apart.
var slots = map[string]slot{
	"subject": slotSubject, "in-reply-to": slotInReplyTo, "message-id": slotMessageID,
}

// appendSlot appends a place of ENVELOPE, folded: a string, decoded, or addresses as "Name <local@domain>".
func appendSlot(dst, envelope []byte, want slot) []byte {
	t := tokens{b: envelope}
	if t.next() != '(' {
		return dst
	}
	for at := slotDate; ; at++ {
		switch c := t.next(); c {
		case '(':
			if at == want {
				return appendAddresses(dst, &t)
			}
			t.skip()
		case 's', 'n':
			if at == want {
				return appendDecoded(dst, t.text)
			}
		default:
			return dst
		}
	}
}

// appendDecoded appends a header value, decoded and folded.
func appendDecoded(dst, value []byte) []byte {
	if bytes.Contains(value, []byte("=?")) {
		return Fold(dst, []byte(message.DecodeWords(string(value))))
	}
	return Fold(dst, value)
}

// appendAddresses appends a list of addresses whose parenthesis was read.
func appendAddresses(dst []byte, t *tokens) []byte {
	for t.next() == '(' {
		var host bool
		for i := 0; i < 4; i++ {
			switch c := t.next(); c {
			case 's':
				switch i {
				case 0:
					dst = append(appendDecoded(dst, t.text), ' ')
				case 2:
					dst = Fold(append(dst, '<'), t.text)
				case 3:
					host = true
					dst = Fold(append(dst, '@'), t.text)
				}
			case 'n':
			default:
				return dst
			}
		}
		if host {
			dst = append(dst, '>')
		}
		dst = append(dst, ',', ' ')
		if t.next() != ')' {
			return dst
		}
	}
	return dst
}

// tokens reads the form in which ENVELOPE is sent: parentheses, NIL and strings.
type tokens struct {
	b    []byte
	text []byte
	own  []byte
}

// next is '(', ')', 's' for a string, which text is, 'n' for NIL; 0 at the end and for what is none of these.
func (t *tokens) next() byte {
	for len(t.b) > 0 && t.b[0] == ' ' {
		t.b = t.b[1:]
	}
	if len(t.b) == 0 {
		return 0
	}
	switch c := t.b[0]; c {
	case '(', ')':
		t.b = t.b[1:]
		return c
	case '"':
		return t.quoted()
	case '{':
		return t.literal()
	}
	if bytes.HasPrefix(t.b, []byte("NIL")) {
		t.b, t.text = t.b[3:], nil
		return 'n'
	}
	t.b = nil
	return 0
}

func (t *tokens) quoted() byte {
	escaped := false
	for i := 1; i < len(t.b); i++ {
		switch t.b[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			t.text = t.b[1:i]
			t.b = t.b[i+1:]
			if escaped {
				t.unescape()
			}
			return 's'
		}
	}
	t.b = nil
	return 0
}

func (t *tokens) unescape() {
	t.own = t.own[:0]
	for i := 0; i < len(t.text); i++ {
		if t.text[i] == '\\' && i+1 < len(t.text) {
			i++
		}
		t.own = append(t.own, t.text[i])
	}
	t.text = t.own
}

func (t *tokens) literal() byte {
	n, i := 0, 1
	for ; i < len(t.b) && t.b[i] >= '0' && t.b[i] <= '9' && n < 1<<30; i++ {
		n = n*10 + int(t.b[i]-'0')
	}
	rest, ok := bytes.CutPrefix(t.b[i:], []byte("}\r\n"))
	if !ok || n > len(rest) {
		t.b = nil
		return 0
	}
	t.text, t.b = rest[:n], rest[n:]
	return 's'
}

// skip passes over a list whose parenthesis was read.
func (t *tokens) skip() {
	for depth := 1; depth > 0; {
		switch t.next() {
		case '(':
			depth++
		case ')':
			depth--
		case 0:
			return
		}
	}
}

// inField tells whether any field of a name, in lower case, holds a folded text.
func inField(header []byte, field string, text []byte) bool {
	found := false
	var folded []byte
	message.EachField(header, func(name, value []byte) bool {
		if len(name) == len(field) && bytes.EqualFold(name, []byte(field)) {
			folded = FoldValue(folded[:0], value)
			found = bytes.Contains(folded, text)
		}
		return !found
	})
	return found
}
