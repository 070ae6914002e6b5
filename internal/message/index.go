package message

import "time"

// Range is a run of octets.
type Range struct {
	Offset int64
	Length int64
}

// End is the offset behind the range.
func (r Range) End() int64 { return r.Offset + r.Length }

// Flags tell what kinds of octets a message has.
type Flags uint8

// Flags of a message. The two lowest bits of the encoding hold the length of the line that ends the header.
const (
	// EightBit tells of octets above 127 anywhere.
	EightBit Flags = 4 << iota
	// EightBitHeader tells of octets above 127 in a header, the message's or a part's: the message needs SMTPUTF8 (RFC 6532).
	EightBitHeader
	// NUL tells of octets 0.
	NUL
	// BareCR tells of CR without LF behind it.
	BareCR
	// BareLF tells of LF without CR before it.
	BareLF
	// Truncated tells that the header has fields that the index does not list: beyond MaxFields or MaxHeaderBytes, or
	// with a name longer than MaxFieldName.
	Truncated

	blankLine Flags = 3
)

// Field is a field of the message's header; a folded one is one field.
type Field struct {
	// Name is in lower case.
	Name string
	// Start is where the name begins.
	Start int64
	// Value is what follows the colon, line ends included.
	Value Range
}

// All is the whole field, from its name to its last line end.
func (f Field) All() Range { return Range{f.Start, f.Value.End() - f.Start} }

// Index is the part index of one message. It is not changed by its methods and may be used by many goroutines.
type Index struct {
	// Size of the message, octets.
	Size int64
	// Flags tell what octets there are.
	Flags Flags
	// Hops counts the Received fields.
	Hops int
	// ReturnPath is the address of the first Return-Path field, without angle brackets.
	ReturnPath string
	// DeliveredTo are the addresses of the Delivered-To fields, topmost first, as they were written.
	DeliveredTo []string
	// Fields of the header, topmost first.
	Fields []Field

	hasDate   bool
	date      int64 // seconds since 1970
	zone      int   // seconds east of UTC, as the Date field has it
	envelope  []byte
	structure []byte
	preview   []byte
	refs      []byte
	parts     []Part // in order of their headers; the first is the message itself
}

// Kind tells how a part holds others.
type Kind uint8

// Kinds of parts.
const (
	// Leaf holds no parts.
	Leaf Kind = iota
	// Multipart holds one or more.
	Multipart
	// Message holds exactly one: the message that its body is.
	Message
)

// Param is a parameter of a Content-Type or Content-Disposition field. Its name is in lower case; its value is as it was
// written, without quotes. Continuations (RFC 2231 §3) are joined; where the value has a charset, the name ends with "*".
type Param struct {
	Name  string
	Value string
}

// Part is a node of the MIME tree, in body coordinates.
type Part struct {
	Kind Kind
	// Header runs from the part's first octet to behind the empty line; a part without a header has an empty one.
	Header Range
	// Body follows the header. The line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
	Body Range
	// Lines counts the line ends of the body of a text or message part.
	Lines int64

	// Type and Subtype are in lower case.
	Type, Subtype string
	Params        []Param
	// ID, Description, MD5 and Location are the Content-… fields, unfolded; has tells whether there was one.
	ID, Description, MD5, Location string
	// Encoding is the Content-Transfer-Encoding in lower case; empty for a Multipart.
	Encoding string
	// Disposition is in lower case, empty where there is none.
	Disposition       string
	DispositionParams []Param
	Language          []string
	// Boundary of a Multipart.
	Boundary string
	// Envelope of the message in a Message part, in IMAP's form.
	Envelope []byte

	has has
	end int32 // behind the last part of this subtree
}

// has tells an empty string from none.
type has uint8

const (
	hasID has = 1 << iota
	hasDescription
	hasMD5
	hasLocation
)

// Param is the value of a parameter of Content-Type; name is in lower case.
func (p *Part) Param(name string) string { return paramOf(p.Params, name) }

func paramOf(params []Param, name string) string {
	for _, q := range params {
		if q.Name == name {
			return q.Value
		}
	}
	return ""
}

// Is tells whether a part has a media type, both in lower case.
func (p *Part) Is(typ, subtype string) bool { return p.Type == typ && p.Subtype == subtype }

// Root is the message itself as a part: its header is the message's.
func (ix *Index) Root() *Part { return &ix.parts[0] }

// Header is the message's header with the empty line that ends it.
func (ix *Index) Header() Range { return ix.parts[0].Header }

// NoHeader tells that the message begins with its text: its first line is neither a field nor empty. Whoever puts a prefix
// before it puts an empty line behind the prefix.
func (ix *Index) NoHeader() bool { return ix.parts[0].Header.Length == 0 && ix.Size > 0 }

// Len is how many parts there are, the message itself included.
func (ix *Index) Len() int { return len(ix.parts) }

// Walk calls f with every part in the order of the message; path is the part's number in IMAP (RFC 9051 §6.4.5.1), empty
// for a multipart message itself, and only valid until f returns. Where f returns false, what the part holds is left out.
func (ix *Index) Walk(f func(path []int, p *Part) bool) {
	ix.walk(0, make([]int, 0, 8), true, f)
}

// walk visits part i. A message's root that is no multipart has the number 1 within its message.
func (ix *Index) walk(i int32, path []int, root bool, f func([]int, *Part) bool) {
	p := &ix.parts[i]
	if root && p.Kind != Multipart {
		path = append(path, 1)
	}
	if !f(path, p) {
		return
	}
	n := 0
	for c := i + 1; c < p.end; c = ix.parts[c].end {
		n++
		if p.Kind == Message {
			ix.walk(c, path, true, f)
		} else {
			ix.walk(c, append(path, n), false, f)
		}
	}
}

// Envelope is the message's ENVELOPE as IMAP sends it. The caller does not change it.
func (ix *Index) Envelope() []byte { return ix.envelope }

// BodyStructure is the message's BODYSTRUCTURE as IMAP sends it. The caller does not change it.
func (ix *Index) BodyStructure() []byte { return ix.structure }

// Preview is the beginning of the message's text for a list of messages, at most PreviewMax characters on one line
// (RFC 8970); empty where it has none. The caller does not change it.
func (ix *Index) Preview() []byte { return ix.preview }

// References is the end of the first References field, unfolded, at most MaxReferences octets. The caller does not change it.
func (ix *Index) References() []byte { return ix.refs }

// MessageID is the first Message-ID field, with angle brackets, as received and unfolded.
func (ix *Index) MessageID() string { return envelopeString(ix.envelope, envMessageID) }

// InReplyTo is the first In-Reply-To field, unfolded.
func (ix *Index) InReplyTo() string { return envelopeString(ix.envelope, envInReplyTo) }

// Subject is the first Subject field, decoded (RFC 2047).
func (ix *Index) Subject() string { return DecodeWords(envelopeString(ix.envelope, envSubject)) }

// RawDate is the first Date field, unfolded.
func (ix *Index) RawDate() string { return envelopeString(ix.envelope, envDate) }

// SentDate is the first Date field, in the zone it was written in; false where there is none that can be read.
func (ix *Index) SentDate() (time.Time, bool) {
	if !ix.hasDate {
		return time.Time{}, false
	}
	return time.Unix(ix.date, 0).In(time.FixedZone("", ix.zone)), true
}
