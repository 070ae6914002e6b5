package mailauth

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// MaxAuthors is how many domains of From are looked at.
const MaxAuthors = 5

// maxAddresses is of how many addresses the domain is taken.
const maxAddresses = 100

// Authors is what the From fields of a message name.
type Authors struct {
	// Domains are those of the addresses, in A-labels, each once, at most MaxAuthors.
	Domains []string
	// Addresses counts the addresses, those without a usable domain included.
	Addresses int
	// Bad tells of an address without a usable domain, of none at all, or of too many.
	Bad bool
	// TooMany tells of addresses or domains beyond the limits: Domains are not all there are.
	TooMany bool
}

// From reads the From fields of a header that is Done, all of them: a reader may show any.
func From(h *Header) Authors {
	var a Authors
	for f := range h.All("from") {
		eachAddress(h.Value(f), a.add)
	}
	if a.Addresses == 0 {
		a.Bad = true
	}
	return a
}

func (a *Authors) add(addr []byte) {
	if a.Addresses++; a.Addresses > maxAddresses {
		a.Bad, a.TooMany = true, true
		return
	}
	at := lastAt(addr)
	if at < 0 {
		a.Bad = true
		return
	}
	domain, rest := domainOf(addr[at+1:])
	a.Bad = a.Bad || rest
	name, err := resolve.Name(domain)
	if err != nil { // a literal too: it has no policy
		a.Bad = true
		return
	}
	for _, d := range a.Domains {
		if d == name {
			return
		}
	}
	if len(a.Domains) == MaxAuthors {
		a.Bad, a.TooMany = true, true
		return
	}
	a.Domains = append(a.Domains, name)
}

// domainOf takes white space from around dots, which obsolete syntax allows (RFC 5322 §4.4), and cuts the domain at any
// other; rest tells that something stood behind it.
func domainOf(b []byte) (domain string, rest bool) {
	out := make([]byte, 0, 64)
	words := bytes.Fields(b)
	for i, w := range words {
		if i > 0 && w[0] != '.' && out[len(out)-1] != '.' {
			return string(out), true
		}
		out = append(out, w...)
	}
	return string(out), false
}

// lastAt finds the at-sign before the domain; those within quotes are of the local-part.
func lastAt(addr []byte) int {
	at, quoted := -1, false
	for i := 0; i < len(addr); i++ {
		switch addr[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '@':
			if !quoted {
				at = i
			}
		}
	}
	return at
}

// eachAddress calls f with every address of an address list (RFC 5322 §3.4): what stands between angle brackets, or alone.
// It takes any octets, and of a broken list rather too many addresses than too few: each bracket of an item is one.
func eachAddress(list []byte, f func([]byte)) {
	item := make([]byte, 0, 64) // of the current item, without comments
	angled := false             // the item had an address in brackets
	emit := func() {
		if !angled && len(trim(item)) > 0 {
			f(trim(item))
		}
		item, angled = item[:0], false
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; c {
		case '(':
			i = skipComment(list, i)
		case '"':
			end := skipQuoted(list, i)
			item = append(item, list[i:end]...)
			i = end - 1
		case '<':
			end := skipAngle(list, i)
			if addr := trim(stripComments(list[i+1 : end])); len(addr) > 0 {
				f(addr)
				angled = true
			}
			i = end
		case ',', ';':
			emit()
		case ':': // the name of a group ends, or a route in brackets that was left open
			item = item[:0]
		default:
			item = append(item, c)
		}
	}
	emit()
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[0] <= ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// skipComment returns where the comment that begins at i ends: its last octet, or that of b.
func skipComment(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// skipQuoted returns the offset behind the quoted string that begins at i.
func skipQuoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipAngle returns where the bracket that opens at i closes, or the end of b.
func skipAngle(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = skipQuoted(b, i) - 1
		case '(':
			i = skipComment(b, i)
		case '>':
			return i
		}
	}
	return len(b)
}

func stripComments(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '(':
			i = skipComment(b, i)
		case '"':
			end := skipQuoted(b, i)
			out = append(out, b[i:end]...)
			i = end - 1
		default:
			out = append(out, b[i])
		}
	}
	return out
}
