package imap

import (
	"context"
	"runtime/debug"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// batch is a run of messages of one chunk, with the emails of those that need them.
type batch struct {
	cols view.Columns
	seq  uint32 // of the first, if pick noted it
	rows []row
	// keys are of those messages that the walk wants them of; nil where it wants none.
	keys []keys.Record
	// hits are messages that SEARCH found by columns and keys alone.
	hits []hit
}

// row is one message of a batch.
type row struct {
	seq  uint32
	i    int   // in cols
	mail *mail // nil where the email is gone
	data []datum
}

// walk is a way through messages of which some need their emails.
type walk struct {
	snap    *view.Snapshot
	seqs    wire.Set
	columns view.Want
	index   bool // with part indexes
	bodies  bool // with bodies, where they are few and small; columns has the sizes then
	// keys tells whether the keys of an entry are wanted; nil: of none.
	keys func(b *batch, seq uint32, i int) bool
	// spare tells of a message whose keys would have to be loaded that they are not wanted after all; nil: of none.
	spare func(mailbox.UID) bool
	// pick tells whether the i-th entry of a batch's columns needs its email; it may note what needs none.
	pick func(b *batch, seq uint32, i int) bool
	// each takes the batches in order.
	each func(*batch) error
}

// run does the walk. While each works on a batch the next one's emails are being asked for, in a goroutine that run waits
// for; pick runs there.
func (m *mails) run(w *walk) error {
	if w.seqs.Count() <= mailbox.ChunkSize {
		return m.produce(w, sameColumns, w.each)
	}
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	ready := make(chan *batch, 1)
	ended := make(chan error, 1)
	go func() {
		defer close(ready)
		defer func() {
			if p := recover(); p != nil {
				m.s.log.Error("panicked", panicAttr(p), obs.Stack(debug.Stack()))
				ended <- no("SERVERBUG", "internal error")
			}
		}()
		ended <- m.produce(w, copyColumns, func(b *batch) error {
			select {
			case ready <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var err error
	for b := range ready {
		if err == nil {
			if err = w.each(b); err != nil {
				cancel()
			}
		}
	}
	if produced := <-ended; err == nil {
		err = produced
	}
	return err
}

// produce loads batch after batch and hands each on; take makes its columns.
func (m *mails) produce(w *walk, take func(*view.Columns, int, int) view.Columns, hand func(*batch) error) error {
	return w.snap.Walk(w.seqs, w.columns, func(seq uint32, cols *view.Columns, lo, hi int) error {
		b := &batch{cols: take(cols, lo, hi)}
		if w.keys != nil {
			var err error
			b.keys, err = m.keysOf(w.snap, &b.cols, func(i int) bool { return w.keys(b, seq+uint32(i), i) }, w.spare)
			if err != nil {
				return err
			}
		}
		var ids []uint64
		for i := range hi - lo {
			if w.pick(b, seq+uint32(i), i) {
				b.rows = append(b.rows, row{seq: seq + uint32(i), i: i})
				ids = append(ids, uint64(b.cols.Emails[i]))
			}
		}
		if len(ids) > 0 {
			found, err := m.load(ids, w.index, w.along(b))
			if err != nil {
				return err
			}
			for i := range b.rows {
				b.rows[i].mail = found[i]
			}
		}
		return hand(b)
	})
}

const (
	// alongMessages and alongOctets are of how many messages, and how large, the bodies come along with the emails. Of more
	// they are streamed by a call of their own, which costs little for each.
	alongMessages = 8
	alongOctets   = 256 << 10
)

// along is how many octets of bodies are asked for along with the emails of a batch.
func (w *walk) along(b *batch) int64 {
	if !w.bodies || len(b.rows) > alongMessages {
		return 0
	}
	size := int64(0)
	for _, r := range b.rows {
		size += b.cols.Sizes[r.i]
	}
	if size > alongOctets {
		return 0
	}
	return alongOctets
}

// sameColumns is a run of columns, for who is done with it before the walk goes on.
func sameColumns(c *view.Columns, lo, hi int) view.Columns {
	return view.Columns{
		UIDs: part(c.UIDs, lo, hi), Flags: part(c.Flags, lo, hi), ModSeqs: part(c.ModSeqs, lo, hi),
		Emails: part(c.Emails, lo, hi), Sizes: part(c.Sizes, lo, hi), Received: part(c.Received, lo, hi), Saved: part(c.Saved, lo, hi),
	}
}

// copyColumns is a copy of it.
func copyColumns(c *view.Columns, lo, hi int) view.Columns {
	s := sameColumns(c, lo, hi)
	return view.Columns{
		UIDs: slices.Clone(s.UIDs), Flags: slices.Clone(s.Flags), ModSeqs: slices.Clone(s.ModSeqs),
		Emails: slices.Clone(s.Emails), Sizes: slices.Clone(s.Sizes), Received: slices.Clone(s.Received), Saved: slices.Clone(s.Saved),
	}
}

// part is a run of a column; one that was not wanted is empty.
func part[T any](column []T, lo, hi int) []T {
	if len(column) == 0 {
		return nil
	}
	return column[lo:hi]
}
