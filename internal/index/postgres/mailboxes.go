package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// Mailboxes is index.Mailboxes over a DB. What a write does is in package unit.
type Mailboxes struct{ d *DB }

// Mailboxes gives the mailboxes of the database.
func (d *DB) Mailboxes() *Mailboxes { return &Mailboxes{d} }

var _ index.Mailboxes = (*Mailboxes)(nil)

// write runs fn in a unit of its own, over rows that begin with what want names, and writes what it changed. fn may run
// more than once, each time from nothing.
func write[T any](ctx context.Context, d *DB, want load, fn func(*unit.Unit, *rows) (T, error)) (T, error) {
	var v, none T
	began := time.Now()
	for {
		var u *unit.Unit
		err := d.db.Write(ctx, func(tx *pgdb.Tx) error {
			if u != nil {
				u.End(false)
				u = nil
			}
			r, err := d.load(tx, want)
			if err != nil {
				return err
			}
			u = &unit.Unit{Shared: &d.shared, Rows: r, Now: d.now(), Began: began}
			if v, err = fn(u, r); err != nil {
				return err
			}
			if err := u.Flush(); err != nil {
				return err
			}
			return r.flush()
		})
		if u != nil {
			u.End(err == nil)
		}
		var missing *missingAccounts
		stale := unit.Stale(err)
		switch {
		case err == nil:
			return v, nil
		case stale != nil:
			err = domainquota.Read(ctx, d, &d.shared.Domains, stale)
		case errors.Is(err, errNewTimeline):
			err = d.beginTimeline(ctx)
		case errors.As(err, &missing):
			err = d.makeAccounts(ctx, missing.ids)
		}
		if err != nil {
			return none, full(err)
		}
	}
}

// full names a full disk as callers know it.
func full(err error) error {
	if errors.Is(err, pgdb.ErrFull) {
		return fmt.Errorf("%w: %w", index.ErrFull, err)
	}
	return err
}

// missingAccounts are those that were never touched.
type missingAccounts struct{ ids []mailbox.AccountID }

func (e *missingAccounts) Error() string { return fmt.Sprintf("%d accounts are new", len(e.ids)) }

// makeAccounts makes accounts with their folders, in a transaction of its own: it goes in the order of the ids like the
// locks of those that are there, and whoever makes one of them at the same time is waited for.
func (d *DB) makeAccounts(ctx context.Context, ids []mailbox.AccountID) error {
	err := d.db.Write(ctx, func(tx *pgdb.Tx) error {
		r, err := d.load(tx, load{})
		if err != nil {
			return err
		}
		made, err := r.insertAccounts(ids)
		if err != nil {
			return err
		}
		u := &unit.Unit{Shared: &d.shared, Rows: r, Now: d.now()}
		for _, id := range made {
			if err := u.Begin(&unit.Account{ID: id}); err != nil {
				return err
			}
		}
		if err := u.Flush(); err != nil {
			return err
		}
		return r.flush()
	})
	if errors.Is(err, errNewTimeline) {
		return d.beginTimeline(ctx)
	}
	if err != nil {
		return fmt.Errorf("make accounts: %w", err)
	}
	return nil
}

// made is a mailbox and the account's MODSEQ.
type made struct {
	mailbox index.Mailbox
	modSeq  mailbox.ModSeq
}

func one(id mailbox.AccountID) []mailbox.AccountID { return []mailbox.AccountID{id} }

func bodies(messages []index.Message) [][]byte {
	ids := make([][]byte, len(messages))
	for i := range messages {
		ids[i] = messages[i].Blob.Bytes()
	}
	return ids
}

// Create is index.Mailboxes'.
func (m *Mailboxes) Create(ctx context.Context, id mailbox.AccountID, name, specialUse string) (index.Mailbox, mailbox.ModSeq, error) {
	v, err := write(ctx, m.d, load{accounts: one(id), names: []nameKey{{id, name}}}, func(u *unit.Unit, _ *rows) (v made, err error) {
		v.mailbox, v.modSeq, err = u.Create(id, name, specialUse)
		return v, err
	})
	if err != nil {
		return index.Mailbox{}, 0, fmt.Errorf("create mailbox: %w", err)
	}
	return v.mailbox, v.modSeq, nil
}

