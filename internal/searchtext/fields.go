package searchtext

import (
	"bytes"
	"time"

	"github.com/mailfarm/mailfarm/internal/message"
)

// Fields looks into a message's own header, and keeps what is decoded of it for further keys.
type Fields struct {
	header []byte
	arena  []byte // memory for what is folded
	held   map[wanted][][]byte
}

// wanted is what a key looks into: all fields of a name, or what a place of ENVELOPE shows of them.
type wanted struct {
	field string
	slot  Slot
}

// Reset makes f look into another header. What f gave of the last one is no longer valid.
func (f *Fields) Reset(header []byte) {
	clear(f.held)
	*f = Fields{header: header, arena: f.arena[:0], held: f.held}
}

// Hit tells whether the header has what HEADER looks for, or SUBJECT, or a key of addresses.
func (f *Fields) Hit(n *Needle) Hit {
	hit := Missed
	for _, text := range f.texts(wanted{n.Field, n.Slot}) {
		hit = max(hit, n.In(text))
	}
	return hit
}

// texts are decoded and folded.
func (f *Fields) texts(w wanted) [][]byte {
	all, ok := f.held[w]
	if ok {
		return all
	}
	since := func(begin int) []byte { return f.arena[begin:len(f.arena):len(f.arena)] }
	if w.slot != None {
		begin := len(f.arena)
		f.arena = AppendFieldsOf(f.arena, f.header, w.slot)
		all = append(all, since(begin))
	} else {
		message.EachField(f.header, func(name, value []byte) bool {
			if bytes.EqualFold(name, []byte(w.field)) {
				begin := len(f.arena)
				f.arena = FoldValue(f.arena, value)
				all = append(all, since(begin))
			}
			return true
		})
	}
	if f.held == nil {
		f.held = map[wanted][][]byte{}
	}
	f.held[w] = all
	return all
}

// SentDate is the first Date field of the header; false where there is none that can be read.
func (f *Fields) SentDate() (sent time.Time, ok bool) {
	message.EachField(f.header, func(name, value []byte) bool {
		if !bytes.EqualFold(name, []byte(Date.Field())) {
			return true
		}
		sent, ok = message.DateOf(value)
		return false
	})
	return sent, ok
}

// SentDate is the first Date field of a message; false where there is none that can be read. Errors are those of Read.
func (l *Long) SentDate(v message.View) (sent time.Time, ok bool, err error) {
	var d dateReader
	if err := l.Read(v, &d); err != nil {
		return sent, false, err
	}
	sent, ok = message.DateOf(d.text)
	return sent, ok, nil
}

// dateReader keeps the beginning of the first Date field.
type dateReader struct {
	text       []byte
	here, done bool
}

// Overlap is none.
func (d *dateReader) Overlap() int { return 0 }

// Wants tells whether the field is still to come.
func (d *dateReader) Wants(k Kind) bool { return k == OfField && !d.done }

// Begin begins a field.
func (d *dateReader) Begin(_ Kind, name []byte) {
	d.here = !d.done && bytes.EqualFold(name, []byte(Date.Field()))
}

// Piece takes the field's first piece, which is longer than any date.
func (d *dateReader) Piece(text, _ []byte) {
	if d.here && !d.done {
		d.text, d.done = append(d.text, text...), true
	}
}
