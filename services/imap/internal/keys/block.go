package keys

import (
	"slices"
	"sort"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/searchtext"
)

// BlockSize is how many neighbouring UIDs a block covers.
const BlockSize = 256

// textMax is how much of one folded text is kept, octets. SORT compares no more; SEARCH is told that there is more.
const textMax = 1500

// column is a column of texts.
type column uint8

const (
	colFrom column = iota
	colTo
	colCc
	colBcc
	colSubject
	columns
)

var columnOf = [searchtext.MessageID + 1]column{
	searchtext.None: columns, searchtext.Date: columns, searchtext.Subject: colSubject, searchtext.From: colFrom,
	searchtext.Sender: columns, searchtext.ReplyTo: columns, searchtext.To: colTo, searchtext.Cc: colCc, searchtext.Bcc: colBcc,
	searchtext.InReplyTo: columns, searchtext.MessageID: columns,
}

type flags uint8

const (
	hasSent flags = 1 << iota
	isReply
	// spaced tells that the base subject is no part of the subject as it stands, and is made when it is asked for.
	spaced
	// several tells that the header may have more than one Subject.
	several
	// unsent tells that the header may have a Date field where none is known.
	unsent
)

// Block holds the keys of the messages of one run of UIDs that somebody asked for, in ascending order. It is immutable.
type Block struct {
	uids  []mailbox.UID
	fixed []fixed
	refs  []uint64
	ends  [columns][]uint32
	text  [columns][]byte
}

// fixed is what has the same size for every message.
type fixed struct {
	sent    int64  // seconds since 1970
	id      uint64 // of Message-ID; 0: none
	refs    uint32 // end in refs
	zone    int16  // of the Date field, minutes east of UTC
	flags   flags
	cut     uint8 // bits of columns whose text goes on, or may
	baseAt  uint16
	baseLen uint16
	first   [3]person // of From, To, Cc
}

// person is a searchtext.Person.
type person struct{ name, box, all uint16 }

// at is where its LOCAL begins.
func (p person) at() int { return searchtext.Person{Name: int(p.name)}.At() }

// Source is what the keys of one message are taken from.
type Source struct {
	UID mailbox.UID
	// Envelope is in IMAP's form.
	Envelope []byte
	// Sent is the Date field's time, if HasSent.
	Sent    time.Time
	HasSent bool
	// References is the field's value.
	References []byte
	// Cut are the items of which the header may have more than Envelope shows, and OneSubject tells that it has no more than
	// one Subject field.
	Cut        message.Items
	OneSubject bool
}

// Len is how many messages the block has keys of.
func (b *Block) Len() int {
	if b == nil {
		return 0
	}
	return len(b.uids)
}

// size is about what the block takes of memory, octets.
func (b *Block) size() int64 {
	n := 200 + len(b.uids)*(4+56+4*int(columns)) + 8*len(b.refs)
	for _, t := range b.text {
		n += len(t)
	}
	return int64(n)
}

// Find tells of a message; false where the block has nothing of it.
func (b *Block) Find(uid mailbox.UID) (Record, bool) {
	if b == nil {
		return Record{}, false
	}
	i := sort.Search(len(b.uids), func(i int) bool { return b.uids[i] >= uid })
	return Record{b, int32(i)}, i < len(b.uids) && b.uids[i] == uid
}

// With is the block and further messages, whose UIDs ascend; what it has already stays.
func (b *Block) With(more []Source) *Block {
	w := writer{b: &Block{}}
	n := b.Len() + len(more)
	w.b.uids, w.b.fixed = make([]mailbox.UID, 0, n), make([]fixed, 0, n)
	for c := range w.b.ends {
		w.b.ends[c] = make([]uint32, 0, n)
	}
	i := 0
	for k := range more {
		for ; i < b.Len() && b.uids[i] < more[k].UID; i++ {
			w.copy(b, i)
		}
		if i == b.Len() || b.uids[i] != more[k].UID {
			w.add(&more[k])
		}
	}
	for ; i < b.Len(); i++ {
		w.copy(b, i)
	}
	for c := range w.b.text {
		w.b.text[c] = slices.Clip(w.b.text[c])
	}
	return w.b
}

