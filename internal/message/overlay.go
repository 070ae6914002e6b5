package message

import (
	"cmp"
	"slices"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Overlay is what readers see before, and no longer see within, a stored body. The zero value changes nothing.
type Overlay struct {
	// Prefix is whole header fields with CRLF. Before a message that has no header (Index.NoHeader) an empty line ends it.
	Prefix []byte
	// Cuts are hidden ranges of the body's header in body coordinates: ascending, apart, not empty.
	Cuts []Range
}

// NewOverlay puts cuts in order. Those without length, or before the body, are dropped; those that touch become one.
func NewOverlay(prefix []byte, cuts []Range) Overlay {
	o := Overlay{Prefix: prefix}
	for _, c := range cuts {
		if c.Offset >= 0 && c.Length > 0 && c.End() > c.Offset {
			o.Cuts = append(o.Cuts, c)
		}
	}
	if len(o.Cuts) < 2 {
		return o
	}
	slices.SortFunc(o.Cuts, func(a, b Range) int { return cmp.Compare(a.Offset, b.Offset) })
	out := o.Cuts[:1]
	for _, c := range o.Cuts[1:] {
		if last := &out[len(out)-1]; c.Offset <= last.End() {
			last.Length = max(last.End(), c.End()) - last.Offset
		} else {
			out = append(out, c)
		}
	}
	o.Cuts = out
	return o
}

// OverlayFrom reads the contract's form; nil changes nothing.
func OverlayFrom(p *mailv1.Overlay) Overlay {
	cuts := make([]Range, 0, len(p.GetCuts()))
	for _, c := range p.GetCuts() {
		cuts = append(cuts, Range{c.GetOffset(), c.GetLength()})
	}
	return NewOverlay(p.GetPrefix(), cuts)
}

// Proto is the contract's form, nil for an overlay that changes nothing.
func (o Overlay) Proto() *mailv1.Overlay {
	if len(o.Prefix) == 0 && len(o.Cuts) == 0 {
		return nil
	}
	p := &mailv1.Overlay{Prefix: o.Prefix}
	for _, c := range o.Cuts {
		p.Cuts = append(p.Cuts, &mailv1.Cut{Offset: c.Offset, Length: c.Length})
	}
	return p
}

// Join puts overlays of one body together, the topmost prefix first.
func Join(overlays ...Overlay) Overlay {
	var prefix []byte
	var cuts []Range
	for _, o := range overlays {
		prefix = append(prefix, o.Prefix...)
		cuts = append(cuts, o.Cuts...)
	}
	return NewOverlay(prefix, cuts)
}

// Size is what a message measures for readers whose body has so many octets.
func (o Overlay) Size(bodySize int64) int64 {
	size := int64(len(o.Prefix)) + bodySize
	for _, c := range o.Cuts {
		size -= c.until(bodySize).Length
	}
	return size
}

// Seen is where readers see the octet at a body offset; for a hidden one, where the next that is not hidden is seen.
func (o Overlay) Seen(offset int64) int64 {
	seen := int64(len(o.Prefix)) + offset
	for _, c := range o.Cuts {
		if c.Offset >= offset {
			break
		}
		seen -= c.until(offset).Length
	}
	return seen
}

// SeenRange is where readers see a range of the body; it is shorter where some of it is hidden.
func (o Overlay) SeenRange(r Range) Range {
	start := o.Seen(r.Offset)
	return Range{start, o.Seen(r.End()) - start}
}

// Hides tells whether readers see nothing of a range that is not empty.
func (o Overlay) Hides(r Range) bool { return r.Length > 0 && o.SeenRange(r).Length == 0 }

// Piece is a run of octets that readers see: of the prefix, or of the body in body coordinates.
type Piece struct {
	Prefix bool
	Range
}

// Pieces appends where the octets of a range that readers see come from, in order. What lies behind the message's end is
// left out; bodySize is the stored body's.
func (o Overlay) Pieces(dst []Piece, seen Range, bodySize int64) []Piece {
	at, end := max(seen.Offset, 0), seen.End()
	if n := int64(len(o.Prefix)); at < n && at < end {
		stop := min(end, n)
		dst = append(dst, Piece{true, Range{at, stop - at}})
		at = stop
	}
	shift := -int64(len(o.Prefix)) // from what is seen to the body
	body := int64(0)               // the run of the body that is not hidden begins here
	for i := 0; i <= len(o.Cuts) && at < end; i++ {
		stop := bodySize
		if i < len(o.Cuts) {
			stop = min(o.Cuts[i].Offset, bodySize)
		}
		if from := at + shift; from < stop {
			from = max(from, body)
			n := min(end+shift, stop) - from
			if n > 0 {
				dst = append(dst, Piece{false, Range{from, n}})
				at += n
			}
		}
		if i < len(o.Cuts) {
			shift += o.Cuts[i].Length
			body = o.Cuts[i].End()
		}
	}
	return dst
}
