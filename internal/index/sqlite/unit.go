package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Mailboxes is index.Mailboxes over a DB.
type Mailboxes struct{ d *DB }

// Mailboxes gives the mailboxes of the database.
func (d *DB) Mailboxes() *Mailboxes { return &Mailboxes{d} }

var _ index.Mailboxes = (*Mailboxes)(nil)

// unit is one write and what it has read so far: rows are read once, changed in memory and written by flush.
type unit struct {
	d        *DB
	tx       *sqlitedb.Tx
	now      time.Time
	accounts []*account
}

// account is an account's row within a unit.
type account struct {
	id          mailbox.AccountID
	modSeq      mailbox.ModSeq
	uidValidity mailbox.UIDValidity
	messages    int64
	size        int64
	quotaSize   int64
	quotaCount  int64
	// touched tells that modSeq was raised in this unit.
	touched bool
	boxes   []*box
}

// write runs fn in a unit of its own and flushes it. fn may run after write has returned because ctx has ended: it must
// give its results by what it returns.
func write[T any](ctx context.Context, d *DB, fn func(*unit) (T, error)) (T, error) {
	type outcome struct{ v T }
	var out *outcome
	err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		u := &unit{d: d, tx: tx, now: d.opts.Now()}
		v, err := fn(u)
		if err != nil {
			return err
		}
		if err := u.flush(); err != nil {
			return err
		}
		out = &outcome{v}
		return nil
	})
	if err != nil {
		var none T
		if errors.Is(err, sqlitedb.ErrFull) {
			err = fmt.Errorf("%w: %w", index.ErrFull, err)
		}
		return none, err
	}
	return out.v, nil
}

// step is a place between two steps of a write, where tests let the process die or the write fail.
func (u *unit) step(name string) error {
	fault.Point(name)
	if u.d.opts.Fault != nil {
		if err := u.d.opts.Fault(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// account reads an account's row once; an account that was never touched is made.
func (u *unit) account(id mailbox.AccountID) (*account, error) {
	for _, a := range slices.Backward(u.accounts) { // a batch comes in their order
		if a.id == id {
			return a, nil
		}
	}
	if id == 0 || id >= 1<<63 {
		return nil, index.ErrNoAccount
	}
	a := &account{id: id}
	var timeline int64
	err := u.tx.QueryRow(`SELECT timeline, mod_seq, uid_validity, messages, size, quota_size, quota_messages
		FROM account WHERE account = ?`, int64(id)).
		Scan(&timeline, &a.modSeq, &a.uidValidity, &a.messages, &a.size, &a.quotaSize, &a.quotaCount)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		u.accounts = append(u.accounts, a)
		return a, u.begin(a)
	case err != nil:
		return nil, fmt.Errorf("read account %d: %w", id, err)
	}
	u.accounts = append(u.accounts, a)
	if timeline != u.d.timeline.Load() {
		return a, u.jump(a)
	}
	return a, nil
}

// standard are the folders of a new account (RFC 6154).
var standard = [...]struct{ name, specialUse string }{
	{index.Inbox, ""}, {"Sent", `\Sent`}, {"Drafts", `\Drafts`}, {"Junk", `\Junk`}, {"Trash", `\Trash`}, {"Archive", `\Archive`},
}

// begin makes the row and the folders of an account.
func (u *unit) begin(a *account) error {
	if _, err := u.tx.Exec(`INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) VALUES (?, ?, 0, 0, 0, 0)`,
		int64(a.id), u.d.timeline.Load()); err != nil {
		return fmt.Errorf("make account %d: %w", a.id, err)
	}
	for _, s := range standard {
		if _, err := u.create(a, s.name, s.specialUse); err != nil {
			return err
		}
		if err := u.subscribe(a, s.name); err != nil {
			return err
		}
	}
	return nil
}

// touch raises the account's MODSEQ, once in a unit, and returns it.
func (a *account) touch() mailbox.ModSeq {
	if !a.touched {
		a.touched = true
		a.modSeq++
	}
	return a.modSeq
}

// room tells whether messages of size octets in all may be added.
func (u *unit) room(a *account, messages, size int64) error {
	maxSize, maxCount := cmp.Or(a.quotaSize, u.d.opts.QuotaSize), cmp.Or(a.quotaCount, u.d.opts.QuotaMessages)
	if maxSize > 0 && a.size+size > maxSize || maxCount > 0 && a.messages+messages > maxCount {
		return index.ErrOverQuota
	}
	return nil
}

// flush writes what the unit changed: of every account, in the order of their ids, chunks, mailboxes, then its own row.
func (u *unit) flush() error {
	slices.SortFunc(u.accounts, func(a, b *account) int { return cmp.Compare(a.id, b.id) })
	for _, a := range u.accounts {
		for _, b := range a.boxes {
			if err := u.flushBox(b); err != nil {
				return fmt.Errorf("write mailbox %d: %w", b.ID, err)
			}
		}
		if !a.touched {
			continue
		}
		if _, err := u.tx.Exec(`UPDATE account SET mod_seq = ?, uid_validity = ?, messages = ?, size = ? WHERE account = ?`,
			int64(a.modSeq), int64(a.uidValidity), a.messages, a.size, int64(a.id)); err != nil {
			return fmt.Errorf("write account %d: %w", a.id, err)
		}
		a.touched = false
	}
	return nil
}
