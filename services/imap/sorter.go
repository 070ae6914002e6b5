package imap

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/mailfarm/mailfarm/internal/searchtext"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

const (
	// criteriaMax is how many criteria one SORT has; each of them backwards and forwards makes sense of 20.
	criteriaMax = 20
	// sortsMax is how many SORT and THREAD of more than sortsFree messages run in a process at once: each holds some 100
	// octets a message, a THREAD some 300.
	sortsMax  = 4
	sortsFree = 10_000
)

// by is what SORT orders by (RFC 5256 §3, RFC 5957, RFC 6203 §5).
type by uint8

const (
	byArrival by = iota
	bySize
	byRelevancy
	byDate
	byCc
	byFrom
	bySubject
	byTo
	byDisplayFrom
	byDisplayTo
)

var orders = map[string]by{
	"ARRIVAL": byArrival, "SIZE": bySize, "RELEVANCY": byRelevancy, "DATE": byDate, "CC": byCc, "FROM": byFrom, "SUBJECT": bySubject,
	"TO": byTo, "DISPLAYFROM": byDisplayFrom, "DISPLAYTO": byDisplayTo,
}

type criterion struct {
	by      by
	reverse bool
}

// enterSort waits for a turn to sort n messages.
func (svc *Service) enterSort(ctx context.Context, n uint64) (leave func(), err error) {
	if n <= sortsFree {
		return func() {}, nil
	}
	select {
	case svc.sorts <- struct{}{}:
		return func() { <-svc.sorts }, nil
	case <-ctx.Done():
		return nil, no("LIMIT", "too many searches at once, try again")
	}
}

// withKeys calls each with messages in batches, with their keys if they are wanted.
func (s *session) withKeys(ctx context.Context, seqs wire.Set, wanted bool, each func(*batch, uint32)) error {
	m := s.newMails()
	defer m.close()
	defer context.AfterFunc(ctx, m.cancel)()
	w := &walk{
		snap: s.sel.snap, seqs: seqs, columns: view.WantUID | view.WantSize | view.WantReceived | view.WantEmail,
		pick: func(b *batch, seq uint32, i int) bool {
			if i == 0 {
				b.seq = seq
			}
			return false
		},
		each: func(b *batch) error {
			each(b, b.seq)
			return nil
		},
	}
	if wanted {
		w.keys = func(*batch, uint32, int) bool { return true }
	}
	if err := m.run(w); err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			return no("LIMIT", "search took too long")
		}
		return err
	}
	return nil
}

// sorter orders messages. It holds a row for each, the values of the criteria, and the texts that they compare by.
type sorter struct {
	criteria []criterion
	uid      bool
	loose    wire.Set // what FUZZY found by stems
	rows     []sortRow
	values   []uint64 // len(criteria) for each row
	texts    []byte
}

// sortRow is a message: lead is its first criterion, or as much of it as fits.
type sortRow struct {
	lead   uint64
	number uint32
	at     uint32
}

func (o *sorter) needsKeys() bool {
	return slices.ContainsFunc(o.criteria, func(c criterion) bool { return c.by >= byDate })
}

// add takes a batch.
func (o *sorter) add(b *batch, seq uint32) {
	for i, uid := range b.cols.UIDs {
		if b.keys != nil && !b.keys[i].Known() {
			continue // expunged meanwhile
		}
		row := sortRow{number: seq + uint32(i), at: uint32(len(o.rows))}
		for k, c := range o.criteria {
			v, text := o.value(b, i, row.number, c.by)
			lead := v
			if c.by > byDate {
				var head [8]byte
				copy(head[:], text)
				lead = binary.BigEndian.Uint64(head[:])
				v = uint64(len(o.texts))<<16 | uint64(len(text))
				o.texts = append(o.texts, text...)
			}
			o.values = append(o.values, v)
			if k == 0 {
				row.lead = lead
			}
		}
		if o.uid {
			row.number = uint32(uid)
		}
		o.rows = append(o.rows, row)
	}
}

// value is what a message counts by: a number, or a text.
func (o *sorter) value(b *batch, i int, seq uint32, by by) (uint64, []byte) {
	number := func(n int64) (uint64, []byte) { return uint64(n) ^ 1<<63, nil }
	switch by {
	case byArrival:
		return number(b.cols.Received[i])
	case bySize:
		return number(b.cols.Sizes[i])
	case byRelevancy:
		return number(-int64(relevancy(o.loose.Contains(seq)))) // the best first
	case byDate:
		return number(sentDate(b, i))
	case byCc:
		return 0, b.keys[i].Mailbox(searchtext.Cc)
	case byFrom:
		return 0, b.keys[i].Mailbox(searchtext.From)
	case byTo:
		return 0, b.keys[i].Mailbox(searchtext.To)
	case bySubject:
		return 0, b.keys[i].Base()
	case byDisplayFrom:
		return 0, b.keys[i].Display(searchtext.From)
	}
	return 0, b.keys[i].Display(searchtext.To)
}

// sentDate is the sent date, in seconds since 1970: INTERNALDATE where the Date field cannot be read (RFC 5256 §2.2).
func sentDate(b *batch, i int) int64 {
	if sent, _, ok := b.keys[i].Sent(); ok {
		return sent
	}
	return b.cols.Received[i]
}

// sorted is the numbers in order. Messages that no criterion tells apart stay in the order of the mailbox (RFC 5256 §3).
func (o *sorter) sorted() []uint32 {
	slices.SortFunc(o.rows, o.compare)
	out := make([]uint32, len(o.rows))
	for i := range o.rows {
		out[i] = o.rows[i].number
	}
	return out
}

func (o *sorter) compare(a, b sortRow) int {
	n := len(o.criteria)
	for k, c := range o.criteria {
		order := 0
		if k == 0 {
			order = cmp.Compare(a.lead, b.lead)
		}
		if order == 0 {
			va, vb := o.values[int(a.at)*n+k], o.values[int(b.at)*n+k]
			if c.by > byDate {
				order = bytes.Compare(o.text(va), o.text(vb))
			} else {
				order = cmp.Compare(va, vb)
			}
		}
		if c.reverse {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(a.at, b.at)
}

func (o *sorter) text(v uint64) []byte { return o.texts[v>>16 : v>>16+v&0xffff] }
