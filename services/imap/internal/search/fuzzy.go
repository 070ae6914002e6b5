package search

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// in tells whether a folded text holds the key's: as a substring, or with FUZZY (RFC 6203) also where it has all the words of
// it, each in any form of one stem and in any order.
func (k *Key) in(m *Message, text []byte) bool {
	return bytes.Contains(text, k.text) || k.looselyIn(m, text)
}

// looselyIn tells whether FUZZY finds the key's words in a folded text.
func (k *Key) looselyIn(m *Message, text []byte) bool {
	if len(k.words) == 0 || !searchtext.HasStems(text, k.words) {
		return false
	}
	m.Loose = true
	return true
}
