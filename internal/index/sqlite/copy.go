package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Copy is index.Mailboxes'.
func (m *Mailboxes) Copy(ctx context.Context, id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	r, err := write(ctx, m.d, func(u *unit) (index.CopyResult, error) {
		from, to, err := u.copyBoxes(id, source, target)
		if err != nil {
			return index.CopyResult{}, err
		}
		return u.copy(from, to, uids, true)
	})
	if err != nil {
		return index.CopyResult{}, fmt.Errorf("copy from mailbox %d: %w", source, err)
	}
	return r, nil
}

// Move is index.Mailboxes'.
func (m *Mailboxes) Move(ctx context.Context, id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	r, err := write(ctx, m.d, func(u *unit) (index.CopyResult, error) {
		from, to, err := u.copyBoxes(id, source, target)
		if err != nil {
			return index.CopyResult{}, err
		}
		return u.move(from, to, uids)
	})
	if err != nil {
		return index.CopyResult{}, fmt.Errorf("move from mailbox %d: %w", source, err)
	}
	return r, nil
}

func (u *unit) copyBoxes(id mailbox.AccountID, source mailbox.ID, target string) (from, to *box, err error) {
	a, err := u.account(id)
	if err != nil {
		return nil, nil, err
	}
	if from, err = u.box(a, source); err != nil {
		return nil, nil, err
	}
	to, err = u.boxNamed(a, target)
	return from, to, err
}

func (u *unit) move(from, to *box, uids mailbox.UIDSet) (index.CopyResult, error) {
	r, err := u.copy(from, to, uids, false)
	if err != nil {
		return r, err
	}
	// Only what was copied goes: within one mailbox the copies stay.
	_, err = u.remove(from, r.Source, true)
	return r, err
}

// copy adds entries of the emails that uids name in from at the end of to.
func (u *unit) copy(from, to *box, uids mailbox.UIDSet, needsRoom bool) (r index.CopyResult, err error) {
	r = index.CopyResult{Target: to.ID, UIDValidity: to.UIDValidity, ModSeq: to.account.modSeq}
	entries, err := u.entries(from, uids)
	if err != nil || len(entries) == 0 {
		return r, err
	}
	if err := u.checkCopy(from, entries, needsRoom); err != nil {
		return r, err
	}
	var used mailbox.Flags
	for _, e := range entries {
		used |= e.Flags
	}
	carry, err := to.carry(from, used)
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
	r.ModSeq = to.account.modSeq
	return r, u.flushBox(to)
}

// entries reads those entries of a mailbox that are in uids.
func (u *unit) entries(b *box, uids mailbox.UIDSet) (list []mailbox.Entry, err error) {
	packed, err := u.chunkRows(b, uids)
	if err != nil {
		return nil, err
	}
	chunk := u.d.chunk()
	defer u.d.chunks.Put(chunk)
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

func (u *unit) checkCopy(from *box, entries []mailbox.Entry, needsRoom bool) error {
	if needsRoom {
		var size int64
		for _, e := range entries {
			size += e.Size
		}
		if err := u.room(from.account, int64(len(entries)), size); err != nil {
			return err
		}
	}
	// Hardly ever is anything condemned, so that one look spares one for every email.
	if any, err := u.anyCondemned(); err != nil || !any {
		return err
	}
	for _, e := range entries {
		var n int
		if err := u.tx.QueryRow("SELECT COUNT(*) FROM condemned c, email e WHERE e.email = ? AND c.blob_id = e.blob_id", int64(e.Email)).Scan(&n); err != nil {
			return fmt.Errorf("look for condemned body: %w", err)
		}
		if n > 0 {
			return index.ErrCondemned
		}
	}
	return nil
}

func (u *unit) anyCondemned() (bool, error) {
	var one int
	err := u.tx.QueryRow("SELECT 1 FROM condemned LIMIT 1").Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for condemned bodies: %w", err)
	}
	return true, nil
}

// carry tells how flags of from are written in b; used are those that any entry has.
func (b *box) carry(from *box, used mailbox.Flags) (func(mailbox.Flags) mailbox.Flags, error) {
	system := mailbox.KeywordFlag(0) - 1
	if b == from || used&^system == 0 {
		return func(f mailbox.Flags) mailbox.Flags { return f }, nil
	}
	var to [mailbox.MaxKeywords]mailbox.Flags
	for i, name := range from.Keywords {
		if used&mailbox.KeywordFlag(i) == 0 {
			continue
		}
		bit, err := b.flags([]string{name})
		if err != nil {
			return nil, err
		}
		to[i] = bit
	}
	return func(f mailbox.Flags) mailbox.Flags {
		g := f & system
		for i, bit := range to {
			if f&mailbox.KeywordFlag(i) != 0 {
				g |= bit
			}
		}
		return g
	}, nil
}
