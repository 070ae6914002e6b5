package unit

import (
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Box is a mailbox's row within a unit, and its last chunk where entries were added.
type Box struct {
	index.Mailbox
	Account *Account
	dirty   bool
	gone    bool
	// tail is the last chunk once it was read; stored tells that it has a row, and tailDirty that it must be written.
	tail              *mailbox.Chunk
	stored, tailDirty bool
	// given are the bits of keywords that this unit has handed out: entries with them may not be in any row yet.
	given mailbox.Flags
}

// adopt makes b one of its account's, or finds the one that was read before.
func (a *Account) adopt(b *Box) *Box {
	for _, have := range a.boxes {
		if have.ID == b.ID {
			return have
		}
	}
	b.Account = a
	a.boxes = append(a.boxes, b)
	return b
}

// box reads a mailbox by its id.
func (u *Unit) box(a *Account, id mailbox.ID) (*Box, error) {
	for _, b := range a.boxes {
		if b.ID == id && !b.gone {
			return b, nil
		}
	}
	b, err := u.Rows.BoxByID(a, id)
	return a.found(b, err)
}

// boxNamed reads a mailbox by its name.
func (u *Unit) boxNamed(a *Account, name string) (*Box, error) {
	for _, b := range a.boxes {
		if b.Name == name && !b.gone {
			return b, nil
		}
	}
	b, err := u.Rows.BoxNamed(a, name)
	return a.found(b, err)
}

// boxFor reads the mailbox of a special use.
func (u *Unit) boxFor(a *Account, specialUse string) (*Box, error) {
	for _, b := range a.boxes {
		if b.SpecialUse == specialUse && !b.gone {
			return b, nil
		}
	}
	b, err := u.Rows.BoxFor(a, specialUse)
	return a.found(b, err)
}

// found is the outcome of reading a mailbox.
func (a *Account) found(b *Box, err error) (*Box, error) {
	if errors.Is(err, index.ErrNoMailbox) {
		return nil, index.ErrNoMailbox
	}
	if err != nil {
		return nil, fmt.Errorf("read mailbox: %w", err)
	}
	if b = a.adopt(b); b.gone {
		return nil, index.ErrNoMailbox
	}
	return b, nil
}

// allBoxes reads all mailboxes of an account.
func (u *Unit) allBoxes(a *Account) ([]*Box, error) {
	rows, err := u.Rows.AllBoxes(a)
	if err != nil {
		return nil, fmt.Errorf("read mailboxes: %w", err)
	}
	for _, b := range rows {
		a.adopt(b)
	}
	boxes := make([]*Box, 0, len(a.boxes))
	for _, b := range a.boxes {
		if !b.gone {
			boxes = append(boxes, b)
		}
	}
	return boxes, nil
}

// changed marks the mailbox as changed and returns the MODSEQ of the change.
func (b *Box) changed() mailbox.ModSeq {
	b.dirty = true
	b.HighestModSeq = b.Account.touch()
	return b.HighestModSeq
}

// Noted raises the MODSEQ of a mailbox about which something is noted (RFC 7162 §3.2); box 0 is the account itself, which has
// none of its own. ErrNoMailbox.
func (u *Unit) Noted(account mailbox.AccountID, box mailbox.ID) error {
	if box == 0 {
		return nil
	}
	a, err := u.Account(account)
	if err != nil {
		return err
	}
	b, err := u.box(a, box)
	if err != nil {
		return err
	}
	b.changed()
	return nil
}

// count adds (by 1) or takes away (by -1) an entry in the counters.
func (b *Box) count(e mailbox.Entry, by int) {
	b.Messages += uint32(by)
	b.Size += int64(by) * e.Size
	b.Account.Messages += int64(by)
	b.Account.Size += int64(by) * e.Size
	if e.Flags&mailbox.Seen == 0 {
		b.Unseen += uint32(by)
	}
	if e.Flags&mailbox.Deleted != 0 {
		b.Deleted += uint32(by)
	}
}

// add puts an entry at the end of the mailbox; its UID, MODSEQ and save date are given here.
func (u *Unit) add(b *Box, e mailbox.Entry) (mailbox.UID, error) {
	e.Saved = u.Now.Unix()
	return u.addSaved(b, e)
}

// addSaved is add of an entry with its save date.
func (u *Unit) addSaved(b *Box, e mailbox.Entry) (mailbox.UID, error) {
	if b.UIDNext == mailbox.MaxUID {
		return 0, index.ErrUIDs // the last is left, as UIDNEXT must fit too
	}
	if b.tail == nil {
		if err := u.readTail(b); err != nil {
			return 0, err
		}
	}
	if b.tail.Len() >= mailbox.ChunkSize {
		if err := u.flushTail(b); err != nil {
			return 0, err
		}
		b.tail.Reset()
		b.stored = false
	}
	e.UID = b.UIDNext
	e.ModSeq = b.changed()
	if b.tail.Len() == 0 {
		b.tail.FirstUID = e.UID
	}
	b.UIDNext++
	b.tail.Add(e)
	b.tailDirty = true
	b.count(e, 1)
	return e.UID, nil
}

func (u *Unit) readTail(b *Box) (err error) {
	b.tail = u.chunk()
	if b.Messages == 0 {
		return nil
	}
	if b.stored, err = u.Rows.LastChunk(b, b.tail); err != nil {
		return fmt.Errorf("read last chunk: %w", err)
	}
	return nil
}

func (u *Unit) flushTail(b *Box) error {
	if !b.tailDirty {
		return nil
	}
	b.tailDirty = false
	p := b.tail.Pack()
	if err := u.putChunk(b, &p, b.stored); err != nil {
		return err
	}
	b.stored = true
	return nil
}

func (u *Unit) putChunk(b *Box, p *mailbox.Packed, stored bool) error {
	if err := u.Rows.PutChunk(b, p, stored); err != nil {
		return fmt.Errorf("write chunk %d: %w", p.FirstUID, err)
	}
	return nil
}

// flushBox writes the last chunk and the row; what was read of the chunk is forgotten.
func (u *Unit) flushBox(b *Box) error {
	if err := u.flushTail(b); err != nil {
		return err
	}
	if b.tail != nil {
		u.chunks.Put(b.tail)
		b.tail, b.stored = nil, false
	}
	if !b.dirty || b.gone {
		return nil
	}
	b.dirty = false
	return u.Rows.SaveBox(b)
}
