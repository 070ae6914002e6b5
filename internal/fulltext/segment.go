package fulltext

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// SegmentDocs is how many emails a segment has at most.
	SegmentDocs = 4096
	// segmentOctets is how long its lists may get by merging.
	segmentOctets = 16 << 20
	// sliceOctets is about how long one row of lists is.
	sliceOctets = 8 << 10
	// sliceBitsMax bounds how many rows there are: 4096.
	sliceBitsMax = 12
	// sliceShift is where a slice's number lies in its place, below the segment's.
	sliceShift = 16
)

// Doc is an email with its tokens, which ascend.
type Doc struct {
	Email  mailbox.EmailID
	Tokens []Token
	// All says that every search looks at it: it has too many tokens, or could not be read.
	All bool
}

// SegmentID names a segment of an account, and never another.
type SegmentID int64

// newSegmentID has 46 bits by chance: with a slice behind it, it is the place of a row.
func newSegmentID() SegmentID {
	var b [8]byte
	rand.Read(b[:])
	return SegmentID(binary.BigEndian.Uint64(b[:])>>18 | 1)
}

// Place is where a slice of a segment lies.
type Place int64

func (id SegmentID) place(slice int) Place { return Place(int64(id)<<sliceShift | int64(slice)) }

// Segment is a set of emails with a list for each token. It is written once, but for Dead.
type Segment struct {
	ID      SegmentID
	Version int
	// Bits is how many of a token's first bits name the slice that it is in.
	Bits int
	// Octets is how long the lists are.
	Octets int64
	// Emails ascend; a document's number is its place among them.
	Emails []mailbox.EmailID
	// Always are documents that every search looks at, and Dead those that have left.
	Always, Dead []byte
	// Slices are the rows of lists, of a segment that is being written.
	Slices [][]byte
}

// Live is how many emails it has.
func (s *Segment) Live() int { return len(s.Emails) - bitmap(s.Dead).count() }

// slice is the row that a token is in.
func (s *Segment) slice(t Token) int { return int(t >> (tokenBits - s.Bits)) }

// The forms of a list; the number before it is shifted by two.
const (
	formGaps = 0 // the number is its length in octets: documents as differences
	formBits = 1 // a bit per document; the number is its length
	formOne  = 2 // the number is the only document
)

// builder writes a segment, token by token in ascending order.
type builder struct {
	seg  *Segment
	at   int // slice being written
	prev Token
	room []byte
}

// newBuilder begins a segment of emails whose lists will have about so many octets.
func newBuilder(emails []mailbox.EmailID, octets int64) *builder {
	s := &Segment{ID: newSegmentID(), Version: Version, Emails: emails}
	for s.Bits < sliceBitsMax && octets>>s.Bits > sliceOctets {
		s.Bits++
	}
	s.Slices = make([][]byte, 1<<s.Bits)
	return &builder{seg: s}
}

// add writes the list of a token: documents in ascending order, at least one.
func (b *builder) add(t Token, docs []uint16) {
	if slice := b.seg.slice(t); slice != b.at {
		b.at, b.prev = slice, Token(slice)<<(tokenBits-b.seg.Bits)
	}
	out := binary.AppendUvarint(b.seg.Slices[b.at], uint64(t-b.prev))
	b.prev = t
	bits := (len(b.seg.Emails) + 7) / 8
	switch {
	case len(docs) == 1:
		out = binary.AppendUvarint(out, uint64(docs[0])<<2|formOne)
	case len(docs) >= bits:
		out = binary.AppendUvarint(out, uint64(bits)<<2|formBits)
		n := len(out)
		out = append(out, make([]byte, bits)...)
		for _, d := range docs {
			bitmap(out[n:]).set(int(d))
		}
	default:
		b.room = b.room[:0]
		prev := uint16(0)
		for _, d := range docs {
			b.room = binary.AppendUvarint(b.room, uint64(d-prev))
			prev = d
		}
		out = binary.AppendUvarint(out, uint64(len(b.room))<<2|formGaps)
		out = append(out, b.room...)
	}
	b.seg.Slices[b.at] = out
}

func (b *builder) finish() *Segment {
	for _, s := range b.seg.Slices {
		b.seg.Octets += int64(len(s))
	}
	return b.seg
}

