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

// fieldOf are the names of the fields that SUBJECT, FROM, TO, CC, BCC and SENT… are about.
var fieldOf = [MessageID + 1]string{Date: "date", Subject: "subject", From: "from", To: "to", Cc: "cc", Bcc: "bcc"}

// Field is the name, in lower case, of the field that a place of ENVELOPE shows which SEARCH has a key for.
func (s Slot) Field() string { return fieldOf[s] }

// In tells whether a place is among items of ENVELOPE.
func (s Slot) In(items message.Items) bool { return s != None && items.Has(int(s-Date)) }

// isAddresses tells whether a place is a list of addresses.
func (s Slot) isAddresses() bool { return s >= From && s <= Bcc }

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

// AppendFieldsOf appends what AppendSlot would if ENVELOPE showed all of a header: the first Subject, or the addresses of all
// fields of the name, folded.
func AppendFieldsOf(dst, header []byte, want Slot) []byte {
	var list []byte
	message.EachField(header, func(name, value []byte) bool {
		if !bytes.EqualFold(name, []byte(want.Field())) {
			return true
		}
		if !want.isAddresses() {
			dst = FoldValue(dst, value)
			return false
		}
		list = message.AppendAddresses(list[:0], value)
		if t := (Tokens{Rest: list}); t.Next() == '(' {
			dst, _ = AppendAddresses(dst, &t)
		}
		return true
	})
	return dst
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
