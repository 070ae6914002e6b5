package message

import "encoding/binary"

// The encoding: Version; the lengths of ENVELOPE, BODYSTRUCTURE, preview and References; these four; flags; size; hops; the date; trace
// addresses; fields; parts. Numbers are varints. Of the parts only shape and place are told: the rest stands in
// BODYSTRUCTURE.

// Bits of the first number of a field.
const (
	fieldGap   = 1 // something else lies before it, or blanks before its colon
	fieldShift = 1
)

// Encode appends the index in its binary form.
func (ix *Index) Encode(dst []byte) []byte {
	dst = append(dst, Version)
	dst = binary.AppendUvarint(dst, uint64(len(ix.envelope)))
	dst = binary.AppendUvarint(dst, uint64(len(ix.structure)))
	dst = binary.AppendUvarint(dst, uint64(len(ix.preview)))
	dst = binary.AppendUvarint(dst, uint64(len(ix.refs)))
	dst = append(dst, ix.envelope...)
	dst = append(dst, ix.structure...)
	dst = append(dst, ix.preview...)
	dst = append(dst, ix.refs...)
	dst = append(dst, byte(ix.Flags))
	dst = binary.AppendUvarint(dst, uint64(ix.Size))
	dst = binary.AppendUvarint(dst, uint64(ix.Hops))
	if ix.hasDate {
		dst = append(dst, 1)
		dst = binary.AppendVarint(dst, ix.date)
		dst = binary.AppendVarint(dst, int64(ix.zone/60))
	} else {
		dst = append(dst, 0)
	}
	dst = encodeString(dst, ix.ReturnPath)
	dst = binary.AppendUvarint(dst, uint64(len(ix.DeliveredTo)))
	for _, s := range ix.DeliveredTo {
		dst = encodeString(dst, s)
	}
	dst = ix.encodeFields(dst)
	dst = binary.AppendUvarint(dst, uint64(len(ix.parts)))
	return ix.encodePart(dst, 0, 0)
}

func encodeString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// encodeFields tells of each field its name and its length, from which the next one's place follows.
func (ix *Index) encodeFields(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ix.Fields)))
	at := int64(0)
	for i := range ix.Fields {
		f := &ix.Fields[i]
		number := numbers[f.Name]
		gap, blanks := f.Start-at, f.Value.Offset-f.Start-int64(len(f.Name))-1
		code := uint64(number) << fieldShift
		if gap > 0 || blanks > 0 {
			code |= fieldGap
		}
		dst = binary.AppendUvarint(dst, code)
		if number == nameOther {
			dst = encodeString(dst, f.Name)
		}
		if code&fieldGap != 0 {
			dst = binary.AppendUvarint(dst, uint64(gap))
			dst = binary.AppendUvarint(dst, uint64(blanks))
		}
		dst = binary.AppendUvarint(dst, uint64(f.Value.Length))
		at = f.Value.End()
	}
	return dst
}

// encodePart tells of a part and those in it: kind, how far its header begins behind at, header and body lengths, and how
// many parts a multipart has.
func (ix *Index) encodePart(dst []byte, i int32, at int64) []byte {
	p := &ix.parts[i]
	dst = append(dst, byte(p.Kind))
	dst = binary.AppendUvarint(dst, uint64(p.Header.Offset-at))
	dst = binary.AppendUvarint(dst, uint64(p.Header.Length))
	dst = binary.AppendUvarint(dst, uint64(p.Body.Length))
	if p.Kind == Multipart {
		n := uint64(0)
		for c := i + 1; c < p.end; c = ix.parts[c].end {
			n++
		}
		dst = binary.AppendUvarint(dst, n)
	}
	at = p.Body.Offset
	for c := i + 1; c < p.end; c = ix.parts[c].end {
		dst = ix.encodePart(dst, c, at)
		at = ix.parts[c].Body.End()
	}
	return dst
}