// Build makes a segment of emails, each of which is there once; at most SegmentDocs.
func Build(docs []Doc) *Segment {
	docs = slices.Clone(docs)
	slices.SortFunc(docs, func(a, b Doc) int { return int(min(max(int64(a.Email)-int64(b.Email), -1), 1)) })
	emails := make([]mailbox.EmailID, len(docs))
	var pairs []uint64
	always := newBitmap(len(docs))
	for i, d := range docs {
		emails[i] = d.Email
		if d.All {
			always.set(i)
		}
		for _, t := range d.Tokens {
			pairs = append(pairs, uint64(t)<<16|uint64(i))
		}
	}
	slices.Sort(pairs)
	b := newBuilder(emails, int64(len(pairs))*3/2)
	var list []uint16
	for i, p := range pairs {
		list = append(list, uint16(p))
		if i+1 == len(pairs) || pairs[i+1]>>16 != p>>16 {
			b.add(Token(p>>16), list)
			list = list[:0]
		}
	}
	s := b.finish()
	s.Always = always
	return s
}

// errLists are lists that do not read as such.
var errLists = errors.New("lists of a segment are damaged")

// lists reads a slice.
type lists struct {
	rest []byte
	prev Token
	docs int
	// token and what follows are of the list that next has read.
	token Token
	form  int
	one   int
	data  []byte
}

func (s *Segment) lists(slice int, data []byte) lists {
	return lists{rest: data, prev: Token(slice) << (tokenBits - s.Bits), docs: len(s.Emails)}
}

// next goes to the next list; false at the end.
func (l *lists) next() (bool, error) {
	if len(l.rest) == 0 {
		return false, nil
	}
	gap, n := binary.Uvarint(l.rest)
	head, m := binary.Uvarint(l.rest[max(n, 0):])
	if n <= 0 || m <= 0 || gap >= 1<<tokenBits {
		return false, errLists
	}
	l.rest = l.rest[n+m:]
	l.token = l.prev + Token(gap)
	l.prev = l.token
	l.form, l.data = int(head&3), nil
	head >>= 2
	if l.form == formOne {
		l.one = int(head)
		return true, errWhere(l.one >= l.docs)
	}
	if head > uint64(len(l.rest)) {
		return false, errLists
	}
	l.data, l.rest = l.rest[:head], l.rest[head:]
	return true, nil
}

func errWhere(bad bool) error {
	if bad {
		return errLists
	}
	return nil
}

// bits are the documents of the list.
func (l *lists) bits() (bitmap, error) {
	if l.form == formBits {
		return l.data, nil
	}
	out := newBitmap(l.docs)
	err := l.each(func(doc int) { out.set(doc) })
	return out, err
}

// each calls f with the documents of the list, which ascend.
func (l *lists) each(f func(doc int)) error {
	switch l.form {
	case formOne:
		f(l.one)
	case formBits:
		for i := range l.docs {
			if bitmap(l.data).has(i) {
				f(i)
			}
		}
	case formGaps:
		doc := 0
		for data := l.data; len(data) > 0; {
			gap, n := binary.Uvarint(data)
			if n <= 0 || gap >= uint64(l.docs) || doc+int(gap) >= l.docs {
				return errLists
			}
			data = data[n:]
			doc += int(gap)
			f(doc)
		}
	default:
		return errLists
	}
	return nil
}

// find gives the lists of tokens, which ascend, that are in one slice.
func (s *Segment) find(slice int, data []byte, tokens []Token, into map[Token]bitmap) error {
	l := s.lists(slice, data)
	for len(tokens) > 0 {
		ok, err := l.next()
		if err != nil {
			return fmt.Errorf("segment %d, slice %d: %w", s.ID, slice, err)
		}
		if !ok {
			return nil
		}
		for len(tokens) > 0 && tokens[0] < l.token {
			tokens = tokens[1:]
		}
		if len(tokens) > 0 && tokens[0] == l.token {
			if into[l.token], err = l.bits(); err != nil {
				return fmt.Errorf("segment %d, slice %d: %w", s.ID, slice, err)
			}
		}
	}
	return nil
}
