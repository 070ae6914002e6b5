package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Mailboxes is index.Mailboxes over a DB. What a write does is in package unit.
type Mailboxes struct{ d *DB }

// Mailboxes gives the mailboxes of the database.
func (d *DB) Mailboxes() *Mailboxes { return &Mailboxes{d} }

var _ index.Mailboxes = (*Mailboxes)(nil)

// write runs fn in a unit of its own and flushes it. fn may run after write has returned because ctx has ended: it must
// give its results by what it returns.
func write[T any](ctx context.Context, d *DB, fn func(*unit.Unit, *rows) (T, error)) (T, error) {
	began := time.Now()
	for {
		v, err := writeOnce(ctx, d, began, fn)
		stale := unit.Stale(err)
		if stale == nil {
			return v, err
		}
		if err := domainquota.Read(ctx, d, &d.shared.Domains, stale); err != nil {
			return v, err
		}
	}
}

func writeOnce[T any](ctx context.Context, d *DB, began time.Time, fn func(*unit.Unit, *rows) (T, error)) (T, error) {
	type outcome struct{ v T }
	var out *outcome
	var end ending
	err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		now := d.opts.Now()
		r := &rows{d: d, tx: tx, now: now.UnixNano()}
		tx.Tell(&r.changes)
		u := &unit.Unit{Shared: &d.shared, Rows: r, Now: now, Began: began}
		defer func() { end.ran(u, out != nil) }()
		v, err := fn(u, r)
		if err != nil {
			return err
		}
		if err := u.Flush(); err != nil {
			return err
		}
		if err := r.flushThreads(); err != nil {
			return err
		}
		out = &outcome{v}
		return nil
	})
	end.returned(ctx, err)
	if err != nil {
		var none T
		if errors.Is(err, sqlitedb.ErrFull) {
			err = fmt.Errorf("%w: %w", index.ErrFull, err)
		}
		return none, err
	}
	return out.v, nil
}

// ending ends a unit once: when its transaction is known to have ended, or where nobody waits for that any more, when it ran.
type ending struct {
	mu sync.Mutex
	// Guarded by mu.
	unit *unit.Unit
	good bool
	left bool
}

// ran tells what came of a unit, before its transaction is committed.
func (e *ending) ran(u *unit.Unit, good bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unit, e.good = u, good; e.left {
		u.End(good)
	}
}

// returned tells that whoever waited for the transaction goes on; with a context that has ended it may be before the unit ran.
func (e *ending) returned(ctx context.Context, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left = true
	if e.unit != nil {
		e.unit.End(e.good && (err == nil || ctx.Err() != nil))
	}
}

// made is a mailbox and the account's MODSEQ.
type made struct {
	mailbox index.Mailbox
	modSeq  mailbox.ModSeq
}

// Create is index.Mailboxes'.
func (m *Mailboxes) Create(ctx context.Context, id mailbox.AccountID, name, specialUse string) (index.Mailbox, mailbox.ModSeq, error) {
	v, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (v made, err error) {
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
	seq, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Delete(id, name) })
	if err != nil {
		return 0, fmt.Errorf("delete mailbox: %w", err)
	}
	return seq, nil
}

// Rename is index.Mailboxes'.
func (m *Mailboxes) Rename(ctx context.Context, id mailbox.AccountID, from, to string) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Rename(id, from, to) })
	if err != nil {
		return 0, fmt.Errorf("rename mailbox: %w", err)
	}
	return seq, nil
}

// Subscribe is index.Mailboxes'.
func (m *Mailboxes) Subscribe(ctx context.Context, id mailbox.AccountID, name string, subscribed bool) (mailbox.ModSeq, error) {
	seq, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (mailbox.ModSeq, error) { return u.Subscribe(id, name, subscribed) })
	if err != nil {
		return 0, fmt.Errorf("subscribe: %w", err)
	}
	return seq, nil
}

// Append is index.Mailboxes'.
func (m *Mailboxes) Append(ctx context.Context, id mailbox.AccountID, name string, messages []index.Message) (index.AppendResult, error) {
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.AppendResult, error) { return u.Append(id, name, messages) })
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
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.CopyResult, error) { return u.CopyBy(&c) })
	if err != nil {
		return index.CopyResult{}, fmt.Errorf("copy from mailbox %d: %w", c.Source, err)
	}
	return r, nil
}

// Expunge is index.Mailboxes'.
func (m *Mailboxes) Expunge(ctx context.Context, id mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (index.ExpungeResult, error) {
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.ExpungeResult, error) { return u.Expunge(id, mbox, uids, force) })
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("expunge in mailbox %d: %w", mbox, err)
	}
	return r, nil
}

// ExpungeDeleted is index.Mailboxes'.
func (m *Mailboxes) ExpungeDeleted(ctx context.Context, id mailbox.AccountID, mbox mailbox.ID, likely mailbox.UIDSet) (index.ExpungeResult, error) {
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.ExpungeResult, error) { return u.ExpungeDeleted(id, mbox, likely) })
	if err != nil {
		return index.ExpungeResult{}, fmt.Errorf("expunge in mailbox %d: %w", mbox, err)
	}
	return r, nil
}

// Flag is index.Mailboxes'.
func (m *Mailboxes) Flag(ctx context.Context, c index.FlagChange) (index.FlagResult, error) {
	r, err := write(ctx, m.d, func(u *unit.Unit, _ *rows) (index.FlagResult, error) { return u.Flag(c) })
	if err != nil {
		return index.FlagResult{}, fmt.Errorf("flag in mailbox %d: %w", c.Mailbox, err)
	}
	return r, nil
}
