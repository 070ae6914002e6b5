package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Errors of Decode.
var (
	// ErrVersion is an index that another version of this package has made: make it anew from the body.
	ErrVersion = errors.New("part index of another version")
	// ErrCorrupt is an index that nobody has made: make it anew from the body.
	ErrCorrupt = errors.New("corrupt part index")
)

// EnvelopeOf is the ENVELOPE in an encoded index, as IMAP sends it, a slice of it; nil where the index is of another version
// or corrupt. Nothing is decoded.
func EnvelopeOf(encoded []byte) []byte { return texts(encoded).envelope }

// BodyStructureOf is the BODYSTRUCTURE in an encoded index, like EnvelopeOf.
func BodyStructureOf(encoded []byte) []byte { return texts(encoded).structure }

// PreviewOf is the preview in an encoded index, like EnvelopeOf; a message without text has one that is empty, not nil.
func PreviewOf(encoded []byte) []byte { return texts(encoded).preview }

// ReferencesOf is what is kept of References in an encoded index, like EnvelopeOf.
func ReferencesOf(encoded []byte) []byte { return texts(encoded).refs }

// SentDateOf is SentDate of an encoded index; false also where the index is of another version or corrupt.
func SentDateOf(encoded []byte) (time.Time, bool) {
	t, err := split(encoded)
	if err != nil {
		return time.Time{}, false
	}
	var ix Index
	d := decoder{b: t.rest}
	d.numbers(&ix)
	if d.err != nil {
		return time.Time{}, false
	}
	return ix.SentDate()
}

// encodedTexts are what an encoded index tells first, and what follows.
type encodedTexts struct {
	envelope, structure, preview, refs, rest []byte
}

func texts(encoded []byte) encodedTexts {
	t, _ := split(encoded)
	return t
}

// split takes apart what is told first.
func split(encoded []byte) (t encodedTexts, err error) {
	if len(encoded) == 0 || encoded[0] != Version {
		return t, ErrVersion
	}
	b := encoded[1:]
	var lengths [4]uint64
	for i := range lengths {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(encoded)) {
			return t, ErrCorrupt
		}
		lengths[i], b = n, b[used:]
	}
	for i, p := range []*[]byte{&t.envelope, &t.structure, &t.preview, &t.refs} {
		n := lengths[i]
		if n > uint64(len(b)) {
			return encodedTexts{}, ErrCorrupt
		}
		*p, b = b[:n:n], b[n:]
	}
	t.rest = b
	return t, nil
}

// Decode reads what Encode wrote. The index keeps encoded, which the caller does not change any more.
//
// Errors: ErrVersion, ErrCorrupt. It never fails in another way, and takes no more memory than a few times the input's.
func Decode(encoded []byte) (*Index, error) {
	t, err := split(encoded)
	if err != nil {
		return nil, err
	}
	ix := &Index{envelope: t.envelope, structure: t.structure, preview: t.preview, refs: t.refs}
	d := decoder{b: t.rest}
	d.numbers(ix)
	ix.ReturnPath = d.string()
	if n := d.count(MaxDeliveredTo, 1); n > 0 {
		ix.DeliveredTo = make([]string, n)
		for i := range ix.DeliveredTo {
			ix.DeliveredTo[i] = d.string()
		}
	}
	d.fields(ix)
	if n := d.count(MaxParts+MaxDepth, 4); n > 0 && d.err == nil {
		ix.parts = make([]Part, 0, n)
		d.part(ix, Range{0, ix.Size}, MaxDepth)
		d.check(len(ix.parts) == n && ix.parts[0].Header.Offset == 0 && ix.parts[0].Body.End() == ix.Size)
	} else {
		d.fail("parts")
	}
	d.check(len(d.b) == 0)
	if d.err == nil {
		d.err = ix.readStructure()
	}
	if d.err != nil {
		return nil, d.err
	}
	return ix, nil
}

// numbers reads what follows the texts.
func (d *decoder) numbers(ix *Index) {
	ix.Flags = Flags(d.octet())
	ix.Size = d.size()
	ix.Hops = d.count(MaxFields, 0)
	switch d.octet() {
	case 0:
	case 1:
		ix.hasDate, ix.date, ix.zone = true, d.varint(), int(d.varint())*60
		d.check(ix.date > -1<<40 && ix.date < 1<<40 && ix.zone > -1<<20 && ix.zone < 1<<20)
	default:
		d.fail("date")
	}
}

// decoder reads numbers off b. The first error stays.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.b = nil
}

func (d *decoder) check(ok bool) {
	if !ok {
		d.fail("numbers do not fit")
	}
}

func (d *decoder) octet() byte {
	if len(d.b) == 0 {
		d.fail("short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// size is a number of octets.
func (d *decoder) size() int64 {
	v := d.uvarint()
	if v >= 1<<50 { // so that sums cannot overflow
		d.fail("size")
		return 0
	}
	return int64(v)
}

// count is a number of things, each of which takes at least so many octets of what follows.
func (d *decoder) count(most, octets int) int {
	v := d.uvarint()
	if v > uint64(most) || v*uint64(octets) > uint64(len(d.b)) {
		d.fail("count")
		return 0
	}
	return int(v)
}

func (d *decoder) string() string {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fail("string")
		return ""
	}
	s := string(d.b[:v])
	d.b = d.b[v:]
	return s
}

// fields reads the header's fields.
func (d *decoder) fields(ix *Index) {
	n := d.count(MaxFields, 2)
	if n == 0 {
		return
	}
	ix.Fields = make([]Field, n)
	at := int64(0)
	for i := range ix.Fields {
		code := d.uvarint()
		f := &ix.Fields[i]
		number := code >> fieldShift
		switch {
		case number == uint64(nameOther):
			f.Name = d.string()
		case number < uint64(len(names)):
			f.Name = names[number]
		default:
			d.fail("name")
		}
		var gap, blanks int64
		if code&fieldGap != 0 {
			gap, blanks = d.size(), d.size()
		}
		f.Start = at + gap
		f.Value.Offset = f.Start + int64(len(f.Name)) + blanks + 1
		f.Value.Length = d.size()
		at = f.Value.End()
		if d.err != nil {
			return
		}
		d.check(len(f.Name) > 0 && len(f.Name) <= MaxFieldName && at <= ix.Size)
	}
}

// part reads a part, which lies within the given range, and those in it.
func (d *decoder) part(ix *Index, within Range, depth int) {
	kind := Kind(d.octet())
	gap, header, body := d.size(), d.size(), d.size()
	p := Part{Kind: kind, Header: Range{within.Offset + gap, header}}
	p.Body = Range{p.Header.End(), body}
	d.check(kind <= Message && p.Body.End() <= within.End() && depth > 0 && len(ix.parts) < cap(ix.parts))
	if d.err != nil {
		return
	}
	i := len(ix.parts)
	ix.parts = append(ix.parts, p)
	n := 0
	switch kind {
	case Multipart:
		if n = d.count(MaxParts, 4); n == 0 {
			d.fail("multipart without parts")
		}
	case Message:
		n = 1
	}
	rest := p.Body
	for ; n > 0 && d.err == nil; n-- {
		c := len(ix.parts)
		d.part(ix, rest, depth-1)
		if d.err == nil {
			end := ix.parts[c].Body.End()
			rest = Range{end, p.Body.End() - end}
		}
	}
	ix.parts[i].end = int32(len(ix.parts))
}
