package unit

import (
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// flags finds the bits of flag names. A keyword that the mailbox does not have gets a bit: a new one, or, where all have been
// given, that of a keyword which no message has any more. Where there is none, keywords are left out and ErrKeywords is
// returned beside the rest.
func (u *Unit) flags(b *Box, names []string) (f mailbox.Flags, err error) {
	for _, name := range names {
		bit, ok := mailbox.FindFlag(name, b.Keywords)
		if !ok {
			if bit, err = u.newKeyword(b, name); err != nil {
				return u.knownFlags(b, names), err
			}
		}
		f |= bit
		b.given |= bit
	}
	return f, nil
}

// knownFlags are the bits of those names that have one.
func (u *Unit) knownFlags(b *Box, names []string) (f mailbox.Flags) {
	for _, name := range names {
		bit, _ := mailbox.FindFlag(name, b.Keywords)
		f |= bit
	}
	b.given |= f
	return f
}

// newKeyword gives a keyword a bit.
func (u *Unit) newKeyword(b *Box, name string) (mailbox.Flags, error) {
	// A copy, so that whoever holds the old list keeps it.
	list := slices.Clone(b.Keywords)
	if len(list) < mailbox.MaxKeywords {
		b.Keywords = append(list, name)
		return mailbox.KeywordFlag(len(list)), nil
	}
	used, err := u.usedFlags(b)
	if err != nil {
		return 0, err
	}
	for i := range list {
		if bit := mailbox.KeywordFlag(i); used&bit == 0 {
			list[i] = name
			b.Keywords = list
			return bit, nil
		}
	}
	return 0, index.ErrKeywords
}

// usedFlags are the flags that any message of a mailbox has, for its owner or for a reader, or may get in this unit.
func (u *Unit) usedFlags(b *Box) (mailbox.Flags, error) {
	if err := u.flushTail(b); err != nil {
		return 0, err
	}
	rows, err := u.Rows.FlagChunks(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})
	if err != nil {
		return 0, fmt.Errorf("read chunks: %w", err)
	}
	used := b.given
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	collect := func(p *mailbox.Packed) error {
		if err := chunk.UnpackFlags(p); err != nil {
			return err
		}
		for _, f := range chunk.Flags {
			used |= f
		}
		return nil
	}
	for i := range rows {
		if err := collect(&rows[i]); err != nil {
			return 0, err
		}
	}
	if err := u.Rows.EachOwn(b, collect); err != nil {
		return 0, fmt.Errorf("read readers' flags: %w", err)
	}
	return used, nil
}
