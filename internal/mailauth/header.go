package mailauth

import (
	"bytes"
	"iter"
)

// Header takes the header of one message in pieces as they arrive. It begins empty; Reset makes it so again.
//
// Lines end at LF, with or without CR, and the header at the first empty line. A field that holds a bare CR is looked at as
// if the CR ended a line too, since some readers think so.
type Header struct {
	// forged says what is to be cut; nil finds nothing.
	forged *Forged

	raw    []byte // of the fields that are kept, one behind the other
	fields []Field
	cuts   []Cut

	pend   []byte // the beginning of a line whose end has not come
	offset int64  // of the next octet that is not in pend
	mid    bool   // the next octet belongs to a line that was taken in part

	begun   bool   // there is a current field
	start   int64  // where it begins
	at      int    // where it begins in raw
	head    []byte // of a field that is not kept
	keeping bool   // it is in raw so far

	done      bool
	truncated bool // fields were left out
	unjudged  bool // one of them matters
	stray     bool
	eightBit  bool
	maxLine   int
	line      int // octets of the current line
}

// Field is one field of a Header, which has its octets.
type Field struct {
	start, colon, end int
}

// Cut is a range in body coordinates.
type Cut struct {
	Offset, Length int64
}

// Reset empties h for the next message. forged, which may be nil, says which fields to cut.
func (h *Header) Reset(forged *Forged) {
	raw, pend, head := h.raw[:0], h.pend[:0], h.head[:0]
	if cap(raw) > keepBytes {
		raw = nil
	}
	if cap(pend) > keepBytes {
		pend = nil
	}
	fields := h.fields[:0]
	if cap(fields) > 256 {
		fields = nil
	}
	*h = Header{forged: forged, raw: raw, pend: pend, head: head, fields: fields}
}

// Write takes the next octets of the message and returns how many of them belong to the header, its blank line included;
// fewer than all when the header is done.
func (h *Header) Write(p []byte) int {
	taken := 0
	for !h.done && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			h.pend = append(h.pend, p...)
			taken += len(p)
			if len(h.pend) > maxPiece {
				h.take(h.pend, false)
				h.pend = h.pend[:0]
			}
			return taken
		}
		line := p[:i+1]
		if len(h.pend) > 0 {
			h.pend = append(h.pend, line...)
			line = h.pend
		}
		h.take(line, true)
		h.pend = h.pend[:0]
		p = p[i+1:]
		taken += i + 1
	}
	return taken
}

// Close says that the message has ended; one without an empty line is all header.
func (h *Header) Close() {
	if h.done {
		return
	}
	if len(h.pend) > 0 {
		h.take(h.pend, false)
		h.pend = h.pend[:0]
	}
	h.endField()
	h.done = true
}

// take adds a line, or a piece of one.
func (h *Header) take(piece []byte, whole bool) {
	starts := !h.mid
	h.mid = !whole
	if starts {
		h.line = 0
		if piece[0] == '\n' || len(piece) == 2 && piece[0] == '\r' && piece[1] == '\n' {
			h.endField()
			h.offset += int64(len(piece))
			h.done = true
			return
		}
		if !wsp(piece[0]) || !h.begun {
			h.endField()
			h.beginField(piece)
		}
	}
	h.line += len(piece)
	if whole {
		h.maxLine = max(h.maxLine, h.line-2)
	}
	h.eightBit = h.eightBit || !ascii(piece)
	h.offset += int64(len(piece))
	if h.keeping && h.fits(piece) {
		h.raw = append(h.raw, piece...)
		return
	}
	h.overflow(piece)
}

// beginField begins a field by its first line, or a piece of that.
func (h *Header) beginField(piece []byte) {
	h.begun, h.start, h.at, h.head = true, h.offset, len(h.raw), h.head[:0]
	h.keeping = !h.truncated && len(h.fields) < MaxFields || matters(piece) && len(h.fields) < MaxFields+ReserveFields
	if !h.keeping {
		h.leaveOut(piece)
	}
}

func (h *Header) endField() {
	if !h.begun {
		return
	}
	h.begun = false
	f := h.head
	if h.keeping {
		f = h.raw[h.at:]
	}
	colon := bytes.IndexByte(f, ':')
	if colon < 0 || wsp(f[0]) {
		h.stray = true
	}
	if h.keeping {
		if colon >= 0 {
			h.fields = append(h.fields, Field{h.at, h.at + colon, len(h.raw)})
		}
	}
	// A message that begins with white space would continue the last field that we put before it.
	if h.start == 0 && wsp(f[0]) || h.forged != nil && h.forged.field(f, !h.keeping && int64(len(f)) < h.offset-h.start) {
		h.cut(h.start, h.offset)
	}
}

// maxCuts bounds the cuts of one message: behind the last but one, one cut hides everything from forged field to forged field.
const maxCuts = 64

func (h *Header) cut(from, to int64) {
	if n := len(h.cuts); n > 0 {
		last := &h.cuts[n-1]
		if last.Offset+last.Length == from || n == maxCuts {
			last.Length = to - last.Offset
			return
		}
	}
	h.cuts = append(h.cuts, Cut{from, to - from})
}

// Done tells whether the whole header is there.
func (h *Header) Done() bool { return h.done }

// Size is how many octets were taken, the blank line included.
func (h *Header) Size() int64 { return h.offset + int64(len(h.pend)) }

// Truncated tells of fields beyond the limits: those that do not matter are not all listed.
func (h *Header) Truncated() bool { return h.truncated }

// Unjudged tells that the header cannot be judged whole: a field that matters is not listed, or readers may look for fields
// where we do not.
func (h *Header) Unjudged() bool { return h.unjudged || h.Size() > MaxJudged }

// Stray tells of lines that are neither fields nor their continuation.
func (h *Header) Stray() bool { return h.stray }

// EightBit tells of octets above 127.
func (h *Header) EightBit() bool { return h.eightBit }

// MaxLine is the length of the longest line without its CRLF.
func (h *Header) MaxLine() int { return h.maxLine }

// Cuts are the ranges to hide: ascending and apart.
func (h *Header) Cuts() []Cut { return h.cuts }

// Raw is a whole field with its line ends; valid until Reset.
func (h *Header) Raw(f Field) []byte { return h.raw[f.start:f.end] }

// Value is what follows the colon, line ends included.
func (h *Header) Value(f Field) []byte { return h.raw[f.colon+1 : f.end] }

// Name is what precedes the colon, without white space (obsolete syntax allows it, RFC 5322 §4.5.8).
func (h *Header) Name(f Field) []byte { return bytes.TrimRight(h.raw[f.start:f.colon], " \t") }

// All gives the fields of a name, in any case, topmost first. Call it when the header is done.
func (h *Header) All(name string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range h.fields {
			if h.is(f, name) && !yield(f) {
				return
			}
		}
	}
}

func (h *Header) is(f Field, name string) bool {
	if f.colon-f.start < len(name) {
		return false
	}
	n := h.Name(f)
	return len(n) == len(name) && foldEqual(n, name)
}

// Count is how many fields of a name there are.
func (h *Header) Count(name string) int {
	n := 0
	for range h.All(name) {
		n++
	}
	return n
}

func wsp(c byte) bool { return c == ' ' || c == '\t' }

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// foldEqual compares octets of the same number as ASCII in any case; s is in lower or canonical case.
func foldEqual(b []byte, s string) bool {
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
