package message

// describe tells from the fields of a part's header what it is.
func (x *Indexer) describe(p *Part, inDigest bool) {
	p.setDefault(inDigest)
	for seen, i := uint64(0), 0; i < len(x.fields); i++ {
		f := &x.fields[i]
		bit := uint64(1) << f.name
		if f.name < nameContentType || f.name > nameContentLocation || seen&bit != 0 {
			continue
		}
		seen |= bit // the first of a name counts
		value := unfold(x.scratch.value[:0], x.header[f.value:f.stop])
		x.scratch.value = value
		switch f.name {
		case nameContentType:
			x.setType(p, value)
		case nameContentTransferEncoding:
			if t := firstToken(value); len(t) > 0 && len(t) <= maxType && x.retain(len(t)) {
				p.Encoding = intern(lower(x.small[:0], t))
			}
		case nameContentDisposition:
			x.setDisposition(p, value)
		case nameContentID:
			x.setString(p, &p.ID, hasID, value)
		case nameContentDescription:
			x.setString(p, &p.Description, hasDescription, value)
		case nameContentMD5:
			x.setString(p, &p.MD5, hasMD5, value)
		case nameContentLocation:
			x.setString(p, &p.Location, hasLocation, value)
		case nameContentLanguage:
			x.setLanguage(p, value)
		}
	}
	if p.Kind == Message && !isIdentity(p.Encoding) {
		p.setUnknown() // RFC 2046 §5.2.1 forbids it, and IMAP has no words for it
	}
	if p.Kind == Multipart {
		p.Encoding = "" // RFC 2045 §6.4: nothing is encoded as a whole
	}
}

// isIdentity tells whether an encoding changes nothing (RFC 2045 §6.2); none is 7bit.
func isIdentity(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

var asciiParams = []Param{{Name: "charset", Value: "us-ascii"}}

// setDefault makes a part what it is without a Content-Type that can be read (RFC 2045 §5.2, RFC 2046 §5.1.5).
func (p *Part) setDefault(inDigest bool) {
	p.Boundary = ""
	if p.Encoding == "" {
		p.Encoding = "7bit"
	}
	if inDigest {
		p.Kind, p.Type, p.Subtype, p.Params = Message, "message", "rfc822", nil
		return
	}
	p.Kind, p.Type, p.Subtype, p.Params = Leaf, "text", "plain", asciiParams
}

// setUnknown makes a part something that is only kept.
func (p *Part) setUnknown() {
	p.Boundary = ""
	if p.Encoding == "" {
		p.Encoding = "7bit"
	}
	p.Kind, p.Type, p.Subtype, p.Params = Leaf, "application", "octet-stream", nil
}

// isMessageType tells whether IMAP shows the inside of a type as a message (RFC 9051 §9, media-message).
func (p *Part) isMessageType() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

func (p *Part) hasLines() bool { return p.Kind == Message || p.Kind == Leaf && p.Type == "text" }

// setType reads a Content-Type.
func (x *Indexer) setType(p *Part, value []byte) {
	s := paramScanner{s: value}
	typ, subtype, ok := s.mediaType()
	if !ok || !x.retain(len(typ)+len(subtype)) {
		p.setDefault(false)
		return
	}
	p.Type = intern(lower(x.small[:0], typ))
	p.Subtype = intern(lower(x.small[:0], subtype))
	p.Params = x.params(&s)
	p.Kind = Leaf
	switch {
	case p.Type == "multipart":
		p.Boundary = p.Param("boundary")
		if p.Boundary == "" || len(p.Boundary) > MaxBoundary {
			p.setDefault(false)
			return
		}
		p.Kind = Multipart
	case p.isMessageType():
		p.Kind = Message
	}
}

// setDisposition reads a Content-Disposition (RFC 2183).
func (x *Indexer) setDisposition(p *Part, value []byte) {
	s := paramScanner{s: value}
	t := s.token()
	if len(t) == 0 || len(t) > maxType || !x.retain(len(t)) {
		return
	}
	p.Disposition = intern(lower(x.small[:0], t))
	p.DispositionParams = x.params(&s)
}

func (x *Indexer) setString(p *Part, s *string, h has, value []byte) {
	if x.retain(len(value)) {
		*s = string(value)
		p.has |= h
	}
}

// setLanguage reads a Content-Language (RFC 3282).
func (x *Indexer) setLanguage(p *Part, value []byte) {
	s := paramScanner{s: value}
	for len(p.Language) < MaxLanguages {
		t := s.token()
		if len(t) > 0 && len(t) <= maxType && x.retain(len(t)) {
			p.Language = append(p.Language, intern(t))
		}
		if !s.skipTo(',') {
			return
		}
	}
}

// retain books octets that parts keep. Each string costs something beside its octets.
func (x *Indexer) retain(n int) bool {
	n += 8
	if x.retained+n > MaxRetained {
		return false
	}
	x.retained += n
	return true
}

// params reads the parameters behind a value.
func (x *Indexer) params(s *paramScanner) []Param {
	list := x.scratch.params[:0]
	continued := false
	for len(list) < MaxParams {
		name, value, ok := s.param()
		if !ok {
			break
		}
		if len(name) > maxType || !x.retain(len(name)+len(value)) {
			continue
		}
		q := Param{Name: intern(lower(x.small[:0], name)), Value: intern(value)}
		for i := range q.Name {
			continued = continued || q.Name[i] == '*'
		}
		list = append(list, q)
	}
	x.scratch.params = list
	if continued {
		list = joinContinued(list)
	}
	if len(list) == 0 {
		return nil
	}
	start := len(x.scratch.arena)
	x.scratch.arena = append(x.scratch.arena, list...)
	return x.scratch.arena[start:len(x.scratch.arena):len(x.scratch.arena)]
}
