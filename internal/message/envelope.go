package message

// envItem is the place of an item in ENVELOPE.
type envItem int

// The items of ENVELOPE in their order (RFC 9051 §9, envelope).
const (
	envDate envItem = iota
	envSubject
	envFrom
	envSender
	envReplyTo
	envTo
	envCc
	envBcc
	envInReplyTo
	envMessageID
	envItems
)

// envNames are the fields that the items show.
var envNames = [envItems]name{
	nameDate, nameSubject, nameFrom, nameSender, nameReplyTo, nameTo, nameCc, nameBcc, nameInReplyTo, nameMessageID,
}

// isAddresses tells whether an item is a list of addresses.
func (it envItem) isAddresses() bool { return it >= envFrom && it <= envBcc }

// emptyEnvelope is that of a message without any of the fields.
const emptyEnvelope = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

// AppendEnvelope appends the ENVELOPE of a message with the given header.
func AppendEnvelope(dst, header []byte) []byte {
	fields, _ := fieldList(nil).parse(header[:min(len(header), MaxHeaderBytes)], len(header) > MaxHeaderBytes)
	var w envelopeWriter
	return w.append(dst, header, fields)
}

// keepEnvelope renders the envelope of the message whose root is part i, and keeps it: the message's own in the index,
// another's in the part that holds it.
func (x *Indexer) keepEnvelope(i int32, fields fieldList) {
	if i == 0 {
		x.ix.envelope = x.writer.append(x.ix.envelope[:0], x.header, fields)
		return
	}
	b := x.writer.append(x.scratch.text[:0], x.header, fields)
	x.scratch.text = b
	if !x.retain(len(b)) {
		b = []byte(emptyEnvelope)
	}
	x.ix.parts[i-1].Envelope = append([]byte(nil), b...)
}

func (w *envelopeWriter) kept() envelopeWriter {
	p := &w.parser
	return envelopeWriter{value: keep(w.value), parser: addressParser{
		name: keep(p.name), route: keep(p.route), local: keep(p.local), domain: keep(p.domain), comment: keep(p.comment),
	}}
}

// envelopeWriter renders envelopes.
type envelopeWriter struct {
	value  []byte
	parser addressParser
}

// append renders one. Sender and Reply-To are From where they are missing or empty (RFC 9051 §7.5.2). Where an address
// field comes more than once, all of its addresses are shown, so that none can be hidden from whoever checks the first.
func (w *envelopeWriter) append(dst, header []byte, fields fieldList) []byte {
	dst = append(dst, '(')
	var from Range // in dst
	for it := envDate; it < envItems; it++ {
		if it > 0 {
			dst = append(dst, ' ')
		}
		if !it.isAddresses() {
			v := fields.first(header, envNames[it])
			if v == nil {
				dst = append(dst, "NIL"...)
				continue
			}
			w.value = unfold(w.value[:0], v)
			dst = appendString(dst, w.value)
			continue
		}
		start := len(dst)
		dst = w.addresses(dst, header, fields, envNames[it])
		switch {
		case it == envFrom:
			from = Range{int64(start), int64(len(dst) - start)}
		case len(dst) == start && (it == envSender || it == envReplyTo):
			dst = append(dst, dst[from.Offset:from.End()]...)
		}
		if len(dst) == start {
			dst = append(dst, "NIL"...)
		}
	}
	return append(dst, ')')
}

// addresses renders the addresses of all fields of a name; nothing where there are none.
func (w *envelopeWriter) addresses(dst, header []byte, fields fieldList, n name) []byte {
	start := len(dst)
	for i := range fields {
		f := &fields[i]
		if f.name != n {
			continue
		}
		w.parser.reset(header[f.value:f.stop])
		for w.parser.next() {
			if len(dst) == start {
				dst = append(dst, '(')
			}
			before := len(dst)
			dst = w.parser.appendTo(dst)
			if len(dst)-start > MaxAddressBytes {
				dst = dst[:before]
				if w.parser.inGroup && w.parser.kind != kindGroup {
					dst = append(dst, groupEnd...)
				}
				return closeList(dst, start)
			}
		}
	}
	return closeList(dst, start)
}

// AppendAddresses appends the addresses of an address field's value as ENVELOPE shows them, however many; nothing where it has
// none.
func AppendAddresses(dst, value []byte) []byte {
	start := len(dst)
	var p addressParser
	p.reset(value)
	for p.next() {
		if len(dst) == start {
			dst = append(dst, '(')
		}
		dst = p.appendTo(dst)
	}
	return closeList(dst, start)
}

// closeList ends the list that begins at start, if it has begun and has anything in it: a list is never empty.
func closeList(dst []byte, start int) []byte {
	if len(dst) <= start+1 {
		return dst[:start]
	}
	return append(dst, ')')
}
