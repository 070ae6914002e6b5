package message

import "bytes"

// headerField is a field of the header being read; offsets are in that header.
type headerField struct {
	name        name
	start, stop int32 // of the whole field
	nameEnd     int32
	value       int32 // behind the colon
}

type fieldList []headerField

// parse lists the fields of a header, reusing the list. Lines that are neither field nor continuation belong to none.
// cutOff tells that the header goes on behind what is given. all tells that no field was left out.
func (l fieldList) parse(header []byte, cutOff bool) (_ fieldList, all bool) {
	l = l[:0]
	all = !cutOff
	var lowered [MaxFieldName]byte
	within := false // the line before belongs to the last field of l
	for at := 0; at < len(header); {
		next := len(header)
		if i := bytes.IndexByte(header[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := header[at:next]
		if line[0] == ' ' || line[0] == '\t' {
			if within {
				l[len(l)-1].stop = int32(next)
			}
			at = next
			continue
		}
		n, value, ok := fieldName(line)
		within = false
		switch {
		case !ok:
		case n > MaxFieldName || len(l) == MaxFields:
			all = false
		default:
			within = true
			l = append(l, headerField{
				name:  numbers[string(lower(lowered[:0], line[:n]))],
				start: int32(at), stop: int32(next), nameEnd: int32(at + n), value: int32(at + value),
			})
		}
		at = next
	}
	if cutOff && within {
		l = l[:len(l)-1] // who knows where it ends
	}
	return l, all
}

// first is the value of the first field of a name as it stands in header; nil where there is none.
func (l fieldList) first(header []byte, n name) []byte {
	for i := range l {
		if l[i].name == n {
			return header[l[i].value:l[i].stop]
		}
	}
	return nil
}

// unfold appends a value on one line (RFC 5322 §2.2.3), without blanks around it, at most MaxString octets. NUL, which IMAP
// cannot say, becomes "?".
func unfold(dst, value []byte) []byte {
	start := len(dst)
	for len(value) > 0 && isBlank(value[0]) {
		value = value[1:]
	}
	for _, c := range value {
		switch c {
		case '\r', '\n':
			continue
		case 0:
			c = '?'
		}
		if len(dst)-start == MaxString {
			break
		}
		dst = append(dst, c)
	}
	for len(dst) > start && isBlank(dst[len(dst)-1]) {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// keepFields notes what the index tells of the message's own header.
func (x *Indexer) keepFields(all bool) {
	if !all {
		x.ix.Flags |= Truncated
	}
	x.keepReferences()
	others := x.scratch.text[:0]
	for i := range x.fields {
		if f := &x.fields[i]; f.name == nameOther {
			others = lower(others, x.header[f.start:f.nameEnd])
		}
	}
	otherNames := string(others) // one string for all of them
	for i := range x.fields {
		f := &x.fields[i]
		value := x.header[f.value:f.stop]
		name := names[f.name]
		switch f.name {
		case nameOther:
			n := f.nameEnd - f.start
			name, otherNames = otherNames[:n], otherNames[n:]
		case nameReceived:
			x.ix.Hops++
		case nameReturnPath:
			if x.ix.ReturnPath == "" {
				x.ix.ReturnPath = x.pathOf(value)
			}
		case nameDeliveredTo:
			if len(x.ix.DeliveredTo) < MaxDeliveredTo {
				x.ix.DeliveredTo = append(x.ix.DeliveredTo, x.pathOf(value))
			}
		case nameDate:
			if !x.ix.hasDate {
				x.ix.date, x.ix.zone, x.ix.hasDate = parseDate(value)
			}
		}
		x.ix.Fields = append(x.ix.Fields, Field{
			Name: name, Start: int64(f.start),
			Value: Range{Offset: int64(f.value), Length: int64(f.stop - f.value)},
		})
	}
	x.scratch.text = others
}

// pathOf is the address in a trace field, without angle brackets; at most 998 octets of it.
func (x *Indexer) pathOf(value []byte) string {
	b := unfold(x.scratch.value[:0], value)
	x.scratch.value = b
	if i := bytes.IndexByte(b, '<'); i >= 0 {
		b = b[i+1:]
		if j := bytes.LastIndexByte(b, '>'); j >= 0 {
			b = b[:j]
		}
	}
	return string(b[:min(len(b), 998)])
}

// scratch is memory for one value at a time.
type scratch struct {
	text   []byte
	value  []byte
	params []Param
	arena  []Param // what parts keep
}

func (s scratch) kept() scratch {
	if cap(s.arena) > 1000 {
		s.arena = nil
	}
	return scratch{text: keep(s.text), value: keep(s.value), params: s.params[:0], arena: s.arena[:0]}
}
