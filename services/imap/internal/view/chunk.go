package view

import (
	"bytes"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Columns are the entries of a chunk, unpacked; only what was wanted holds anything.
type Columns = mailbox.Chunk

// Want says which columns a walk needs.
type Want uint8

// Columns to want.
const (
	WantUID Want = 1 << iota
	WantFlags
	WantModSeq
	WantEmail
	WantSize
	WantReceived
	WantSaved // and WantReceived with it

	wantAll = WantUID | WantFlags | WantModSeq | WantEmail | WantSize | WantReceived | WantSaved
)

// Chunk is a run of entries as the store packed them. It is immutable.
type Chunk struct {
	packed mailbox.Packed
	first  mailbox.UID // names the chunk; its first entry may be gone
	last   mailbox.UID
	n      int
	ghosts bool
	// common are flags that all entries have, none where nobody looked; found are those that any has, all where nobody looked.
	common, found mailbox.Flags
}

// newChunk checks all columns once, so that Decode cannot fail. It is nil for a chunk without entries.
func newChunk(p mailbox.Packed, cols *Columns) (*Chunk, error) {
	if err := cols.Unpack(&p); err != nil {
		return nil, err
	}
	n := cols.Len()
	if n == 0 {
		return nil, nil
	}
	c := &Chunk{packed: p, first: p.FirstUID, last: cols.UIDs[n-1], n: n}
	c.note(cols.Flags)
	return c, nil
}

// changed is newChunk for a state of c that may differ in flags and MODSEQs alone, as most do: the columns that never change
// for an entry are then those of c, and were checked.
func (c *Chunk) changed(p mailbox.Packed, cols *Columns) (*Chunk, error) {
	if c == nil || !c.sameEntries(&p) {
		return newChunk(p, cols)
	}
	if err := cols.UnpackFlags(&p); err != nil {
		return nil, err
	}
	next := *c
	next.packed.MaxModSeq, next.packed.Flags, next.packed.ModSeqs = p.MaxModSeq, p.Flags, p.ModSeqs
	next.note(cols.Flags)
	return &next, nil
}

// sameEntries tells whether a state of the chunk has the same entries, but for flags and MODSEQs.
func (c *Chunk) sameEntries(p *mailbox.Packed) bool {
	had := &c.packed
	return !c.ghosts && had.FirstUID == p.FirstUID && bytes.Equal(had.UIDs, p.UIDs) && bytes.Equal(had.Emails, p.Emails) &&
		bytes.Equal(had.Sizes, p.Sizes) && bytes.Equal(had.Received, p.Received) && bytes.Equal(had.Saved, p.Saved)
}

// note notes what all and any of the entries have.
func (c *Chunk) note(flags []mailbox.Flags) {
	c.common, c.found = ^mailbox.Flags(0), 0
	for _, f := range flags {
		c.common &= f
		c.found |= f
	}
}

func packedFrom(c *storev1.Chunk) mailbox.Packed {
	return mailbox.Packed{
		FirstUID: mailbox.UID(c.GetFirstUid()), MaxModSeq: mailbox.ModSeq(c.GetMaxModSeq()),
		UIDs: c.GetUids(), Flags: c.GetFlags(), ModSeqs: c.GetModSeqs(),
		Emails: c.GetEmails(), Sizes: c.GetSizes(), Received: c.GetReceived(), Saved: c.GetSaved(),
	}
}

// Decode unpacks the wanted columns.
func (c *Chunk) Decode(cols *Columns, want Want) {
	cols.Reset()
	var errs [7]error
	if want&WantUID != 0 {
		cols.UIDs, errs[0] = mailbox.DecodeUIDs(cols.UIDs, c.packed.UIDs, mailbox.ChunkSize)
	}
	if want&WantFlags != 0 {
		cols.Flags, errs[1] = mailbox.DecodeFlags(cols.Flags, c.packed.Flags, c.n)
	}
	if want&WantModSeq != 0 {
		cols.ModSeqs, errs[2] = mailbox.DecodeModSeqs(cols.ModSeqs, c.packed.ModSeqs, c.n)
	}
	if want&WantEmail != 0 {
		cols.Emails, errs[3] = mailbox.DecodeEmails(cols.Emails, c.packed.Emails, c.n)
	}
	if want&WantSize != 0 {
		cols.Sizes, errs[4] = mailbox.DecodeSizes(cols.Sizes, c.packed.Sizes, c.n)
	}
	if want&(WantReceived|WantSaved) != 0 {
		cols.Received, errs[5] = mailbox.DecodeReceived(cols.Received, c.packed.Received, c.n)
	}
	if want&WantSaved != 0 {
		cols.Saved, errs[6] = mailbox.DecodeSaved(cols.Saved, c.packed.Saved, cols.Received)
	}
	for _, err := range errs {
		if err != nil {
			panic(fmt.Sprintf("chunk %d was sound when it came: %v", c.first, err))
		}
	}
}

// without is the chunk less some entries, nil if none is left.
func (c *Chunk) without(gone mailbox.UIDSet, cols *Columns) *Chunk {
	c.Decode(cols, wantAll)
	before := cols.Len()
	cols.FirstUID, cols.MaxModSeq = c.packed.FirstUID, c.packed.MaxModSeq
	cols.Keep(func(i int) bool { return !gone.Contains(cols.UIDs[i]) })
	switch n := cols.Len(); n {
	case before:
		return c
	case 0:
		return nil
	default:
		left := &Chunk{packed: cols.Pack(), first: c.first, last: cols.UIDs[n-1], n: n}
		left.note(cols.Flags)
		return left
	}
}

// asGhosts is the chunk with all its entries expunged.
func (c *Chunk) asGhosts() *Chunk {
	g := *c
	g.ghosts = true
	return &g
}

// withGhosts is to with those entries of from that it lost.
func withGhosts(from, to *Chunk) *Chunk {
	var a, b, both Columns
	from.Decode(&a, wantAll)
	to.Decode(&b, wantAll)
	both.FirstUID = to.first
	both.MaxModSeq = to.packed.MaxModSeq
	i, j := 0, 0
	for i < a.Len() || j < b.Len() {
		switch {
		case j == b.Len() || i < a.Len() && a.UIDs[i] < b.UIDs[j]:
			both.Add(a.At(i))
			i++
		case i == a.Len() || b.UIDs[j] < a.UIDs[i]:
			both.Add(b.At(j))
			j++
		default:
			both.Add(b.At(j))
			i, j = i+1, j+1
		}
	}
	n := both.Len()
	return &Chunk{packed: both.Pack(), first: to.first, last: both.UIDs[n-1], n: n, ghosts: true, found: ^mailbox.Flags(0)}
}
