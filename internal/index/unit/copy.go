package unit

import (
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Copy makes entries of the same emails at the end of target.
func (u *Unit) Copy(id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	from, to, err := u.copyBoxes(id, source, target)
	if err != nil {
		return index.CopyResult{}, err
	}
	return u.copy(from, to, uids, true)
}

// Move is Copy and a forced Expunge.
func (u *Unit) Move(id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	from, to, err := u.copyBoxes(id, source, target)
	if err != nil {
		return index.CopyResult{}, err
	}
	return u.move(from, to, uids)
}

func (u *Unit) copyBoxes(id mailbox.AccountID, source mailbox.ID, target string) (from, to *Box, err error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, nil, err
	}
	if from, err = u.box(a, source); err != nil {
		return nil, nil, err
	}
	to, err = u.boxNamed(a, target)
	return from, to, err
}

func (u *Unit) move(from, to *Box, uids mailbox.UIDSet) (index.CopyResult, error) {
	r, err := u.copy(from, to, uids, false)
	if err != nil {
		return r, err
	}
	// Only what was copied goes: within one mailbox the copies stay.
	_, err = u.remove(from, r.Source, true, index.Moved)
	return r, err
}

// copy adds entries of the emails that uids name in from at the end of to.
func (u *Unit) copy(from, to *Box, uids mailbox.UIDSet, needsRoom bool) (r index.CopyResult, err error) {
	r = index.CopyResult{Target: to.ID, UIDValidity: to.UIDValidity, ModSeq: to.Account.ModSeq}
	entries, err := u.entries(from, uids)
	if err != nil || len(entries) == 0 {
		return r, err
	}
	if err := u.checkCopy(from, to, entries, needsRoom); err != nil {
		return r, err
	}
	var used mailbox.Flags
	for _, e := range entries {
		used |= e.Flags
	}
	carry, err := u.carry(from, to, used)
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		r.Source = r.Source.Add(e.UID)
		e.Flags = carry(e.Flags)
		uid, err := u.add(to, e)
		if err != nil {
			return r, err
		}
		r.Copies = r.Copies.Add(uid)
	}
	r.ModSeq = to.Account.ModSeq
	return r, u.flushBox(to)
}

// entries reads those entries of a mailbox that are in uids.
func (u *Unit) entries(b *Box, uids mailbox.UIDSet) (list []mailbox.Entry, err error) {
	packed, err := u.chunksOf(b, uids)
	if err != nil {
		return nil, err
	}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return nil, err
		}
		for i, uid := range chunk.UIDs {
			if uids.Contains(uid) {
				list = append(list, chunk.At(i))
			}
		}
	}
	return list, nil
}

func (u *Unit) checkCopy(from, to *Box, entries []mailbox.Entry, needsRoom bool) error {
	var size int64
	for _, e := range entries {
		size += e.Size
	}
	giver := from // MOVE takes out of from what it adds
	if needsRoom {
		giver = nil
		if err := u.room(from.Account, int64(len(entries)), size); err != nil {
			return err
		}
	}
	if err := u.roomIn([]*Box{to}, giver, int64(len(entries)), size); err != nil {
		return err
	}
	// Hardly ever is anything condemned, so that one look spares one for every email.
	if any, err := u.anyCondemned(); err != nil || !any {
		return err
	}
	emails := make([]mailbox.EmailID, len(entries))
	for i, e := range entries {
		emails[i] = e.Email
	}
	condemned, err := u.Rows.CondemnedEmails(from.Account, emails)
	if err != nil {
		return fmt.Errorf("look for condemned body: %w", err)
	}
	if condemned {
		return index.ErrCondemned
	}
	return nil
}

func (u *Unit) anyCondemned() (bool, error) {
	any, err := u.Rows.AnyCondemned()
	if err != nil {
		return false, fmt.Errorf("look for condemned bodies: %w", err)
	}
	return any, nil
}

// carry tells how flags of from are written in to; used are those that any entry has. A keyword without room is left out:
// people must be able to move their mail.
func (u *Unit) carry(from, to *Box, used mailbox.Flags) (func(mailbox.Flags) mailbox.Flags, error) {
	system := mailbox.KeywordFlag(0) - 1
	if to == from || used&^system == 0 {
		return func(f mailbox.Flags) mailbox.Flags { return f }, nil
	}
	var bits [mailbox.MaxKeywords]mailbox.Flags
	for i, name := range from.Keywords {
		if used&mailbox.KeywordFlag(i) == 0 {
			continue
		}
		bit, err := u.flags(to, []string{name})
		if err != nil && !errors.Is(err, index.ErrKeywords) {
			return nil, err
		}
		bits[i] = bit
	}
	return func(f mailbox.Flags) mailbox.Flags {
		g := f & system
		for i, bit := range bits {
			if f&mailbox.KeywordFlag(i) != 0 {
				g |= bit
			}
		}
		return g
	}, nil
}
