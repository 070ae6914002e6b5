package index

import (
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Reader is somebody who is not the owner of a mailbox, and has some flags to himself. The zero Reader is the owner.
type Reader struct {
	Account mailbox.AccountID
	// Own are the flags, as "\Seen", or "*" for all keywords.
	Own []string
}

// Mask are the bits of a mailbox's flags that are the reader's own.
func (r *Reader) Mask(keywords []string) mailbox.Flags {
	var mask mailbox.Flags
	for _, name := range r.Own {
		if name == "*" {
			mask |= ^(mailbox.KeywordFlag(0) - 1)
		} else if bit, ok := mailbox.FindFlag(name, keywords); ok {
			mask |= bit
		}
	}
	return mask
}

// Has tells whether a flag is the reader's own.
func (r *Reader) Has(flag string) bool {
	return slices.ContainsFunc(r.Own, func(own string) bool {
		return own == "*" && !strings.HasPrefix(flag, `\`) || strings.EqualFold(own, flag)
	})
}

// Overlay turns a chunk's flags and MODSEQs into those that a reader sees. own is what he has of it, nil for nothing.
func Overlay(p, own *mailbox.Packed, mask mailbox.Flags) error {
	var chunk, mine mailbox.Chunk
	if err := chunk.UnpackFlags(p); err != nil {
		return err
	}
	if own != nil {
		if err := mine.UnpackFlags(own); err != nil {
			return err
		}
		p.MaxModSeq = max(p.MaxModSeq, own.MaxModSeq)
	}
	for i, uid := range chunk.UIDs {
		chunk.Flags[i] &^= mask
		if k, ok := mine.Find(uid); ok {
			chunk.Flags[i] |= mine.Flags[k] & mask
			chunk.ModSeqs[i] = max(chunk.ModSeqs[i], mine.ModSeqs[k])
		}
	}
	p.Flags, p.ModSeqs = mailbox.AppendFlags(nil, chunk.Flags), mailbox.AppendModSeqs(nil, chunk.ModSeqs)
	return nil
}