// Delete is index.Mailboxes'.
func (m *Mailboxes) Delete(ctx context.Context, id mailbox.AccountID, name string) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, load{accounts: one(id), names: []nameKey{{id, name}}},
		func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Delete(id, name) })
	if err != nil {
		return 0, fmt.Errorf("delete mailbox: %w", err)
	}
	return seq, nil
}

// Rename is index.Mailboxes'.
func (m *Mailboxes) Rename(ctx context.Context, id mailbox.AccountID, from, to string) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, load{accounts: one(id)},
		func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Rename(id, from, to) })
	if err != nil {
		return 0, fmt.Errorf("rename mailbox: %w", err)
	}
	return seq, nil
}

// Subscribe is index.Mailboxes'.
func (m *Mailboxes) Subscribe(ctx context.Context, id mailbox.AccountID, name string, subscribed bool) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, load{accounts: one(id)},
		func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Subscribe(id, name, subscribed) })
	if err != nil {
		return 0, fmt.Errorf("subscribe: %w", err)
	}
	return seq, nil
}

// Append is index.Mailboxes'.
func (m *Mailboxes) Append(ctx context.Context, id mailbox.AccountID, name string, messages []index.Message) (index.AppendResult, error) {
	r, err := write(ctx, m.d, load{accounts: one(id), names: []nameKey{{id, name}}, bodies: bodies(messages), threads: threadKeys(id, messages)},
		func(u *unit.Unit, _ *rows) (index.AppendResult, error) { return u.Append(id, name, messages) })
	if err != nil {
		return index.AppendResult{}, fmt.Errorf("append: %w", err)
	}
	return r, nil
}

// Copy is index.Mailboxes'.
func (m *Mailboxes) Copy(ctx context.Context, id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	return m.CopyBy(ctx, index.Copying{Account: id, Source: source, UIDs: uids, Target: target})
}

// Move is index.Mailboxes'.
func (m *Mailboxes) Move(ctx context.Context, id mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (index.CopyResult, error) {
	return m.CopyBy(ctx, index.Copying{Account: id, Source: source, UIDs: uids, Target: target, Move: true})
}

// CopyBy is index.Mailboxes'.
func (m *Mailboxes) CopyBy(ctx context.Context, c index.Copying) (index.CopyResult, error) {
	from := boxKey{c.Account, c.Source}
	r, err := write(ctx, m.d, load{accounts: one(c.Account), names: []nameKey{{c.Account, c.Target}}, boxes: []boxKey{from}, chunks: &chunksKey{box: from, uids: c.UIDs}, copies: true},
		func(u *unit.Unit, _ *rows) (index.CopyResult, error) { return u.CopyBy(&c) })
	if err != nil {
		return index.CopyResult{}, fmt.Errorf("copy from mailbox %d: %w", c.Source, err)
	}
	return r, nil
}

// Expunge is index.Mailboxes'.
func (m *Mailboxes) Expunge(ctx context.Context, id mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (index.ExpungeResult, error) {
	r, err := write(ctx, m.d, load{accounts: one(id), boxes: []boxKey{{id, mbox}}},
		func(u *unit.Unit, _ *rows) (index.ExpungeResult, error) { return u.Expunge(id, mbox, uids, force) })
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("expunge in mailbox %d: %w", mbox, err)
	}
	return r, nil
}

// ExpungeDeleted is index.Mailboxes'.
func (m *Mailboxes) ExpungeDeleted(ctx context.Context, id mailbox.AccountID, mbox mailbox.ID, likely mailbox.UIDSet) (index.ExpungeResult, error) {
	r, err := write(ctx, m.d, load{accounts: one(id), boxes: []boxKey{{id, mbox}}},
		func(u *unit.Unit, _ *rows) (index.ExpungeResult, error) { return u.ExpungeDeleted(id, mbox, likely) })
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("expunge in mailbox %d: %w", mbox, err)
	}
	return r, nil
}

// Flag is index.Mailboxes'.
func (m *Mailboxes) Flag(ctx context.Context, c index.FlagChange) (index.FlagResult, error) {
	box := boxKey{c.Account, c.Mailbox}
	r, err := write(ctx, m.d, load{accounts: one(c.Account), boxes: []boxKey{box}, chunks: &chunksKey{box: box, uids: c.UIDs, flags: true}},
		func(u *unit.Unit, _ *rows) (index.FlagResult, error) { return u.Flag(c) })
	if err != nil {
		return index.FlagResult{}, fmt.Errorf("flag in mailbox %d: %w", c.Mailbox, err)
	}
	return r, nil
}
