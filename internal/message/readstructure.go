package message

import "fmt"

// readStructure fills in what BODYSTRUCTURE tells of the parts. Strings share one copy of it.
func (ix *Index) readStructure() error {
	r := structureReader{wireReader: wireReader{s: string(ix.structure)}, ix: ix}
	r.part(0)
	if r.bad || r.i != len(r.s) {
		return fmt.Errorf("%w: structure", ErrCorrupt)
	}
	return nil
}

type structureReader struct {
	wireReader
	ix     *Index
	params []Param // of all parts
}

// part reads part i, which appendStructure wrote; the shape is known.
func (r *structureReader) part(i int32) {
	p := &r.ix.parts[i]
	r.expect('(')
	if p.Kind == Multipart {
		for c := i + 1; c < p.end && !r.bad; c = r.ix.parts[c].end {
			r.part(c)
		}
		p.Type = "multipart"
		r.expect(' ')
		p.Subtype = r.text()
		r.expect(' ')
		p.Params = r.paramList()
		p.Boundary = p.Param("boundary")
		r.extension(p)
		r.expect(')')
		return
	}
	p.Type = r.text()
	r.expect(' ')
	p.Subtype = r.text()
	r.expect(' ')
	p.Params = r.paramList()
	r.expect(' ')
	p.ID = r.optional(p, hasID)
	r.expect(' ')
	p.Description = r.optional(p, hasDescription)
	r.expect(' ')
	p.Encoding = r.text()
	r.expect(' ')
	if r.number() != p.Body.Length || p.isMessageType() != (p.Kind == Message) {
		r.fail()
	}
	if p.Kind == Message {
		r.expect(' ')
		start := r.i
		r.skip()
		p.Envelope = r.ix.structure[start:r.i:r.i]
		r.expect(' ')
		if i+1 < p.end && !r.bad {
			r.part(i + 1)
		}
	}
	if p.hasLines() {
		r.expect(' ')
		p.Lines = r.number()
	}
	r.expect(' ')
	p.MD5 = r.optional(p, hasMD5)
	r.extension(p)
	r.expect(')')
}

// extension reads disposition, language and location.
func (r *structureReader) extension(p *Part) {
	r.expect(' ')
	if r.take('(') {
		p.Disposition = r.text()
		r.expect(' ')
		p.DispositionParams = r.paramList()
		r.expect(')')
	} else {
		r.null()
	}
	r.expect(' ')
	if r.take('(') {
		for !r.bad {
			p.Language = append(p.Language, r.text())
			if r.take(')') {
				break
			}
			r.expect(' ')
		}
	} else {
		r.null()
	}
	r.expect(' ')
	p.Location = r.optional(p, hasLocation)
}

// text reads a string that is there.
func (r *structureReader) text() string {
	s, there := r.nstring()
	if !there {
		r.fail()
	}
	return s
}

func (r *structureReader) optional(p *Part, h has) string {
	s, there := r.nstring()
	if there {
		p.has |= h
	}
	return s
}

// null reads NIL.
func (r *structureReader) null() {
	if _, there := r.nstring(); there {
		r.fail()
	}
}

// paramList reads parameters.
func (r *structureReader) paramList() []Param {
	if !r.take('(') {
		r.null()
		return nil
	}
	start := len(r.params)
	for !r.bad {
		q := Param{Name: r.text()}
		r.expect(' ')
		q.Value = r.text()
		r.params = append(r.params, q)
		if r.take(')') {
			break
		}
		r.expect(' ')
	}
	return r.params[start:len(r.params):len(r.params)]
}
