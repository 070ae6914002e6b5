package imap

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// gapMax is how many octets between two wanted pieces of a body are read along rather than asked around: a piece of its
	// own costs more than they do.
	gapMax = 4 << 10
	// filterMax is the largest header that HEADER.FIELDS selects from in memory, where the part index has no list of fields.
	filterMax = 4 << 20
	// rangesMax is about how many ranges one call asks for.
	rangesMax = 2000
	// decodeMemory is the largest part that BINARY decodes in memory; larger ones are read twice.
	decodeMemory = 256 << 10
)

// errHeaderTooLarge is a header above filterMax.
var errHeaderTooLarge = no("LIMIT", "header too large to select fields from")

// datum is the octets of one item of one message.
type datum struct {
	item *item
	mail *mail
	// none: the section does not exist.
	none bool
	// segments come one after another; size is their sum.
	segments []segment
	size     int64
	// filter: the segments are a header that fields are selected from.
	filter bool
	// part is what BINARY decodes, at; see binary.
	part *message.Part
	at   message.Range
}

// segment is a run of octets: at hand, or from the stream after skipping some.
type segment struct {
	local []byte
	skip  int64
	take  int64
}

// writeData plans the octets of a batch, asks for them in one call, or several where there are many, and writes the responses.
func (f *fetcher) writeData(rows []row) error {
	for begin := 0; begin < len(rows); {
		var ranges []*storev1.BodyRange
		end := begin
		for ; end < len(rows) && (len(ranges) < rangesMax || end == begin); end++ {
			var err error
			if ranges, err = f.planRow(&rows[end], ranges); err != nil {
				return err
			}
		}
		if len(ranges) > 2*rangesMax {
			return no("LIMIT", "too many sections of one message")
		}
		if err := f.writeRows(rows[begin:end], ranges); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// planRow plans one message's octets and appends what is to be read for them.
func (f *fetcher) planRow(r *row, ranges []*storev1.BodyRange) ([]*storev1.BodyRange, error) {
	if r.mail == nil {
		return ranges, nil
	}
	for k := range f.items {
		it := &f.items[k]
		switch it.kind {
		case itemSection, itemBinary, itemBinarySize:
			d, err := f.mails.plan(it, r.mail)
			if err != nil {
				return nil, err
			}
			if d.part == nil {
				ranges = d.ask(ranges)
			}
			r.data = append(r.data, d)
		}
	}
	return ranges, nil
}

// writeRows writes the responses of messages whose octets are asked for together.
func (f *fetcher) writeRows(rows []row, ranges []*storev1.BodyRange) error {
	if len(ranges) > 0 {
		stream, err := f.mails.open(ranges)
		if err != nil {
			return err
		}
		defer stream.close()
		f.mails.stream = stream
	}
	for i := range rows {
		r := &rows[i]
		if r.mail == nil {
			continue
		}
		if r.streams() {
			if err := f.mails.stream.ready(); err != nil {
				return err
			}
		}
		f.writeRow(r)
		if f.mails.err != nil {
			return f.mails.err
		}
		if err := f.s.out.Err(); err != nil {
			return err
		}
	}
	return nil
}

// streams tells whether a message has octets in the batch's stream.
func (r *row) streams() bool {
	for i := range r.data {
		for _, s := range r.data[i].segments {
			if s.take > 0 {
				return true
			}
		}
	}
	return false
}

// plan finds where an item's octets lie.
func (m *mails) plan(it *item, mail *mail) (datum, error) {
	d := datum{item: it, mail: mail}
	if it.kind == itemSection && len(it.path) == 0 && it.spec == message.Whole {
		// The whole message needs no index.
		d.add(cut(message.Range{Length: mail.size()}, it))
		return d, nil
	}
	ix, err := m.indexOf(mail)
	if err != nil {
		return d, err
	}
	v := ix.WithOverlay(mail.overlay)
	if it.kind != itemSection {
		return d.binary(ix, v)
	}
	r, err := v.Section(it.path, it.spec)
	if err != nil {
		d.none = true
		return d, nil
	}
	if !it.selects {
		d.add(cut(r, it))
		return d, nil
	}
	if len(it.path) == 0 {
		if ranges, complete := v.FieldRanges(nil, it.fields, it.not); complete {
			d.addFields(ranges)
			return d, nil
		}
	}
	if r.Length > filterMax {
		return d, errHeaderTooLarge
	}
	d.filter = true
	d.add(r)
	return d, nil
}

// binary plans BINARY and BINARY.SIZE: the part is decoded when it is written.
func (d datum) binary(ix *message.Index, v message.View) (datum, error) {
	p, err := ix.Part(d.item.path)
	if err != nil {
		d.none = true
		return d, nil
	}
	if d.at, err = v.Section(d.item.path, message.Whole); err != nil {
		d.none = true
		return d, nil
	}
	if p.Kind == message.Multipart && len(d.item.path) > 0 {
		// RFC 3516 §4.2: only leaf parts are decoded; others come as they are.
		p = &message.Part{}
	}
	if len(d.item.path) == 0 {
		// BINARY[] is the message as it is.
		p = &message.Part{}
	}
	if _, err := message.NewDecoder(p.Encoding, bytes.NewReader(nil)); err != nil {
		return d, no("UNKNOWN-CTE", "unknown content-transfer-encoding")
	}
	d.part = p
	return d, nil
}

// cut is the partial of a range.
func cut(r message.Range, it *item) message.Range {
	if it.length < 0 {
		return r
	}
	from := min(it.from, r.Length)
	return message.Range{Offset: r.Offset + from, Length: min(it.length, r.Length-from)}
}

// add appends a range as readers see it.
func (d *datum) add(r message.Range) {
	var room [4]message.Piece
	for _, p := range d.mail.overlay.Pieces(room[:0], r, d.mail.email.GetSize()) {
		d.size += p.Length
		if p.Prefix {
			d.segments = append(d.segments, segment{local: d.mail.overlay.Prefix[p.Offset:p.End()]})
		} else {
			// Until ask, skip is the place in the body.
			d.segments = append(d.segments, segment{skip: p.Offset, take: p.Length})
		}
	}
}

// addFields appends header fields, of which a partial may want some octets only.
func (d *datum) addFields(ranges []message.Range) {
	from, length := d.item.from, d.item.length
	for _, r := range ranges {
		if d.item.length >= 0 {
			if from >= r.Length {
				from -= r.Length
				continue
			}
			r.Offset, r.Length = r.Offset+from, min(r.Length-from, length)
			from, length = 0, length-r.Length
		}
		if r.Length > 0 {
			d.add(r)
		}
	}
}

// ask appends the ranges to be read for the segments, and turns their places into what is to be skipped.
func (d *datum) ask(ranges []*storev1.BodyRange) []*storev1.BodyRange {
	var last *storev1.BodyRange
	for i := range d.segments {
		s := &d.segments[i]
		if s.take == 0 {
			continue
		}
		at := s.skip
		s.skip = 0
		if last != nil {
			end := last.Offset + last.Length
			if gap := at - end; gap >= 0 && gap <= gapMax {
				s.skip = gap
				last.Length += gap + s.take
				continue
			}
		}
		last = &storev1.BodyRange{BlobId: d.mail.email.GetBlobId(), Offset: at, Length: s.take}
		ranges = append(ranges, last)
	}
	return ranges
}

// write writes an item's octets as a literal. An error in the midst of one breaks the dialogue: the connection is cut.
func (m *mails) write(d *datum) {
	out := m.s.out
	switch {
	case d.none:
		out.Str("NIL")
	case d.part != nil:
		m.writeBinary(d)
	case d.filter:
		m.writeFiltered(d)
	default:
		m.literal("{", d.size)
		m.broken(m.copySegments(d, func(p []byte) { out.Write(p) }))
	}
}

// literal announces octets.
func (m *mails) literal(open string, size int64) {
	b := append(m.s.out.Take(), open...)
	b = strconv.AppendInt(b, size, 10)
	m.s.out.Give(append(b, "}\r\n"...))
}

// broken ends the connection after a literal that could not be written in whole.
func (m *mails) broken(err error) {
	if err != nil {
		m.fail(err)
		m.s.readErr = err
		m.s.Cut()
	}
}

func (m *mails) copySegments(d *datum, to func([]byte)) error {
	for _, s := range d.segments {
		if s.take == 0 {
			to(s.local)
			continue
		}
		if err := m.stream.skip(s.skip); err != nil {
			return err
		}
		if err := m.stream.take(s.take, to); err != nil {
			return err
		}
	}
	return nil
}

// writeFiltered reads a header and writes the fields that are wanted.
func (m *mails) writeFiltered(d *datum) {
	header := make([]byte, 0, d.size)
	err := m.copySegments(d, func(p []byte) { header = append(header, p...) })
	if err != nil {
		// Nothing is announced yet, but the response has begun.
		m.broken(err)
		return
	}
	fields := message.FilterHeader(nil, header, d.item.fields, d.item.not)
	r := cut(message.Range{Length: int64(len(fields))}, d.item)
	m.literal("{", r.Length)
	m.s.out.Write(fields[r.Offset:r.End()])
}

// writeBinary writes a part decoded, or its size so. A small part is decoded in memory; a large one is read once for its
// size and once more to be written, so that no part takes much memory.
func (m *mails) writeBinary(d *datum) {
	encoding := d.part.Encoding
	if d.item.kind == itemBinarySize {
		size, err := message.DecodedSize(encoding, m.reader(d))
		if err != nil {
			m.broken(err)
			return
		}
		m.s.out.Num(uint64(size))
		return
	}
	if d.at.Length <= decodeMemory {
		raw, err := m.readSeen(d.mail, d.at)
		var data []byte
		if err == nil {
			data, err = decode(encoding, bytes.NewReader(raw))
		}
		if err != nil {
			m.broken(err)
			return
		}
		r := cut(message.Range{Length: int64(len(data))}, d.item)
		m.literal("~{", r.Length)
		m.s.out.Write(data[r.Offset:r.End()])
		return
	}
	size, err := message.DecodedSize(encoding, m.reader(d))
	if err != nil {
		m.broken(err)
		return
	}
	r := cut(message.Range{Length: size}, d.item)
	m.literal("~{", r.Length)
	m.broken(m.copyDecoded(d, r))
}

// copyDecoded writes a range of what a part decodes to.
func (m *mails) copyDecoded(d *datum, r message.Range) error {
	from := m.reader(d)
	defer from.close()
	decoded, err := message.NewDecoder(d.part.Encoding, from)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, decoded, r.Offset); err != nil {
		return err
	}
	_, err = io.CopyN(m.s.out, decoded, r.Length)
	return err
}

func decode(encoding string, r io.Reader) ([]byte, error) {
	d, err := message.NewDecoder(encoding, r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(d)
}

// partReader reads a part as readers see it, by a call of its own.
type partReader struct {
	m      *mails
	mail   *mail
	pieces []message.Piece
	stream *bodyStream
	left   int64
}

func (m *mails) reader(d *datum) *partReader {
	return &partReader{m: m, mail: d.mail, pieces: d.mail.overlay.Pieces(nil, d.at, d.mail.email.GetSize())}
}

// Read reads on.
func (r *partReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		r.close()
		if len(r.pieces) == 0 {
			return 0, io.EOF
		}
		piece := r.pieces[0]
		r.pieces = r.pieces[1:]
		if piece.Prefix {
			r.stream = &bodyStream{m: r.m, held: r.mail.overlay.Prefix[piece.Offset:piece.End()], cancel: func() {}}
		} else {
			var err error
			r.stream, err = r.m.open([]*storev1.BodyRange{{BlobId: r.mail.email.GetBlobId(), Offset: piece.Offset, Length: piece.Length}})
			if err != nil {
				return 0, err
			}
		}
		r.left = piece.Length
	}
	if err := r.stream.ready(); err != nil {
		if errors.Is(err, io.EOF) {
			err = errShortBody
		}
		return 0, err
	}
	n := copy(p, r.stream.held)
	r.stream.held = r.stream.held[n:]
	r.left -= int64(n)
	return n, nil
}

func (r *partReader) close() {
	if r.stream != nil {
		r.stream.cancel()
		r.stream = nil
	}
}
