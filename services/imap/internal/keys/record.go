package keys

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// Record is the keys of one message. What it gives is part of its block and is not changed.
type Record struct {
	b *Block
	i int32
}

// Known tells whether this is the record of a message.
func (r Record) Known() bool { return r.b != nil }

// UID is the message's.
func (r Record) UID() mailbox.UID { return r.b.uids[r.i] }

func (r Record) text(c column) []byte {
	from := uint32(0)
	if r.i > 0 {
		from = r.b.ends[c][r.i-1]
	}
	return r.b.text[c][from:r.b.ends[c][r.i]]
}

// Text is a place of ENVELOPE as AppendSlot gives it. whole is false where that goes on or the header may have more, or where
// it is not kept at all.
func (r Record) Text(s searchtext.Slot) (text []byte, whole bool) {
	c := columnOf[s]
	if c == columns {
		return nil, false
	}
	return r.text(c), r.b.fixed[r.i].cut&(1<<c) == 0
}

// Single tells that the header has no more than one field of a place of ENVELOPE; false where that is not kept.
func (r Record) Single(s searchtext.Slot) bool {
	return s == searchtext.Subject && r.b.fixed[r.i].flags&several == 0
}

// Sent is the Date field's time in seconds since 1970, and the zone it was written in, seconds east of UTC; false where
// there is none that can be read.
func (r Record) Sent() (seconds int64, zone int, ok bool) {
	f := &r.b.fixed[r.i]
	return f.sent, int(f.zone) * 60, f.flags&hasSent != 0
}

// Unsent tells that the header may have a Date field although Sent knows of none.
func (r Record) Unsent() bool { return r.b.fixed[r.i].flags&unsent != 0 }

// SentTime is Sent as a time.
func (r Record) SentTime() (time.Time, bool) {
	s, zone, ok := r.Sent()
	return time.Unix(s, 0).In(time.FixedZone("", zone)), ok
}

// Base is the base subject, folded (RFC 5256 §2.1).
func (r Record) Base() []byte {
	f := &r.b.fixed[r.i]
	text := r.text(colSubject)
	if f.flags&spaced != 0 {
		base, _ := Base(text)
		return base
	}
	return text[f.baseAt : f.baseAt+f.baseLen]
}

// IsReply tells that the subject says reply or forward (RFC 5256 §2.1).
func (r Record) IsReply() bool { return r.b.fixed[r.i].flags&isReply != 0 }

// first is the first address of a place, with the text it lies in.
func (r Record) first(s searchtext.Slot) ([]byte, person) {
	c := columnOf[s]
	text, p := r.text(c), r.b.fixed[r.i].first[c]
	if p.at()+int(p.all) > len(text) {
		return nil, person{}
	}
	return text, p
}

// Mailbox is the local part of the first address in From, To or Cc, folded (RFC 5256 §3 FROM).
func (r Record) Mailbox(s searchtext.Slot) []byte {
	text, p := r.first(s)
	if text == nil {
		return nil
	}
	return text[p.at() : p.at()+int(p.box)]
}

// Display is the first address's name, or the address where it has none (RFC 5957 §3).
func (r Record) Display(s searchtext.Slot) []byte {
	text, p := r.first(s)
	switch {
	case text == nil:
		return nil
	case p.name > 0:
		return text[:p.name]
	}
	return text[p.at() : p.at()+int(p.all)]
}

// ID stands for the message's id; 0 where it has none that is valid.
func (r Record) ID() uint64 { return r.b.fixed[r.i].id }

// Refs stand for the ids that the message refers to, the nearest last.
func (r Record) Refs() []uint64 {
	from := uint32(0)
	if r.i > 0 {
		from = r.b.fixed[r.i-1].refs
	}
	return r.b.refs[from:r.b.fixed[r.i].refs]
}
