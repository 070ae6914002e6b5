package imap

import (
	"bytes"

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
	// wholeMax is up to where an item's octets are read and decoded in memory before any is written; larger parts that
	// BINARY decodes are read twice.
	wholeMax = 256 << 10
)

// errHeaderTooLarge is a header above filterMax.
var errHeaderTooLarge = no("LIMIT", "header too large to select fields from")

// datum is the octets of one item of one message.
type datum struct {
	item *item
	mail *mail
	// err is why they cannot be had: the item is left out.
	err error
	// none: the section does not exist.
	none bool
	// segments come one after another; size is their sum.
	segments []segment
	size     int64
	// first is where its ranges begin among those asked for.
	first int
	// filter: the segments are a header that fields are selected from.
	filter bool
	// part is what BINARY decodes, at; see binary. Once it is prepared, size is that of what it decodes to.
	part *message.Part
	at   message.Range
	// whole is all octets, once they are prepared and there are few.
	whole []byte
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

// planRow plans one message's octets and appends what is to be read for them. Its error ends the FETCH.
func (f *fetcher) planRow(r *row, ranges []*storev1.BodyRange) ([]*storev1.BodyRange, error) {
	if r.mail == nil {
		return ranges, nil
	}
	for k := range f.items {
		it := &f.items[k]
		switch it.kind {
		case itemSection, itemBinary, itemBinarySize:
			d, err := f.mails.plan(it, r.mail)
			if err != nil && !isReply(err) {
				return nil, err
			}
			d.err, d.first = err, len(ranges)
			if d.err == nil && d.part == nil {
				ranges = d.ask(ranges)
			}
			r.data = append(r.data, d)
		}
	}
	return ranges, nil
}

// writeRows writes the responses of messages whose octets are asked for together.
func (f *fetcher) writeRows(rows []row, ranges []*storev1.BodyRange) error {
	f.mails.ranges = ranges
	defer f.mails.closeStream()
	for i := range rows {
		if rows[i].mail == nil {
			continue
		}
		f.writeRow(&rows[i])
		if f.mails.err != nil {
			return f.mails.err
		}
		if err := f.s.out.Err(); err != nil {
			return err
		}
	}
	return nil
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
	body := d.mail.body()
	for _, p := range d.mail.overlay.Pieces(room[:0], r, d.mail.email.GetSize()) {
		d.size += p.Length
		switch {
		case p.Prefix:
			d.segments = append(d.segments, segment{local: d.mail.overlay.Prefix[p.Offset:p.End()]})
		case body != nil:
			d.segments = append(d.segments, segment{local: body[p.Offset:p.End()]})
		default:
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
