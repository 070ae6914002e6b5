package searchtext

// Kind is what a text of a message is.
type Kind uint8

// Kinds.
const (
	OfPart   Kind = iota // a text part, decoded
	OfHeader             // the header of the message or of a part: a line for each field
	OfField              // the value of one field of the message's own header
	OfLoose              // what FUZZY alone looks at; see Texts.InLoose
)

// Reader is given the texts of a long message, one after another, all folded.
type Reader interface {
	// Overlap is how many octets of a piece are given once more with the next one.
	Overlap() int
	// Wants tells whether texts of a kind are still to be given.
	Wants(Kind) bool
	// Begin begins a text. name is a field's, as it was written, and only valid until the text ends.
	Begin(k Kind, name []byte)
	// Piece gives the text: its octets, and those of them whose words were not given yet, which end with a word. Every text has
	// one piece at least. Both are only valid until Piece returns.
	Piece(text, words []byte)
}

const (
	// pieceMax is about how long a piece is, octets.
	pieceMax = 64 << 10
	// wordMax is the longest word that is sure to be given in one piece, octets. FUZZY does not find longer ones that a piece
	// ends in.
	wordMax = 1 << 10
)

// pieces cuts a folded text.
type pieces struct {
	to      Reader
	max     int
	overlap int
	text    []byte
	raw     []byte // octets of a rune that is not whole yet
	words   int    // where in text words begin that were not given
	within  bool   // words begins within a word that is left out
}

func newPieces(to Reader, max int) *pieces {
	overlap := to.Overlap()
	return &pieces{to: to, max: max + 2*overlap, overlap: overlap}
}

// begin begins a text.
func (p *pieces) begin(k Kind, name []byte) {
	p.text, p.raw, p.words, p.within = p.text[:0], p.raw[:0], 0, false
	p.to.Begin(k, name)
}

// write adds octets that are not folded, in any pieces.
func (p *pieces) write(b []byte) {
	for len(b) > 0 {
		n := min(len(b), p.max/2)
		p.raw = append(p.raw, b[:n]...)
		b = b[n:]
		whole := WholeRunes(p.raw)
		p.text = Fold(p.text, p.raw[:whole])
		p.raw = p.raw[:copy(p.raw, p.raw[whole:])]
		p.give(p.max)
	}
}

// folded adds octets that are folded, in runes.
func (p *pieces) folded(b []byte) {
	for len(b) > 0 {
		n := min(len(b), p.max/2)
		p.text = append(p.text, b[:n]...)
		b = b[n:]
		p.give(p.max)
	}
}

// give gives a piece once there are so many octets.
func (p *pieces) give(enough int) {
	if len(p.text) < enough {
		return
	}
	p.leaveOut()
	end := len(p.text)
	for end > p.words && isWord(p.text[end-1]) {
		end--
	}
	p.to.Piece(p.text, p.text[p.words:end])
	if len(p.text)-end > wordMax {
		// The word is longer than what is kept for the next piece.
		end, p.within = len(p.text), true
	}
	from := min(end, max(0, len(p.text)-p.overlap))
	p.words = end - from
	p.text = p.text[:copy(p.text, p.text[from:])]
}

// leaveOut passes over the rest of a word that was too long.
func (p *pieces) leaveOut() {
	for p.within && p.words < len(p.text) {
		if !isWord(p.text[p.words]) {
			p.within = false
			return
		}
		p.words++
	}
}

// end gives what is left.
func (p *pieces) end() {
	p.text = Fold(p.text, p.raw)
	p.leaveOut()
	p.to.Piece(p.text, p.text[p.words:])
}
