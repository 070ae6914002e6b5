package imap

import (
	"bytes"
	"io"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/message"
)

// prepare makes sure that an item's octets can be written before anything of it is: what is small is read and decoded whole.
// What is larger than wholeMax is read as it is written, and so can still break off within its literal; a message of which
// that has happened is read through first. An error that is a reply is of this item only; it may be asked of all items of
// all messages, in the order in which they were planned.
func (m *mails) prepare(d *datum) error {
	err := d.err
	if err == nil {
		err = d.mail.lost
	}
	switch {
	case err != nil, d.none:
	case d.part != nil:
		err = m.prepareBinary(d)
	default:
		err = m.prepareSegments(d)
	}
	if err != nil && d.streams() {
		// The stream has ended, or stands elsewhere: the next item begins another.
		m.closeStream()
	}
	return err
}

// streams tells whether an item has octets in the batch's stream.
func (d *datum) streams() bool {
	for _, s := range d.segments {
		if s.take > 0 {
			return true
		}
	}
	return false
}

func (m *mails) prepareSegments(d *datum) error {
	if !d.streams() && !d.filter {
		return nil
	}
	if d.streams() && m.stream == nil {
		var err error
		if m.stream, err = m.open(m.ranges[d.first:]); err != nil {
			return m.lose(d, err)
		}
	}
	switch {
	case d.filter:
	case d.size > wholeMax:
		if m.s.svc.broken.has(d.mail.email.GetBlobId()) {
			if err := m.readThrough(d); err != nil {
				return m.lose(d, err)
			}
		}
		return m.lose(d, m.readyFor(d))
	default:
		if err := m.readyFor(d); err != nil {
			return m.lose(d, err)
		}
		if last := d.segments[len(d.segments)-1]; len(d.segments) <= 2 && last.skip == 0 && last.take > 0 &&
			d.segments[0].take*int64(len(d.segments)-1) == 0 && int64(len(m.stream.held)) >= last.take {
			return nil // All is at hand, and need not be copied.
		}
	}
	m.room = m.room[:0]
	if err := m.copySegments(d, func(p []byte) { m.room = append(m.room, p...) }); err != nil {
		return m.lose(d, err)
	}
	d.whole = m.room
	if d.filter {
		fields := message.FilterHeader(nil, d.whole, d.item.fields, d.item.not)
		r := cut(message.Range{Length: int64(len(fields))}, d.item)
		d.whole = fields[r.Offset:r.End()]
	}
	d.segments, d.size = nil, int64(len(d.whole))
	return nil
}

// readyFor waits until the first of an item's octets that are read are there.
func (m *mails) readyFor(d *datum) error {
	for _, s := range d.segments {
		if s.take > 0 {
			if err := m.stream.skip(s.skip); err != nil {
				return err
			}
			break
		}
	}
	for i := range d.segments {
		if d.segments[i].take > 0 {
			d.segments[i].skip = 0
			break
		}
	}
	return m.stream.ready()
}

// readThrough reads an item's octets by calls of its own, for nothing but the error.
func (m *mails) readThrough(d *datum) error {
	return m.readRaw(d.mail, message.Range{Length: d.mail.email.GetSize()}, func([]byte) {})
}

// lose notes of a message that is not there at all that no other item needs to be tried.
func (m *mails) lose(d *datum, err error) error {
	if isLost(err) {
		d.mail.lost = err
	}
	return err
}

// prepareBinary decodes a part, or finds out what size it decodes to. A small part is decoded in memory; a large one is read
// once for its size and once more to be written, so that no part takes much memory.
func (m *mails) prepareBinary(d *datum) error {
	var err error
	if d.item.kind == itemBinarySize || d.at.Length > wholeMax {
		from := m.reader(d)
		defer from.close()
		d.size, err = message.DecodedSize(d.part.Encoding, from)
		return m.lose(d, err)
	}
	raw, err := m.readSeen(d.mail, d.at)
	if err == nil {
		raw, err = decode(d.part.Encoding, bytes.NewReader(raw))
	}
	if err != nil {
		return m.lose(d, err)
	}
	r := cut(message.Range{Length: int64(len(raw))}, d.item)
	d.whole = raw[r.Offset:r.End()]
	d.size = r.Length
	return nil
}

// write writes what was prepared. An error in the midst of a literal breaks the dialogue: the connection is severed, and the
// body remembered, so that the client that comes again gets what lies behind it.
func (m *mails) write(d *datum) {
	out := m.s.out
	open := "{"
	if d.part != nil {
		open = "~{"
	}
	switch {
	case d.none:
		out.Str("NIL")
	case d.item.kind == itemBinarySize:
		out.Num(uint64(d.size))
	case d.part != nil && d.at.Length > wholeMax:
		r := cut(message.Range{Length: d.size}, d.item)
		m.literal(open, r.Length)
		m.breakOff(d, m.copyDecoded(d, r))
	case len(d.segments) > 0:
		m.literal(open, d.size)
		m.breakOff(d, m.copySegments(d, func(p []byte) { out.Write(p) }))
	default:
		m.literal(open, d.size)
		out.Write(d.whole)
	}
}

// literal announces octets.
func (m *mails) literal(open string, size int64) {
	b := append(m.s.out.Take(), open...)
	b = strconv.AppendInt(b, size, 10)
	m.s.out.Give(append(b, "}\r\n"...))
}

// breakOff ends the connection after a literal that could not be written in whole.
func (m *mails) breakOff(d *datum, err error) {
	if err != nil {
		if isReply(err) {
			m.s.svc.broken.add(d.mail.email.GetBlobId())
		}
		m.fail(err)
		m.s.readErr = err
		m.s.out.Flush()
		m.s.sever()
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
