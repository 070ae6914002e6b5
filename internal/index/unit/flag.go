package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Flag changes flags.
func (u *Unit) Flag(c index.FlagChange) (index.FlagResult, error) {
	a, err := u.Account(c.Account)
	if err != nil {
		return index.FlagResult{}, err
	}
	b, err := u.box(a, c.Mailbox)
	if err != nil {
		return index.FlagResult{}, err
	}
	r, err := u.flag(b, c)
	r.ModSeq = a.ModSeq
	return r, err
}

func (u *Unit) flag(b *Box, c index.FlagChange) (r index.FlagResult, err error) {
	before := b.HighestModSeq
	var bits mailbox.Flags
	if c.Mode == index.RemoveFlags {
		for _, name := range c.Flags {
			bit, _ := mailbox.FindFlag(name, b.Keywords)
			bits |= bit
		}
	} else if bits, err = u.flags(b, c.Flags); err != nil {
		return r, err
	}
	rows, err := u.Rows.FlagChunks(b, c.UIDs)
	if err != nil {
		return r, fmt.Errorf("read chunks: %w", err)
	}
	if c.Reader.Account != 0 {
		return u.flagFor(b, c, bits, rows)
	}
	told := teller{before: before, on: true}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range rows {
		row := &rows[i]
		if err := chunk.UnpackFlags(row); err != nil {
			return r, err
		}
		if !flagChunk(b, chunk, &c, bits, &r) {
			continue
		}
		p := mailbox.Packed{FirstUID: row.FirstUID, MaxModSeq: b.Account.ModSeq,
			Flags: mailbox.AppendFlags(nil, chunk.Flags), ModSeqs: mailbox.AppendModSeqs(nil, chunk.ModSeqs)}
		if err := u.Rows.PutFlags(b, &p); err != nil {
			return r, fmt.Errorf("write chunk %d: %w", row.FirstUID, err)
		}
		r.Changed = true
		told.add(&p)
	}
	r.Told = told.of(b)
	return r, nil
}

// teller gathers what a change tells to one who knew all before it.
type teller struct {
	before mailbox.ModSeq
	on     bool
	octets int
	chunks []mailbox.Packed
}

func (t *teller) add(p *mailbox.Packed) {
	t.octets += len(p.Flags) + len(p.ModSeqs)
	if t.on = t.on && t.octets <= index.FlagsToldMax; t.on {
		t.chunks = append(t.chunks, *p)
	}
}

// of is what it tells of the mailbox, nil where that would not be all.
func (t *teller) of(b *Box) *index.FlagsTold {
	if !t.on {
		return nil
	}
	return &index.FlagsTold{Before: t.before, HighestModSeq: b.HighestModSeq, Keywords: b.Keywords, Chunks: t.chunks}
}

// flagChunk changes the entries of one chunk and tells whether any was changed.
func flagChunk(b *Box, chunk *mailbox.Chunk, c *index.FlagChange, bits mailbox.Flags, r *index.FlagResult) (changed bool) {
	for i, uid := range chunk.UIDs {
		if !c.UIDs.Contains(uid) {
			continue
		}
		if c.Conditional && chunk.ModSeqs[i] > c.UnchangedSince {
			r.Modified = r.Modified.Add(uid)
			continue
		}
		was := chunk.Flags[i]
		is := apply(c, was, bits)
		if is == was {
			continue
		}
		chunk.Flags[i] = is
		chunk.ModSeqs[i] = b.changed()
		b.recount(was, is)
		changed = true
	}
	return changed
}

// apply is what a change makes of an entry's flags.
func apply(c *index.FlagChange, was, bits mailbox.Flags) mailbox.Flags {
	is := bits
	switch c.Mode {
	case index.AddFlags:
		is = was | bits
	case index.RemoveFlags:
		is = was &^ bits
	}
	return is&^c.Keep | was&c.Keep
}

// recount brings the counters up to date with an entry whose flags changed.
func (b *Box) recount(was, is mailbox.Flags) {
	b.Unseen += uint32(was&mailbox.Seen) - uint32(is&mailbox.Seen) // Seen is the lowest bit
	if (was^is)&mailbox.Deleted == 0 {
		return
	}
	if is&mailbox.Deleted != 0 {
		b.Deleted++
	} else {
		b.Deleted--
	}
}