// writer makes a block.
type writer struct {
	b       *Block
	scratch []byte
}

// copy takes over a message of another block.
func (w *writer) copy(from *Block, i int) {
	b, r := w.b, Record{from, int32(i)}
	f := from.fixed[i]
	b.refs = append(b.refs, r.Refs()...)
	f.refs = uint32(len(b.refs))
	b.uids, b.fixed = append(b.uids, from.uids[i]), append(b.fixed, f)
	for c := range columns {
		w.put(c, r.text(c))
	}
}

func (w *writer) put(c column, text []byte) {
	w.b.text[c] = append(w.b.text[c], text...)
	w.b.ends[c] = append(w.b.ends[c], uint32(len(w.b.text[c])))
}

// add takes the keys of a message from what is stored of it.
func (w *writer) add(s *Source) {
	b := w.b
	var f fixed
	if s.HasSent {
		_, zone := s.Sent.Zone()
		f.sent, f.zone, f.flags = s.Sent.Unix(), int16(zone/60), hasSent
	}
	if !s.OneSubject {
		f.flags |= several
	}
	if searchtext.Date.In(s.Cut) {
		f.flags |= unsent
	}
	for slot := searchtext.Subject; slot <= searchtext.Bcc; slot++ {
		if c := columnOf[slot]; c != columns && slot.In(s.Cut) {
			f.cut |= 1 << c
		}
	}
	t := searchtext.Tokens{Rest: s.Envelope}
	var inReplyTo uint64
	var seen [columns]bool
	if t.Next() == '(' {
	slots:
		for at := searchtext.Date; at <= searchtext.MessageID; at++ {
			c := columnOf[at]
			switch t.Next() {
			case '(':
				if c == columns {
					t.Skip()
					continue
				}
				var first searchtext.Person
				w.scratch, first = searchtext.AppendAddresses(w.scratch[:0], &t)
				if c <= colCc && first.At()+first.All < textMax {
					f.first[c] = person{uint16(first.Name), uint16(first.Box), uint16(first.All)}
				}
				w.putCut(c, w.scratch, &f)
				seen[c] = true
			case 's':
				switch at {
				case searchtext.Subject:
					w.subject(t.Text, &f)
					seen[colSubject] = true
				case searchtext.InReplyTo:
					inReplyTo = firstID(t.Text)
				case searchtext.MessageID:
					f.id = firstID(t.Text)
				}
			case 'n':
			default:
				break slots
			}
		}
	}
	for c, was := range seen {
		if !was {
			w.put(column(c), nil)
		}
	}
	before := len(b.refs)
	if b.refs = appendIDs(b.refs, s.References); len(b.refs) == before && inReplyTo != 0 {
		// Without References the first id of In-Reply-To stands for them (RFC 5256 §3).
		b.refs = append(b.refs, inReplyTo)
	}
	f.refs = uint32(len(b.refs))
	b.uids, b.fixed = append(b.uids, s.UID), append(b.fixed, f)
}

// putCut keeps as much of a text as there is room for.
func (w *writer) putCut(c column, text []byte, f *fixed) {
	if len(text) > textMax {
		text = text[:searchtext.WholeRunes(text[:textMax])]
		f.cut |= 1 << c
	}
	w.put(c, text)
}

func (w *writer) subject(text []byte, f *fixed) {
	w.scratch = searchtext.AppendDecoded(w.scratch[:0], text)
	whole := w.scratch
	if len(whole) > textMax {
		whole = whole[:searchtext.WholeRunes(whole[:textMax])]
	}
	base, reply := Base(whole)
	if reply {
		f.flags |= isReply
	}
	switch {
	case len(base) == 0:
	case isOneSpaced(whole):
		// base is a part of whole, whose capacity tells where it begins.
		f.baseAt, f.baseLen = uint16(cap(whole)-cap(base)), uint16(len(base))
	default:
		f.flags |= spaced
	}
	w.putCut(colSubject, w.scratch, f)
}
