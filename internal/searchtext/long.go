package searchtext

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"math"

	"github.com/mailfarm/mailfarm/internal/doctext"
	"github.com/mailfarm/mailfarm/internal/message"
)

const (
	// WholeMax is up to what size, octets, a message is looked through in memory; see Texts. Long reads those above.
	WholeMax = 4 << 20
	// looseMax is how much of the text of one HTML part FUZZY looks at without its tags, in a long message.
	looseMax = 8 << 20
	// gapMax is how much that nobody wants is read along rather than asked around.
	gapMax = 64 << 10
	// fieldMax is how much of one header field is decoded at once.
	fieldMax = 256 << 10
	// reopenMax is how often the structure of what lies deeper than message.MaxDepth is made out, one within the other. What is
	// still deeper is looked through as it stands.
	reopenMax = 8
)

// IsLong tells whether a message is to be read by Long: a large one, and one whose part index has not all of its parts.
func IsLong(ix *message.Index, size int64) bool { return size > WholeMax || ix.Coarse() }

// Long gives the texts of a message, of whatever size and depth, in pieces: those that Texts looks into. It reads no more than
// what holds texts, and holds a few hundred KiB, and of HTML parts and documents, where FUZZY looks into them, 16 MiB.
type Long struct {
	// Open gives a section of the message as readers see it.
	Open func(message.Range) (io.ReadCloser, error)

	to     Reader
	pieces *pieces
}

// section is a part of the message with a text.
type section struct {
	at   message.Range
	kind sectionKind
	part *message.Part
}

type sectionKind uint8

const (
	fields sectionKind = iota // of the message's own header, each by itself
	header
	textPart
	document
	asItStands
	unopened
)

// Read gives a message's texts to a reader, until it wants no more. An error is one of Open or of what that gave.
func (l *Long) Read(v message.View, to Reader) error {
	l.to, l.pieces = to, newPieces(to, pieceMax)
	return l.read(v, 0, reopenMax)
}

// read gives the texts of the message that begins at base.
func (l *Long) read(v message.View, base int64, depth int) error {
	var near []section
	var err error
	flush := func() {
		if err == nil && len(near) > 0 {
			err = l.each(near)
		}
		near = near[:0]
	}
	l.sections(v, base == 0, depth, func(s section) bool {
		s.at.Offset += base
		if n := len(near); n > 0 && (s.at.Offset-near[n-1].at.End() > gapMax || s.at.Offset < near[n-1].at.End()) || s.kind == unopened {
			flush()
		}
		switch {
		case err != nil || !l.wantsAny():
			return false
		case s.kind == unopened:
			err = l.reopen(s, depth-1)
		default:
			near = append(near, s)
		}
		return err == nil
	})
	flush()
	return err
}

func (l *Long) wantsAny() bool {
	return l.to.Wants(OfPart) || l.to.Wants(OfHeader) || l.to.Wants(OfField) || l.to.Wants(OfLoose)
}

// sections calls f with what has texts that are wanted, in the order of the message, until it returns false. own tells that it
// is the message that is searched, and not one within it, whose header was given with its part.
func (l *Long) sections(v message.View, own bool, depth int, f func(section) bool) {
	ix := v.Index
	going := true
	add := func(kind sectionKind, r message.Range, p *message.Part) {
		if going && r.Length > 0 {
			going = f(section{at: r, kind: kind, part: p})
		}
	}
	var last *message.Part
	ix.EachPart(func(level int, p *message.Part) {
		switch {
		case !going:
			return
		case last != nil && l.to.Wants(OfHeader):
			add(header, v.Overlay.SeenRange(p.Header), p)
		case last == nil && own:
			if l.to.Wants(OfField) {
				add(fields, v.Header(), p)
			}
			if l.to.Wants(OfHeader) {
				add(header, v.Header(), p)
			}
		}
		if name := extendedName(p); name != "" && l.to.Wants(OfHeader) && (last != nil || own) {
			l.pieces.begin(OfHeader, nil)
			l.pieces.write([]byte(name))
			l.pieces.end()
		}
		last = p
		if p.Kind != message.Leaf {
			return
		}
		body := v.Overlay.SeenRange(p.Body)
		switch {
		case isText(p):
			if l.to.Wants(OfPart) || l.to.Wants(OfLoose) {
				add(textPart, body, p)
			}
		case ix.Unopened(level, p) && depth > 0:
			// With its header, which says what it is.
			add(unopened, v.Overlay.SeenRange(message.Range{Offset: p.Header.Offset, Length: p.Header.Length + p.Body.Length}), p)
		case ix.Unopened(level, p):
			add(asItStands, body, p)
		case l.to.Wants(OfLoose) && doctext.Reads(p.Type+"/"+p.Subtype, fileName(p)):
			add(document, body, p)
		}
	})
	if ix.Len() >= message.MaxParts {
		// What lies behind the last part that the index tells of is in it, or nowhere.
		body := v.Overlay.SeenRange(last.Body)
		from := body.Offset
		if last.Kind == message.Leaf && isText(last) {
			from = body.End()
		}
		add(asItStands, message.Range{Offset: from, Length: v.Size() - from}, last)
	}
}

func isText(p *message.Part) bool { return p.Type == "text" || p.Type == "message" }

