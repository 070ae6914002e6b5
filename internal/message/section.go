package message

import (
	"errors"
	"fmt"
)

// Spec is what of a part is asked for (RFC 9051 §6.4.5.1, section-spec).
type Spec uint8

// Specs. Header and Text are a message's: the message itself, or one in a Message part. MIME is any part's header.
const (
	Whole Spec = iota // BODY[], BODY[1.2]
	Header
	Text
	MIME
)

// ErrNoSection is a section that a message does not have: NIL in IMAP.
var ErrNoSection = errors.New("no such section")

// Section finds BODY[path.spec] in body coordinates. An empty path is the message.
//
// Error: ErrNoSection.
func (ix *Index) Section(path []int, spec Spec) (Range, error) {
	if len(path) == 0 {
		switch spec {
		case Whole:
			return Range{0, ix.Size}, nil
		case Header:
			return ix.parts[0].Header, nil
		case Text:
			return ix.parts[0].Body, nil
		}
		return Range{}, fmt.Errorf("%w: MIME of the message itself", ErrNoSection)
	}
	i, err := ix.find(path)
	if err != nil {
		return Range{}, err
	}
	p := &ix.parts[i]
	switch {
	case spec == Whole:
		return p.Body, nil
	case spec == MIME:
		return p.Header, nil
	case p.Kind != Message:
		return Range{}, fmt.Errorf("%w: part %v is no message", ErrNoSection, path)
	case spec == Header:
		return ix.parts[i+1].Header, nil
	}
	return ix.parts[i+1].Body, nil
}

// Part finds the part with a number (RFC 9051 §6.4.5.1). An empty path is the message.
//
// Error: ErrNoSection.
func (ix *Index) Part(path []int) (*Part, error) {
	i, err := ix.find(path)
	if err != nil {
		return nil, err
	}
	return &ix.parts[i], nil
}

// find walks down a path. In a message that is no multipart its text has the number 1.
func (ix *Index) find(path []int) (int32, error) {
	i, root := int32(0), true
	for _, n := range path {
		p := &ix.parts[i]
		if !root && p.Kind == Message {
			i, root = i+1, true
			p = &ix.parts[i]
		}
		switch {
		case p.Kind == Multipart:
			c := i + 1
			for ; n > 1 && c < p.end; n-- {
				c = ix.parts[c].end
			}
			if n != 1 || c >= p.end {
				return 0, fmt.Errorf("%w: part %v", ErrNoSection, path)
			}
			i, root = c, false
		case root && n == 1:
			root = false
		default:
			return 0, fmt.Errorf("%w: part %v", ErrNoSection, path)
		}
	}
	return i, nil
}
