package unit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// ReaderRows are the rows of readers who are not owners, within one write.
type ReaderRows interface {
	// OwnChunks tells what a reader has beside chunks, by their first UIDs.
	OwnChunks(b *Box, reader mailbox.AccountID, firsts []mailbox.UID) (map[mailbox.UID]*mailbox.Packed, error)
	// EachOwn calls each with what every reader has beside the chunks of a mailbox.
	EachOwn(b *Box, each func(*mailbox.Packed) error) error
	// PutOwn writes what a reader has beside a chunk.
	PutOwn(b *Box, reader mailbox.AccountID, p *mailbox.Packed) error
}

// ownFlag is a flag that a reader has to himself, and which of some messages have it.
type ownFlag struct {
	name string
	at   []int
}

// ownFlags gives messages without the flags that are the reader's own, and those.
func ownFlags(reader *index.Reader, messages []index.Message) (shared []index.Message, own []ownFlag) {
	if reader.Account == 0 {
		return messages, nil
	}
	shared = slices.Clone(messages)
	for i := range shared {
		var rest []string
		for _, f := range shared[i].Flags {
			if !reader.Has(f) {
				rest = append(rest, f)
				continue
			}
			k := slices.IndexFunc(own, func(o ownFlag) bool { return strings.EqualFold(o.name, f) })
			if k < 0 {
				k, own = len(own), append(own, ownFlag{name: f})
			}
			own[k].at = append(own[k].at, i)
		}
		shared[i].Flags = rest
	}
	return shared, own
}

// flagOwn gives a reader his own flags on messages that were just added with uids.
func (u *Unit) flagOwn(b *Box, reader index.Reader, uids []mailbox.UID, own []ownFlag) error {
	if len(own) == 0 {
		return nil
	}
	// What is flagged is read from rows.
	if err := u.flushBox(b); err != nil {
		return fmt.Errorf("write mailbox %d: %w", b.ID, err)
	}
	for _, o := range own {
		c := index.FlagChange{Mode: index.AddFlags, Flags: []string{o.name}, Reader: reader}
		for _, i := range o.at {
			c.UIDs = c.UIDs.Add(uids[i])
		}
		if _, err := u.flag(b, c); err != nil {
			return fmt.Errorf("set reader's flags: %w", err)
		}
	}
	return nil
}

// flagFor is flag for a reader: of what is his own his rows change, and the entries of the rest. A MODSEQ of either is from
// the account's counter.
func (u *Unit) flagFor(b *Box, c index.FlagChange, bits mailbox.Flags, rows []mailbox.Packed) (r index.FlagResult, err error) {
	mask := c.Reader.Mask(b.Keywords)
	firsts := make([]mailbox.UID, len(rows))
	for i := range rows {
		firsts[i] = rows[i].FirstUID
	}
	own, err := u.Rows.OwnChunks(b, c.Reader.Account, firsts)
	if err != nil {
		return r, fmt.Errorf("read reader's flags: %w", err)
	}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range rows {
		if err := chunk.UnpackFlags(&rows[i]); err != nil {
			return r, err
		}
		f := readerFlags{b: b, chunk: chunk, mask: mask, c: &c, bits: bits, r: &r}
		if p := own[rows[i].FirstUID]; p != nil {
			if err := f.mine.UnpackFlags(p); err != nil {
				return r, err
			}
		}
		f.run()
		if f.sharedChanged {
			p := mailbox.Packed{FirstUID: rows[i].FirstUID, MaxModSeq: b.Account.ModSeq,
				Flags: mailbox.AppendFlags(nil, chunk.Flags), ModSeqs: mailbox.AppendModSeqs(nil, chunk.ModSeqs)}
			if err := u.Rows.PutFlags(b, &p); err != nil {
				return r, fmt.Errorf("write chunk %d: %w", p.FirstUID, err)
			}
		}
		if f.ownChanged {
			p := mailbox.Packed{FirstUID: rows[i].FirstUID, MaxModSeq: b.Account.ModSeq, UIDs: mailbox.AppendUIDs(nil, f.next.UIDs),
				Flags: mailbox.AppendFlags(nil, f.next.Flags), ModSeqs: mailbox.AppendModSeqs(nil, f.next.ModSeqs)}
			if err := u.Rows.PutOwn(b, c.Reader.Account, &p); err != nil {
				return r, fmt.Errorf("write reader's flags: %w", err)
			}
		}
		r.Changed = r.Changed || f.sharedChanged || f.ownChanged
	}
	return r, nil
}

// readerFlags changes the flags of one chunk as a reader sees them.
type readerFlags struct {
	b     *Box
	chunk *mailbox.Chunk
	// mine is what the reader had of it, and next what he has then.
	mine, next mailbox.Chunk
	mask, bits mailbox.Flags
	c          *index.FlagChange
	r          *index.FlagResult

	sharedChanged, ownChanged bool
}

func (f *readerFlags) run() {
	for i, uid := range f.chunk.UIDs {
		var own mailbox.Flags
		var seq mailbox.ModSeq
		if k, ok := f.mine.Find(uid); ok {
			own, seq = f.mine.Flags[k]&f.mask, f.mine.ModSeqs[k]
		}
		if f.c.UIDs.Contains(uid) {
			if f.c.Conditional && max(f.chunk.ModSeqs[i], seq) > f.c.UnchangedSince {
				f.r.Modified = f.r.Modified.Add(uid)
			} else {
				own, seq = f.change(i, own, seq)
			}
		}
		if seq > 0 {
			f.next.UIDs, f.next.Flags, f.next.ModSeqs = append(f.next.UIDs, uid), append(f.next.Flags, own), append(f.next.ModSeqs, seq)
		}
	}
}

// change is one entry's.
func (f *readerFlags) change(i int, own mailbox.Flags, seq mailbox.ModSeq) (mailbox.Flags, mailbox.ModSeq) {
	was := f.chunk.Flags[i]&^f.mask | own
	is := apply(f.c, was, f.bits)
	if (is^was)&f.mask != 0 {
		own, seq = is&f.mask, f.b.changed()
		f.ownChanged = true
	}
	if (is^was)&^f.mask != 0 {
		stored := f.chunk.Flags[i]
		f.chunk.Flags[i] = is&^f.mask | stored&f.mask
		f.chunk.ModSeqs[i] = f.b.changed()
		f.b.recount(stored, f.chunk.Flags[i])
		f.sharedChanged = true
	}
	return own, seq
}
