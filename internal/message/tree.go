package message

import "bytes"

// begin opens a part whose header starts at offset.
func (x *Indexer) begin(offset int64) {
	i := int32(len(x.ix.parts))
	x.ix.parts = append(x.ix.parts, Part{Header: Range{Offset: offset}})
	x.open = append(x.open, open{part: i})
	x.header, x.cutOff = x.header[:0], false
	x.inHeader, x.anyLine = true, false
}

// collect keeps octets of the header.
func (x *Indexer) collect(p []byte) {
	if room := MaxHeaderBytes - len(x.header); len(p) > room {
		p = p[:room]
		x.cutOff = true
	}
	x.header = append(x.header, p...)
}

// startsHeader tells whether the first line of what should be a header is one: a field, or the "From " of a mailbox file
// before the message's.
func (x *Indexer) startsHeader() bool {
	if _, _, ok := fieldName(x.header); ok {
		return true
	}
	return len(x.open) == 1 && bytes.HasPrefix(bytes.TrimPrefix(x.header, []byte{'>'}), []byte("From "))
}

// noHeader makes the innermost part begin with its body: its first line is no header.
func (x *Indexer) noHeader() {
	o := &x.open[len(x.open)-1]
	p := &x.ix.parts[o.part]
	p.Body.Offset = p.Header.Offset
	o.lf = x.lf
	p.setDefault(false)
	if o.part == 0 || x.messageRoot() {
		x.keepEnvelope(o.part, nil)
	}
	x.inHeader = false
	x.mayTake(o.part)
	x.take(x.header)
}

// endHeader ends the innermost part's header before offset; lf line ends come before that. It tells what the part is.
func (x *Indexer) endHeader(offset, lf int64) {
	o := &x.open[len(x.open)-1]
	o.lf = lf
	p := &x.ix.parts[o.part]
	p.Header.Length = offset - p.Header.Offset
	p.Body.Offset = offset
	x.inHeader = false
	if hasEightBit(x.header) {
		x.ix.Flags |= EightBitHeader
	}
	var all bool
	x.fields, all = x.fields.parse(x.header, x.cutOff)
	x.describe(p, x.inDigest())
	if o.part == 0 || x.messageRoot() {
		x.keepEnvelope(o.part, x.fields)
	}
	if o.part == 0 {
		x.keepFields(all)
	}
	switch {
	case p.Kind == Leaf:
		x.mayTake(o.part)
	case len(x.open) >= MaxDepth || p.Kind == Message && len(x.ix.parts) >= MaxParts:
		p.setUnknown()
	case p.Kind == Multipart:
		o.boundary = p.Boundary
		x.active++
	case p.Kind == Message:
		x.begin(offset)
	}
}

// messageRoot tells whether the innermost part is the message in a Message part.
func (x *Indexer) messageRoot() bool {
	n := len(x.open)
	return n > 1 && x.ix.parts[x.open[n-2].part].Kind == Message
}

// inDigest tells whether the innermost part lies in a multipart/digest, where message/rfc822 is the default.
func (x *Indexer) inDigest() bool {
	n := len(x.open)
	return n > 1 && x.ix.parts[x.open[n-2].part].Is("multipart", "digest")
}

// delimiter tells whether a line, its line end left out, delimits parts of an open multipart, and begins or ends parts if
// so. The innermost multipart is asked first; one further out ends those within, whose closing delimiter is missing.
// full is the line's length with its end.
func (x *Indexer) delimiter(line []byte, full int64) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	line = bytes.TrimRight(line[2:], " \t\r")
	for i := len(x.open) - 1; i >= 0; i-- {
		o := &x.open[i]
		if o.boundary == "" || o.closed || !bytes.HasPrefix(line, []byte(o.boundary)) {
			continue
		}
		switch string(line[len(o.boundary):]) {
		case "":
			if len(x.ix.parts) >= MaxParts {
				return false
			}
			x.closeTo(i+1, true)
			x.begin(x.lineStart + full)
			return true
		case "--":
			x.closeTo(i+1, true)
			o.closed = true
			x.active--
			return true
		}
	}
	return false
}

// closeTo ends all open parts from the n-th on before the current line. Where that is a delimiter, the line end before it
// belongs to it and not to the part, unless that has no body.
func (x *Indexer) closeTo(n int, delimiter bool) {
	for len(x.open) > n && x.inHeader {
		// What this may open, a message in a Message part, has an empty header, which the next turn ends.
		x.endHeader(x.lineStart, x.lf)
	}
	if len(x.open) == n {
		return
	}
	end, lf := x.lineStart, x.lf
	if delimiter && end > x.ix.parts[x.open[n].part].Body.Offset {
		end -= int64(x.eol)
		lf--
	}
	for len(x.open) > n {
		o := x.open[len(x.open)-1]
		x.open = x.open[:len(x.open)-1]
		if o.boundary != "" && !o.closed {
			x.active--
		}
		x.end(o, end, lf)
	}
}

// end ends one part. What reaches into the delimiter's line end, as the header of a message without text does, is cut.
func (x *Indexer) end(o open, end, lf int64) {
	p := &x.ix.parts[o.part]
	p.end = int32(len(x.ix.parts))
	p.Header = p.Header.until(end)
	p.Body = Range{p.Header.End(), end - p.Header.End()}
	if p.Kind == Multipart && p.end == o.part+1 {
		// No delimiter ever came: show the reader what there is.
		p.setDefault(false)
	}
	if p.hasLines() {
		p.Lines = max(0, lf-o.lf)
	}
	x.endTaken(o.part)
}

// until cuts what lies behind end.
func (r Range) until(end int64) Range {
	off := min(r.Offset, end)
	return Range{off, min(r.End(), end) - off}
}
