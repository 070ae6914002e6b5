package message

import (
	"bytes"
	"slices"
	"time"
)

// View is an index seen through an overlay: its offsets are those of the message as readers see it. The overlay changes
// fields of the message's own header, and never its MIME structure.
type View struct {
	// Index tells in body coordinates.
	Index   *Index
	Overlay Overlay
}

// WithOverlay gives the view of readers. The index stays as it is.
func (ix *Index) WithOverlay(o Overlay) View { return View{ix, o} }

// Size is the message's as readers see it.
func (v View) Size() int64 { return v.Overlay.Size(v.Index.Size) }

// Header is the header section: the prefix, and what is left of the body's.
func (v View) Header() Range { return Range{0, v.Overlay.Seen(v.Index.Header().End())} }

// Section finds BODY[path.spec] as readers see it.
//
// Error: ErrNoSection.
func (v View) Section(path []int, spec Spec) (Range, error) {
	r, err := v.Index.Section(path, spec)
	switch {
	case err != nil:
		return Range{}, err
	case len(path) == 0 && spec == Whole:
		return Range{0, v.Size()}, nil
	case len(path) == 0 && spec == Header, spec == MIME && r == v.Index.Header():
		return v.Header(), nil
	}
	return v.Overlay.SeenRange(r), nil
}

// Hops counts the Received fields that readers see.
func (v View) Hops() int { return len(v.Lookup(nil, "received")) }

// Lookup appends the places of all fields of a name, in lower case, as readers see them: the prefix's and the body's. Fields
// that the index does not list (flag Truncated) are not found.
func (v View) Lookup(dst []Field, name string) []Field {
	v.each(func(f Field) {
		if f.Name == name {
			dst = append(dst, f)
		}
	})
	return dst
}

// each calls f with all fields that are seen.
func (v View) each(f func(Field)) {
	fields, _ := fieldList(nil).parse(v.Overlay.Prefix, false)
	for i := range fields {
		p := &fields[i]
		name := names[p.name]
		if p.name == nameOther {
			name = string(lower(nil, v.Overlay.Prefix[p.start:p.nameEnd]))
		}
		f(Field{name, int64(p.start), Range{int64(p.value), int64(p.stop - p.value)}})
	}
	for _, g := range v.Index.Fields {
		if seen := v.Overlay.SeenRange(g.All()); seen.Length > 0 {
			f(Field{g.Name, seen.Offset, v.Overlay.SeenRange(g.Value)})
		}
	}
}

// FieldRanges appends the ranges that make up HEADER.FIELDS, or HEADER.FIELDS.NOT, of the message's header as readers see
// it, the empty line at the end included: what FilterHeader gives of it, without reading any of it. Ranges that touch are
// one. complete is false where the index does not list all fields: read the header and use FilterHeader.
func (v View) FieldRanges(dst []Range, fields []string, not bool) (_ []Range, complete bool) {
	if v.Index.Flags&Truncated != 0 {
		return dst, false
	}
	start := len(dst)
	add := func(from, to int64) {
		switch {
		case from >= to:
		case len(dst) > start && dst[len(dst)-1].End() == from:
			dst[len(dst)-1].Length += to - from
		default:
			dst = append(dst, Range{from, to - from})
		}
	}
	header := v.Header()
	blank := header.End() - v.blank()
	at := int64(0)
	v.each(func(f Field) {
		if not {
			add(at, f.Start) // lines that are no field
			at = f.Value.End()
		}
		if slices.ContainsFunc(fields, func(s string) bool { return equalFold(f.Name, s) }) != not {
			add(f.Start, f.Value.End())
		}
	})
	if not {
		add(at, blank)
	}
	add(blank, header.End())
	return dst, true
}

// blank is the length of the empty line that ends the header, 0 where there is none.
func (v View) blank() int64 {
	if p := v.Overlay.Prefix; v.Index.NoHeader() && (string(p) == "\r\n" || bytes.HasSuffix(p, []byte("\r\n\r\n"))) {
		return 2
	}
	return int64(v.Index.Flags & blankLine)
}

// Envelope is the ENVELOPE as readers see it. ok is false where the overlay changes an address field: read the header and
// use AppendEnvelope. Where it changes nothing that ENVELOPE shows, the index's own is given.
func (v View) Envelope() (envelope []byte, ok bool) {
	if v.Index.Flags&Truncated != 0 && len(v.Overlay.Cuts) > 0 {
		return nil, false
	}
	var added, hidden [envItems]bool
	changed := false
	prefix, _ := fieldList(nil).parse(v.Overlay.Prefix, false)
	for it, name := range envNames {
		if prefix.first(v.Overlay.Prefix, name) != nil {
			added[it], changed = true, true
		}
	}
	for it, name := range envNames {
		if n, all := v.hidden(names[name]); n {
			if !all && !added[it] {
				return nil, false
			}
			hidden[it], changed = true, true
		}
	}
	if !changed {
		return v.Index.envelope, true
	}
	items, ok := envelopeItems(string(v.Index.envelope))
	if !ok {
		return nil, false
	}
	dst := []byte{'('}
	for it := envDate; it < envItems; it++ {
		if it > 0 {
			dst = append(dst, ' ')
		}
		switch {
		case !added[it] && !hidden[it]:
			dst = append(dst, items[it]...)
		case it.isAddresses() && (added[it] || it <= envReplyTo):
			return nil, false
		case added[it]:
			dst = appendText(dst, unfold(nil, prefix.first(v.Overlay.Prefix, envNames[it])))
		default:
			dst = append(dst, "NIL"...)
		}
	}
	return append(dst, ')'), true
}

// hidden tells whether the overlay hides fields of a name, and whether it hides all of them.
func (v View) hidden(name string) (some, all bool) {
	if len(v.Overlay.Cuts) == 0 {
		return false, false
	}
	all = true
	for _, f := range v.Index.Fields {
		if f.Name != name {
			continue
		}
		if v.Overlay.SeenRange(f.All()).Length < f.All().Length {
			some = true
		}
		all = all && v.Overlay.Hides(f.All())
	}
	return some, all
}

// value is the first field of a name that is seen, unfolded, as far as the overlay decides it. decided is false where the
// index's own counts.
func (v View) value(n name) (s string, decided bool) {
	prefix, _ := fieldList(nil).parse(v.Overlay.Prefix, false)
	if b := prefix.first(v.Overlay.Prefix, n); b != nil {
		return string(unfold(nil, b)), true
	}
	some, all := v.hidden(names[n])
	return "", some && all
}

// MessageID is the first Message-ID field that readers see.
func (v View) MessageID() string {
	if s, decided := v.value(nameMessageID); decided {
		return s
	}
	return v.Index.MessageID()
}

// Subject is the first Subject field that readers see, decoded.
func (v View) Subject() string {
	if s, decided := v.value(nameSubject); decided {
		return DecodeWords(s)
	}
	return v.Index.Subject()
}

// SentDate is the first Date field that readers see, in the zone it was written in; false where there is none that can be
// read.
func (v View) SentDate() (time.Time, bool) {
	s, decided := v.value(nameDate)
	if !decided {
		return v.Index.SentDate()
	}
	return DateOf([]byte(s))
}