// reopen makes out the structure of a part that the index left out, and gives its texts.
func (l *Long) reopen(s section, depth int) error {
	r, err := l.Open(s.at)
	if err != nil {
		return err
	}
	var x message.Indexer
	_, err = io.Copy(&x, r)
	r.Close()
	if err != nil {
		return err
	}
	ix, err := x.Finish()
	if err != nil {
		return err
	}
	return l.read(ix.WithOverlay(message.Overlay{}), s.at.Offset, depth)
}

// failing keeps the error of what it reads, which decoders take for the end.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// each reads sections that lie near each other, and gives their texts.
func (l *Long) each(near []section) error {
	at := near[0].at.Offset
	whole, err := l.Open(message.Range{Offset: at, Length: near[len(near)-1].at.End() - at})
	if err != nil {
		return err
	}
	defer whole.Close()
	f := &failing{r: whole}
	r := bufio.NewReaderSize(f, 32<<10)
	for _, s := range near {
		if !l.wantsAny() {
			break
		}
		if _, err := io.CopyN(io.Discard, r, s.at.Offset-at); err != nil {
			return cmp.Or(f.err, err)
		}
		part := &io.LimitedReader{R: r, N: s.at.Length}
		l.give(part, s)
		if _, err := io.Copy(io.Discard, part); err != nil || f.err != nil {
			return cmp.Or(f.err, err)
		}
		if part.N > 0 {
			return io.ErrUnexpectedEOF
		}
		at = s.at.End()
	}
	return nil
}

// give gives the text of a section. What cannot be decoded ends it.
func (l *Long) give(r io.Reader, s section) {
	switch s.kind {
	case fields:
		l.header(r, func(name, _ []byte) { l.pieces.begin(OfField, name) }, l.pieces.end)
	case header:
		l.pieces.begin(OfHeader, nil)
		l.header(r, func(name, value []byte) {
			l.pieces.write(name)
			l.pieces.write(FoldBlanks([]byte{':'}, value))
		}, func() { l.pieces.write([]byte{'\n'}) })
		l.pieces.end()
	case textPart:
		l.text(r, s.part)
	case document:
		l.loose(textOf(s.part, r))
	case asItStands:
		l.pieces.begin(OfPart, nil)
		l.copy(r)
	}
}

// text gives a text part, and what people see of HTML.
func (l *Long) text(r io.Reader, p *message.Part) {
	if !asItIs(p) {
		r = message.NewTextReader(p, r, math.MaxInt64)
	}
	var seen bytes.Buffer
	isHTML := p.Is("text", "html") && l.to.Wants(OfLoose)
	if isHTML {
		r = io.TeeReader(r, &upTo{&seen, looseMax})
	}
	l.pieces.begin(OfPart, nil)
	l.copy(r)
	if isHTML && l.to.Wants(OfLoose) {
		l.loose(visible(seen.Bytes()))
	}
}

// copy gives the rest of a text.
func (l *Long) copy(r io.Reader) {
	buf := buffers.Get().(*[8 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		l.pieces.write(buf[:n])
		if err != nil {
			l.pieces.end()
			return
		}
	}
}

func (l *Long) loose(text []byte) {
	l.pieces.begin(OfLoose, nil)
	l.pieces.write(text)
	l.pieces.end()
}

// upTo keeps the first octets.
type upTo struct {
	b    *bytes.Buffer
	left int
}

func (u *upTo) Write(p []byte) (int, error) {
	n := min(len(p), u.left)
	u.left -= n
	u.b.Write(p[:n])
	return len(p), nil
}

// header gives the fields of a header, decoded: their values between begin, which is given the value as it
// begins, and end. A field is decoded fieldMax octets at a
// time, cut at white space.
func (l *Long) header(from io.Reader, begin func(name, value []byte), end func()) {
	r := bufio.NewReaderSize(from, 4<<10)
	var held, folded []byte
	open := false // a field that begin was called for goes on
	give := func(value []byte) {
		folded = FoldValue(folded[:0], value)
		l.pieces.folded(folded)
	}
	whole := func() {
		if open {
			give(held)
		} else {
			message.EachField(held, func(name, value []byte) bool {
				begin(name, value)
				give(value)
				open = true
				return false
			})
		}
		if open {
			end()
		}
		open, held = false, held[:0]
	}
	for fresh := true; ; {
		line, err := r.ReadSlice('\n')
		if fresh && len(line) > 0 && line[0] != ' ' && line[0] != '\t' && len(held) > 0 {
			whole()
		}
		held = append(held, line...)
		fresh = bytes.HasSuffix(line, []byte{'\n'})
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
		if len(held) < fieldMax {
			continue
		}
		left, right, space := divide(held)
		switch {
		case open:
			give(left)
		default:
			message.EachField(left, func(name, value []byte) bool {
				begin(bytes.Clone(name), value)
				give(value)
				open = true
				return false
			})
		}
		if open && space {
			l.pieces.folded([]byte{' '})
		}
		held = held[:copy(held, right)]
	}
	whole()
}

// divide divides a long field at white space, if it has any. space tells that a space stands between the two once they are
// decoded: between encoded-words none does (RFC 2047 §6.2).
func divide(field []byte) (left, right []byte, space bool) {
	const white = " \t\r\n"
	text := bytes.TrimRight(field, white)
	at := bytes.LastIndexAny(text, white)
	if left = bytes.TrimRight(field[:max(at, 0)], white); len(left) < len(field)/2 {
		at = WholeRunes(field)
		return field[:at], field[at:], false
	}
	right = field[at+1:]
	return left, right, !bytes.HasSuffix(left, []byte("?=")) || !bytes.HasPrefix(right, []byte("=?"))
}
