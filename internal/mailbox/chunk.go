package mailbox

import (
	"fmt"
	"slices"
)

// Chunk is up to ChunkSize neighbouring entries of a mailbox as columns; the i-th of every column belongs to the i-th entry.
type Chunk struct {
	// FirstUID names the chunk within its mailbox and never changes, even when that entry is gone.
	FirstUID UID
	// MaxModSeq is the highest MODSEQ that any of its entries has had.
	MaxModSeq ModSeq
	// UIDs ascend strictly.
	UIDs    []UID
	Flags   []Flags
	ModSeqs []ModSeq
	// Emails, Sizes, Received and Saved never change for an entry. Sizes include the overlay; Received and Saved are in seconds
	// since 1970 UTC: when the message came, and when the entry was made.
	Emails   []EmailID
	Sizes    []int64
	Received []int64
	Saved    []int64
}

// Packed is a Chunk with its columns packed: a database row, a page of a snapshot.
type Packed struct {
	FirstUID                                             UID
	MaxModSeq                                            ModSeq
	UIDs, Flags, ModSeqs, Emails, Sizes, Received, Saved []byte
}

// Entry is one entry of a chunk.
type Entry struct {
	UID      UID
	Flags    Flags
	ModSeq   ModSeq
	Email    EmailID
	Size     int64
	Received int64
	Saved    int64
}

// Len is how many entries the chunk has.
func (c *Chunk) Len() int { return len(c.UIDs) }

// At is the i-th entry.
func (c *Chunk) At(i int) Entry {
	return Entry{c.UIDs[i], c.Flags[i], c.ModSeqs[i], c.Emails[i], c.Sizes[i], c.Received[i], c.Saved[i]}
}

// Add puts an entry, whose UID is above all others, at the end.
func (c *Chunk) Add(e Entry) {
	c.UIDs = append(c.UIDs, e.UID)
	c.Flags = append(c.Flags, e.Flags)
	c.ModSeqs = append(c.ModSeqs, e.ModSeq)
	c.Emails = append(c.Emails, e.Email)
	c.Sizes = append(c.Sizes, e.Size)
	c.Received = append(c.Received, e.Received)
	c.Saved = append(c.Saved, e.Saved)
	c.MaxModSeq = max(c.MaxModSeq, e.ModSeq)
}

// Find is the place of uid among the entries, and whether it is there.
func (c *Chunk) Find(uid UID) (int, bool) { return slices.BinarySearch(c.UIDs, uid) }

// Reset empties the chunk and keeps its memory.
func (c *Chunk) Reset() {
	*c = Chunk{UIDs: c.UIDs[:0], Flags: c.Flags[:0], ModSeqs: c.ModSeqs[:0],
		Emails: c.Emails[:0], Sizes: c.Sizes[:0], Received: c.Received[:0], Saved: c.Saved[:0]}
}

// Keep drops the entries for which keep is false.
func (c *Chunk) Keep(keep func(i int) bool) {
	n := 0
	for i := range c.UIDs {
		if keep(i) {
			c.UIDs[n], c.Flags[n], c.ModSeqs[n] = c.UIDs[i], c.Flags[i], c.ModSeqs[i]
			c.Emails[n], c.Sizes[n], c.Received[n], c.Saved[n] = c.Emails[i], c.Sizes[i], c.Received[i], c.Saved[i]
			n++
		}
	}
	c.UIDs, c.Flags, c.ModSeqs = c.UIDs[:n], c.Flags[:n], c.ModSeqs[:n]
	c.Emails, c.Sizes, c.Received, c.Saved = c.Emails[:n], c.Sizes[:n], c.Received[:n], c.Saved[:n]
}

// Pack packs all columns.
func (c *Chunk) Pack() Packed {
	return Packed{
		FirstUID:  c.FirstUID,
		MaxModSeq: c.MaxModSeq,
		UIDs:      AppendUIDs(nil, c.UIDs),
		Flags:     AppendFlags(nil, c.Flags),
		ModSeqs:   AppendModSeqs(nil, c.ModSeqs),
		Emails:    AppendEmails(make([]byte, 0, 6*len(c.Emails)), c.Emails),
		Sizes:     AppendSizes(make([]byte, 0, 3*len(c.Sizes)), c.Sizes),
		Received:  AppendReceived(make([]byte, 0, 3*len(c.Received)), c.Received),
		Saved:     AppendSaved(nil, c.Saved, c.Received),
	}
}

// Unpack fills the chunk, using the memory it has. It needs no more than ChunkSize entries' worth. ErrColumn: p is not
// of our making, and the chunk holds nothing of use.
func (c *Chunk) Unpack(p *Packed) (err error) {
	c.Reset()
	c.FirstUID, c.MaxModSeq = p.FirstUID, p.MaxModSeq
	if c.UIDs, err = DecodeUIDs(c.UIDs, p.UIDs, ChunkSize); err != nil {
		return fmt.Errorf("chunk %d: %w", p.FirstUID, err)
	}
	n := len(c.UIDs)
	if n > 0 && c.UIDs[0] < p.FirstUID {
		return fmt.Errorf("chunk %d: %w: begins with UID %d", p.FirstUID, ErrColumn, c.UIDs[0])
	}
	if c.Flags, err = DecodeFlags(c.Flags, p.Flags, n); err == nil {
		if c.ModSeqs, err = DecodeModSeqs(c.ModSeqs, p.ModSeqs, n); err == nil {
			if c.Emails, err = DecodeEmails(c.Emails, p.Emails, n); err == nil {
				if c.Sizes, err = DecodeSizes(c.Sizes, p.Sizes, n); err == nil {
					if c.Received, err = DecodeReceived(c.Received, p.Received, n); err == nil {
						c.Saved, err = DecodeSaved(c.Saved, p.Saved, c.Received)
					}
				}
			}
		}
	}
	if err != nil {
		return fmt.Errorf("chunk %d: %w", p.FirstUID, err)
	}
	return nil
}

// UnpackFlags fills UIDs, Flags and ModSeqs alone, and leaves the other columns empty. The errors are Unpack's.
func (c *Chunk) UnpackFlags(p *Packed) (err error) {
	c.Reset()
	c.FirstUID, c.MaxModSeq = p.FirstUID, p.MaxModSeq
	if c.UIDs, err = DecodeUIDs(c.UIDs, p.UIDs, ChunkSize); err == nil {
		if c.Flags, err = DecodeFlags(c.Flags, p.Flags, len(c.UIDs)); err == nil {
			c.ModSeqs, err = DecodeModSeqs(c.ModSeqs, p.ModSeqs, len(c.UIDs))
		}
	}
	if err != nil {
		return fmt.Errorf("chunk %d: %w", p.FirstUID, err)
	}
	return nil
}
