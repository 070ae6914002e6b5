package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// KeepRows are the rows of what was removed.
type KeepRows interface {
	// PutRemoved keeps entries that were taken out of a mailbox.
	PutRemoved(b *Box, r *Removed) error
	// PutRemovedBox keeps the row of a mailbox that is about to be dropped.
	PutRemovedBox(b *Box) error
	// BoxEmails calls each with the emails of the entries of a mailbox.
	BoxEmails(b *Box, each func([]mailbox.EmailID)) error
	// AccountEmails does so with those of all its mailboxes.
	AccountEmails(a *Account, each func([]mailbox.EmailID)) error
	// HaveEmails tells which of emails have a row.
	HaveEmails(a *Account, emails []mailbox.EmailID) (map[mailbox.EmailID]bool, error)
}

// Removed is a row of entries that were taken out of a mailbox.
type Removed struct {
	ModSeq  mailbox.ModSeq
	Part    int
	Kind    index.Kind
	Count   int
	Octets  int64
	Entries mailbox.Packed
}

// keeper gathers the entries that a removal takes out of a mailbox, and keeps them in rows.
type keeper struct {
	u     *Unit
	b     *Box
	kind  index.Kind
	chunk *mailbox.Chunk
	part  int
}

func (u *Unit) keeper(b *Box, kind index.Kind) *keeper {
	return &keeper{u: u, b: b, kind: kind, chunk: u.chunk()}
}

// add takes an entry; they come in the order of their UIDs.
func (k *keeper) add(e mailbox.Entry) error {
	if k.chunk.Len() >= mailbox.ChunkSize {
		if err := k.flush(); err != nil {
			return err
		}
	}
	if k.chunk.Len() == 0 {
		k.chunk.FirstUID = e.UID
	}
	k.chunk.Add(e)
	return nil
}

// flush writes what was gathered, with the MODSEQ of the change.
func (k *keeper) flush() error {
	if k.chunk.Len() == 0 {
		return nil
	}
	r := &Removed{ModSeq: k.b.changed(), Part: k.part, Kind: k.kind, Count: k.chunk.Len(), Entries: k.chunk.Pack()}
	if k.kind != index.Moved {
		for _, size := range k.chunk.Sizes {
			r.Octets += size
		}
	}
	k.part++
	k.chunk.Reset()
	if err := k.u.Rows.PutRemoved(k.b, r); err != nil {
		return fmt.Errorf("keep what is removed: %w", err)
	}
	return nil
}

func (k *keeper) done() { k.u.chunks.Put(k.chunk) }
