package searchtext

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/message"
)

// Slot is a place in ENVELOPE (RFC 9051 §7.5.2).
type Slot uint8

// The places, in their order.
const (
	None Slot = iota
	Date
	Subject
	From
	Sender
	ReplyTo
	To
	Cc
	Bcc
	InReplyTo
	MessageID
)

// AppendSlot appends a place of ENVELOPE, folded: a string, decoded, or addresses as "Name <local@domain>".
func AppendSlot(dst, envelope []byte, want Slot) []byte {
	t := Tokens{Rest: envelope}
	if t.Next() != '(' {
		return dst
	}
	for at := Date; ; at++ {
		switch c := t.Next(); c {
		case '(':
			if at == want {
				dst, _ = AppendAddresses(dst, &t)
				return dst
			}
			t.Skip()
		case 's', 'n':
			if at == want {
				return AppendDecoded(dst, t.Text)
			}
		default:
			return dst
		}
	}
}

// AppendDecoded appends a header value, decoded and folded.
func AppendDecoded(dst, value []byte) []byte {
	if bytes.Contains(value, []byte("=?")) {
		return Fold(dst, []byte(message.DecodeWords(string(value))))
	}
	return Fold(dst, value)
}

// Person says where the parts of the first address lie in a text of addresses: "NAME <LOCAL@DOMAIN>", or "<LOCAL@DOMAIN>"
// where Name is 0. Box is the length of LOCAL, All that of LOCAL@DOMAIN. A group has its name for LOCAL.
type Person struct{ Name, Box, All int }

// At is where LOCAL begins.
func (p Person) At() int {
	if p.Name == 0 {
		return 1
	}
	return p.Name + 2
}

// AppendAddresses appends a list of addresses whose parenthesis was read, and tells of the first.
func AppendAddresses(dst []byte, t *Tokens) ([]byte, Person) {
	var first Person
	for n := 0; t.Next() == '('; n++ {
		var name, box, all int
		var host bool
		at := len(dst)
		for i := range 4 {
			switch c := t.Next(); c {
			case 's':
				switch i {
				case 0:
					dst = AppendDecoded(dst, t.Text)
					if name = len(dst) - at; name > 0 {
						dst = append(dst, ' ')
					}
				case 2:
					dst = append(dst, '<')
					at = len(dst)
					dst = AppendDecoded(dst, t.Text)
					box = len(dst) - at
					all = box
				case 3:
					host = true
					dst = Fold(append(dst, '@'), t.Text)
					all = len(dst) - at
				}
			case 'n':
			default:
				return dst, first
			}
		}
		if host {
			dst = append(dst, '>')
		}
		if n == 0 {
			first = Person{name, box, all}
		}
		dst = append(dst, ',', ' ')
		if t.Next() != ')' {
			return dst, first
		}
	}
	return dst, first
}
