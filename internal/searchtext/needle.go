package searchtext

import "bytes"

// Needle is what one key of SEARCH looks for in the text of messages. It is not changed.
type Needle struct {
	// Where it is looked for: in text parts (BODY), also in headers (TEXT), or in the message's own header fields of the name
	// Field, in lower case (HEADER). Slot is a place of ENVELOPE that shows that field (SUBJECT, FROM): the needle is looked for
	// in what it would show if it showed all.
	Parts, Headers bool
	Field          string
	Slot           Slot
	// Text is folded. Stems are there for FUZZY; see HasStems.
	Text  []byte
	Stems [][]byte
}

// Hit tells whether a needle was found.
type Hit uint8

// Hits.
const (
	Missed  Hit = iota
	Loosely     // by the stems of its words
	Exactly
)

// In looks for the needle in a folded text.
func (n *Needle) In(text []byte) Hit {
	switch {
	case bytes.Contains(text, n.Text):
		return Exactly
	case len(n.Stems) > 0 && HasStems(text, n.Stems):
		return Loosely
	}
	return Missed
}

// looks tells whether the needle is looked for in texts of a kind.
func (n *Needle) looks(k Kind) bool {
	switch k {
	case OfPart:
		return n.Parts
	case OfHeader:
		return n.Headers
	case OfField:
		return n.Field != ""
	}
	return n.Parts && len(n.Stems) > 0
}

// Looks looks for needles in a message that is read piece by piece; see Long. Addresses are looked for as they are written.
type Looks struct {
	open []look
	hits map[*Needle]Hit
	kind Kind
	name []byte
}

// look is a needle that was not found as it is written.
type look struct {
	*Needle
	found uint32 // the stems found in this text, bits
	begun int    // fields of the name
}

// LookFor begins to look for needles.
func LookFor(needles []*Needle) *Looks {
	l := &Looks{hits: make(map[*Needle]Hit, len(needles))}
	for _, n := range needles {
		l.open = append(l.open, look{Needle: n})
	}
	return l
}

// Hit tells whether a needle was found.
func (l *Looks) Hit(n *Needle) Hit { return l.hits[n] }

// Overlap is what the longest needle may reach back from a piece.
func (l *Looks) Overlap() int {
	longest := 1
	for _, n := range l.open {
		longest = max(longest, len(n.Text))
	}
	return longest - 1
}

// Wants tells whether anything that is not found yet is looked for in texts of a kind.
func (l *Looks) Wants(k Kind) bool {
	for i := range l.open {
		if l.open[i].looks(k) {
			return true
		}
	}
	return false
}

// Begin begins a text; name is that of a field.
func (l *Looks) Begin(k Kind, name []byte) {
	l.kind, l.name = k, name
	for i := range l.open {
		n := &l.open[i]
		n.found = 0
		if k == OfField && n.isField(name) {
			n.begun++
		}
	}
}

// Piece looks at a piece of it.
func (l *Looks) Piece(text, words []byte) {
	kept := l.open[:0]
	for _, n := range l.open {
		if l.at(&n, text, words) != Exactly {
			kept = append(kept, n)
		}
	}
	l.open = kept
}

// isField tells whether fields of a name are looked into.
func (n *Needle) isField(name []byte) bool { return bytes.EqualFold(name, []byte(n.Field)) }

// at looks for one needle.
func (l *Looks) at(n *look, text, words []byte) Hit {
	switch {
	case !n.looks(l.kind), l.kind == OfField && !n.isField(l.name):
		return Missed
	case l.kind == OfField && n.Slot == Subject && n.begun > 1:
		return Missed // ENVELOPE shows the first
	}
	hit := Missed
	switch {
	case l.kind != OfLoose && bytes.Contains(text, n.Text):
		hit = Exactly
	case len(n.Stems) > 0 && hasStems(words, n.Stems, &n.found):
		hit = Loosely
	}
	l.hits[n.Needle] = max(l.hits[n.Needle], hit)
	return hit
}
