package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// How far numbers jump on a new timeline: further than any account came in what was lost.
const (
	timelineModSeqs       = 1 << 32
	timelineUIDs          = 1 << 20
	timelineUIDValidities = 1 << 12
)

// BeginTimeline is called after the file was restored from an older copy: what clients saw of the history that was lost
// is never given again. Every account jumps when it is next written to.
func (d *DB) BeginTimeline(ctx context.Context, reason string) error {
	err := d.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO timeline (timeline, started_ns, reason) SELECT MAX(timeline) + 1, ?, ? FROM timeline",
			d.opts.Now().UnixNano(), reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin timeline: %w", err)
	}
	return d.readTimeline(ctx)
}

func (d *DB) readTimeline(ctx context.Context) error {
	err := d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		var n int64
		if err := tx.QueryRow("SELECT MAX(timeline) FROM timeline").Scan(&n); err != nil {
			return err
		}
		d.timeline.Store(n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read timeline: %w", err)
	}
	return nil
}

// jump brings an account of an older timeline to the current one. A mailbox that has no room to jump gets a new
// UIDVALIDITY instead and begins anew with the UIDs behind its last.
func (u *unit) jump(a *account) error {
	a.modSeq += timelineModSeqs
	a.uidValidity += timelineUIDValidities
	a.touched = true
	if _, err := u.tx.Exec("UPDATE account SET timeline = ? WHERE account = ?", u.d.timeline.Load(), int64(a.id)); err != nil {
		return fmt.Errorf("jump account %d: %w", a.id, err)
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if b.UIDNext < mailbox.MaxUID-timelineUIDs {
			b.UIDNext += timelineUIDs
		} else {
			a.uidValidity++
			b.UIDValidity = a.uidValidity
		}
		b.HighestModSeq = a.modSeq
		b.dirty = true
	}
	return nil
}
