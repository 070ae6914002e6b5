package message

import (
	"bytes"
	"encoding/binary"
)

// Indexer makes the index of a message in one pass: Write the body as it arrives, in pieces of any size, then Finish.
// How the body is cut into pieces makes no difference. The zero value is ready; Reset makes it so again. Memory is bounded
// by the constants of this package, whatever the message. Not for concurrent use.
type Indexer struct {
	ix   Index
	open []open // parts not ended yet, the message itself first

	header   []byte // what was seen of the header being read, at most MaxHeaderBytes
	cutOff   bool   // the header goes on behind what is kept
	inHeader bool   // the innermost open part's header has not ended
	anyLine  bool   // a line of that header has ended
	active   int    // open multiparts whose closing delimiter has not come

	lineStart int64  // where the current line begins
	lineLen   int64  // octets of it so far
	head      []byte // those octets while it may still be a delimiter
	eol       int    // length of the line end before lineStart
	lf, crlf  int64  // line ends so far
	cr        int64  // CRs so far
	lastCR    bool   // the last octet was CR

	taken taken // of the text part that the preview is made of

	retained int // octets of strings kept in parts
	fields   fieldList
	scratch  scratch
	writer   envelopeWriter
	small    [maxType]byte
}

// open is a part that has not ended.
type open struct {
	part     int32
	lf       int64 // line ends before its body
	boundary string
	closed   bool // its closing delimiter has come
}

// Reset prepares for the next message. The Index that Finish gave is over then.
func (x *Indexer) Reset() {
	for i := range x.ix.parts {
		x.ix.parts[i] = Part{}
	}
	parts, fields, delivered := x.ix.parts[:0], x.ix.Fields[:0], x.ix.DeliveredTo[:0]
	if cap(parts) > 100 {
		parts = nil
	}
	*x = Indexer{
		ix: Index{
			Fields: fields, DeliveredTo: delivered, parts: parts,
			envelope: keep(x.ix.envelope), structure: keep(x.ix.structure), preview: x.ix.preview[:0], refs: x.ix.refs[:0],
		},
		taken: x.taken.kept(),
		open:  x.open[:0], header: keep(x.header), head: x.head[:0],
		fields: x.fields[:0], scratch: x.scratch.kept(), writer: x.writer.kept(),
	}
}

// keep empties a buffer, and gives a large one back.
func keep(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// Write takes the next octets of the body. It never fails.
func (x *Indexer) Write(p []byte) (int, error) {
	n := len(p)
	if n == 0 {
		return 0, nil
	}
	if len(x.ix.parts) == 0 {
		x.begin(0)
	}
	x.scan(p)
	for len(p) > 0 {
		if x.active == 0 && !x.inHeader {
			x.bulk(p)
			break
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			x.piece(p)
			break
		}
		x.line(p[:i+1])
		p = p[i+1:]
	}
	return n, nil
}

// scan looks for octets that are worth a flag, and remembers whether the next piece begins behind a CR.
func (x *Indexer) scan(p []byte) {
	if x.ix.Flags&EightBit == 0 && hasEightBit(p) {
		x.ix.Flags |= EightBit
	}
	if x.ix.Flags&NUL == 0 && bytes.IndexByte(p, 0) >= 0 {
		x.ix.Flags |= NUL
	}
	x.cr += int64(bytes.Count(p, []byte{'\r'}))
	if x.lastCR && p[0] == '\n' {
		x.crlf++
	}
}

func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// bulk takes text in which no structure can come any more.
func (x *Indexer) bulk(p []byte) {
	x.take(p)
	x.lineStart += x.lineLen + int64(len(p)) // no longer of interest but as the message's size
	x.lineLen = 0
	x.lastCR = p[len(p)-1] == '\r'
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		x.lf++
		if i > 0 && p[i-1] == '\r' { // scan has counted a CR of the piece before
			x.crlf++
		}
		p = p[i+1:]
	}
}

// piece takes octets of a line that goes on.
func (x *Indexer) piece(p []byte) {
	if x.lineLen+int64(len(p)) <= maxDelimiterLine {
		x.head = append(x.head, p...)
	}
	if x.inHeader {
		x.collect(p)
	} else {
		x.take(p)
	}
	x.lineLen += int64(len(p))
	x.lastCR = p[len(p)-1] == '\r'
}

// line takes the rest of a line, up to its LF.
func (x *Indexer) line(p []byte) {
	full := x.lineLen + int64(len(p))
	eol := 1
	if len(p) > 1 {
		if p[len(p)-2] == '\r' {
			eol = 2
			x.crlf++
		}
	} else if x.lastCR && x.lineLen > 0 {
		eol = 2 // scan has counted it
	}
	x.lastCR = false
	if x.active > 0 && full <= maxDelimiterLine {
		text := p
		if x.lineLen > 0 {
			x.head = append(x.head, p...)
			text = x.head
		}
		if x.delimiter(text[:len(text)-eol], full) {
			x.next(full, eol)
			return
		}
	}
	if x.inHeader {
		x.collect(p)
		switch {
		case full == int64(eol):
			if len(x.open) == 1 {
				x.ix.Flags |= Flags(eol)
			}
			x.endHeader(x.lineStart+full, x.lf+1)
		case !x.anyLine && !x.startsHeader():
			x.noHeader()
		default:
			x.anyLine = true
		}
	} else {
		x.take(p)
	}
	x.next(full, eol)
}

// next moves behind a line.
func (x *Indexer) next(full int64, eol int) {
	x.lineStart += full
	x.lineLen = 0
	x.head = x.head[:0]
	x.eol = eol
	x.lf++
}

// Finish ends the message and gives its index, which holds until Reset. The error is always nil.
func (x *Indexer) Finish() (*Index, error) {
	if len(x.ix.parts) == 0 {
		x.begin(0)
	}
	size := x.lineStart + x.lineLen
	if x.lineLen > 0 {
		if x.active > 0 && x.lineLen <= maxDelimiterLine {
			x.delimiter(x.head, x.lineLen)
		}
		if x.inHeader && !x.anyLine && len(x.header) > 0 && !x.startsHeader() {
			x.noHeader()
		}
	}
	x.lineStart, x.lineLen = size, 0
	x.closeTo(0, false)
	x.ix.Size = size
	if x.cr != x.crlf {
		x.ix.Flags |= BareCR
	}
	if x.lf != x.crlf {
		x.ix.Flags |= BareLF
	}
	x.ix.structure = x.ix.appendStructure(x.ix.structure[:0], 0, true)
	return &x.ix, nil
}
