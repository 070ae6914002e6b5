package message

import "strconv"

// AppendBody appends the message's BODY as IMAP sends it: BODYSTRUCTURE without its extensions.
func (ix *Index) AppendBody(dst []byte) []byte { return ix.appendStructure(dst, 0, false) }

// appendStructure renders part i (RFC 9051 §7.5.2, §9 body), with extensions or without.
func (ix *Index) appendStructure(dst []byte, i int32, extended bool) []byte {
	p := &ix.parts[i]
	dst = append(dst, '(')
	if p.Kind == Multipart {
		for c := i + 1; c < p.end; c = ix.parts[c].end {
			dst = ix.appendStructure(dst, c, extended)
		}
		dst = append(dst, ' ')
		dst = appendText(dst, p.Subtype)
		if extended {
			dst = append(dst, ' ')
			dst = appendParams(dst, p.Params)
			dst = p.appendExtension(dst)
		}
		return append(dst, ')')
	}
	dst = appendText(dst, p.Type)
	dst = append(dst, ' ')
	dst = appendText(dst, p.Subtype)
	dst = append(dst, ' ')
	dst = appendParams(dst, p.Params)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.ID, p.has&hasID != 0)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.Description, p.has&hasDescription != 0)
	dst = append(dst, ' ')
	dst = appendText(dst, p.Encoding)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, p.Body.Length, 10)
	if p.Kind == Message {
		dst = append(dst, ' ')
		dst = append(dst, p.Envelope...)
		dst = append(dst, ' ')
		dst = ix.appendStructure(dst, i+1, extended)
	}
	if p.hasLines() {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	}
	if extended {
		dst = append(dst, ' ')
		dst = appendNString(dst, p.MD5, p.has&hasMD5 != 0)
		dst = p.appendExtension(dst)
	}
	return append(dst, ')')
}

// appendExtension renders disposition, language and location.
func (p *Part) appendExtension(dst []byte) []byte {
	if p.Disposition == "" {
		dst = append(dst, " NIL "...)
	} else {
		dst = append(dst, " ("...)
		dst = appendText(dst, p.Disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, p.DispositionParams)
		dst = append(dst, ") "...)
	}
	if len(p.Language) == 0 {
		dst = append(dst, "NIL"...)
	} else {
		for i, l := range p.Language {
			dst = append(dst, "( "[min(i, 1)])
			dst = appendText(dst, l)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendNString(dst, p.Location, p.has&hasLocation != 0)
}

// appendParams renders parameters.
func appendParams(dst []byte, params []Param) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i, q := range params {
		dst = append(dst, "( "[min(i, 1)])
		dst = appendText(dst, q.Name)
		dst = append(dst, ' ')
		dst = appendText(dst, q.Value)
	}
	return append(dst, ')')
}
