package store

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ledgerWalk is the first pass: the ledger by hours, in the order of ids.
type ledgerWalk struct {
	*audit
	hours map[int64]ledger.AuditHour
	// hour is the one under way, unit what it makes; nil before the first.
	hour int64
	unit *unit
}

func (r *audit) walkLedger(ctx context.Context) error {
	hours, err := r.ledger.AuditHours(ctx)
	if err != nil {
		return err
	}
	w := &ledgerWalk{audit: r, hours: hours}
	var after envelope.QueueID
	for limit := auditBatch; ; {
		page, err := r.ledger.Walk(ctx, after, limit)
		if err != nil {
			return err
		}
		end := len(page) < limit
		limit = auditBatch
		for len(page) > 0 {
			hour := ledger.HourOf(page[0].ID)
			n := 1
			for n < len(page) && ledger.HourOf(page[n].ID) == hour {
				n++
			}
			if after, err = w.take(ctx, hour, page[:n]); err != nil {
				return err
			}
			page = page[n:]
		}
		if end {
			return w.finish(ctx)
		}
		if w.unit == nil {
			limit = 1 // an hour was passed over: the first message of the next tells whether that may be, too
			continue
		}
		if err := r.rest(ctx); err != nil {
			return err
		}
	}
}

// take counts messages of an hour, or the whole hour by what was kept of it. It returns the id to go on behind.
func (w *ledgerWalk) take(ctx context.Context, hour int64, page []ledger.Account) (envelope.QueueID, error) {
	after := page[len(page)-1].ID
	if w.unit == nil || w.hour != hour {
		if err := w.finish(ctx); err != nil {
			return after, err
		}
		passed, err := w.kept(ctx, w.hours[hour])
		if err != nil || passed {
			return lastOf(hour), err
		}
		w.hour, w.unit = hour, newUnit()
	}
	lost, err := w.absent(ctx, page)
	if err != nil {
		return after, err
	}
	for i := range page {
		m := &page[i]
		if w.met(m) {
			w.unit.broken = true // the second pass asks which ones were met
		}
		one, settled := w.countMessage(m, lost[i])
		w.unit.add(one, settled, m.ID[:], m.Accepted)
		if w.asked(m.Accepted) {
			addCounts(w.out, one)
		}
	}
	return after, nil
}

// lastOf is the highest id of an hour.
func lastOf(hour int64) envelope.QueueID {
	ms := uint64(hour+1)*uint64(time.Hour.Milliseconds()) - 1
	id := envelope.QueueID{}
	for i := range id {
		id[i] = 0xff
		if i < 6 {
			id[i] = byte(ms >> (8 * (5 - i)))
		}
	}
	return id
}

// finish keeps the hour under way if it is over for long enough.
func (w *ledgerWalk) finish(ctx context.Context) error {
	u, hour := w.unit, w.hour
	w.unit = nil
	over := time.Unix((hour+1)*int64(time.Hour/time.Second), 0)
	if u == nil || u.broken || !w.keeps() || over.After(w.began.Add(-2*ledger.HourOpen)) {
		return nil
	}
	return w.keep(ctx, hour, u.AuditUnit)
}

func (w *ledgerWalk) keep(ctx context.Context, hour int64, u *storev1.AuditUnit) error {
	b, err := proto.Marshal(u)
	if err != nil {
		return err
	}
	return w.ledger.KeepHour(ctx, ledger.AuditHour{Hour: hour, Changed: w.hours[hour].Changed, Unit: b})
}

// kept counts an hour by what was kept of it, and looks again at what was open.
func (w *ledgerWalk) kept(ctx context.Context, h ledger.AuditHour) (passed bool, err error) {
	if w.full || h.Unit == nil {
		return false, nil
	}
	u, err := decodeUnit(h.Unit)
	if err != nil {
		return false, err
	}
	if all, none := w.inside(u); none || !all {
		return none, nil
	}
	addCounts(w.out, u.Counts)
	w.out.Settled += u.Looked - uint64(len(u.Open))
	var still [][]byte
	for open := u.Open; len(open) > 0; {
		batch := open[:min(len(open), auditBatch)]
		open = open[len(batch):]
		left, err := w.lookAgain(ctx, batch, u.Counts)
		if err != nil {
			return false, err
		}
		still = append(still, left...)
	}
	if !w.keeps() || len(still) == len(u.Open) {
		return true, nil
	}
	u.Open = still
	return true, w.keep(ctx, h.Hour, u)
}

// lookAgain counts messages that were open: what is settled by now goes into the counts that are kept. It returns the rest.
func (w *ledgerWalk) lookAgain(ctx context.Context, ids [][]byte, counts *storev1.AuditResponse) (still [][]byte, err error) {
	rows, err := w.ledger.Accounts(ctx, ids)
	if err != nil {
		return nil, err
	}
	var found []ledger.Account
	for i, m := range rows {
		// One that went, or came anew, changed its hour: what is kept of that goes, or is not replaced.
		if m == nil || m.Recorded.After(w.began) {
			still = append(still, ids[i])
			continue
		}
		found = append(found, *m)
	}
	lost, err := w.absent(ctx, found)
	if err != nil {
		return nil, err
	}
	for i := range found {
		w.met(&found[i])
		one, settled := w.countMessage(&found[i], lost[i])
		addCounts(w.out, one)
		if settled {
			addCounts(counts, one)
			continue
		}
		still = append(still, found[i].ID[:])
	}
	return still, w.rest(ctx)
}

// countMessage counts the rows of a message, and recipients of its envelope that have none. It is settled where all are
// final and nothing is wrong.
func (r *audit) countMessage(m *ledger.Account, lost bool) (one *storev1.AuditResponse, settled bool) {
	one, settled = &storev1.AuditResponse{}, true
	kind := &one.Accepted
	if m.Kind == mailv1.Kind_KIND_GENERATED {
		kind = &one.Generated
	}
	for _, row := range m.Rows {
		settled = settled && ledger.IsFinal(row.State)
		problem := problemOf(row)
		switch {
		case lost && !ledger.IsFinal(row.State):
			problem = "it waits, but its frame is not in the blob store"
		case lost && row.State == storev1.State_STATE_DELIVERED:
			problem = "a mailbox has it, but its frame is not in the blob store"
		}
		switch {
		case problem != "":
			finding(one, m.ID, int32(row.Number), problem, true)
		default:
			countState(one, row.State)
			if row.Filed && row.State != storev1.State_STATE_DELIVERED && ledger.IsFinal(row.State) {
				finding(one, m.ID, int32(row.Number), "a mailbox has it, although the ledger says "+row.State.String(), false)
			}
		}
		if kind == &one.Accepted && row.Number >= m.Envelope {
			one.Added++
		} else {
			*kind++
		}
	}
	for n := range m.Envelope {
		if !m.Has(n) {
			finding(one, m.ID, int32(n), "the ledger has the message, but no row for the recipient", true)
			*kind++
		}
	}
	return one, settled && len(one.Findings) == 0
}

// problemOf says what is wrong with a row, or nothing.
func problemOf(row ledger.AccountRow) string {
	if row.State == storev1.State_STATE_DELIVERED && !row.Filed {
		return "the ledger says delivered, but no mailbox has it"
	}
	if row.State < storev1.State_STATE_QUEUED || row.State > storev1.State_STATE_DEAD {
		return "the ledger has it in no state"
	}
	return ""
}

func countState(out *storev1.AuditResponse, s storev1.State) {
	switch s {
	case storev1.State_STATE_QUEUED:
		out.Queued++
	case storev1.State_STATE_HELD:
		out.Held++
	case storev1.State_STATE_QUARANTINED:
		out.Quarantined++
	case storev1.State_STATE_DELIVERED:
		out.Delivered++
	case storev1.State_STATE_RELAYED:
		out.Relayed++
	case storev1.State_STATE_BOUNCED:
		out.Bounced++
	case storev1.State_STATE_EXPANDED:
		out.Expanded++
	case storev1.State_STATE_DISCARDED:
		out.Discarded++
	case storev1.State_STATE_DEAD:
		out.Dead++
	}
}

// needsBody tells whether a message waits or lies in a mailbox.
func needsBody(m *ledger.Account) bool {
	for _, row := range m.Rows {
		if !ledger.IsFinal(row.State) || row.State == storev1.State_STATE_DELIVERED {
			return true
		}
	}
	return false
}

// absent tells of each message whether it waits or lies in a mailbox and has lost its frame.
func (r *audit) absent(ctx context.Context, page []ledger.Account) ([]bool, error) {
	lost := make([]bool, len(page))
	var wanted []wantedFrame
	for i := range page {
		if !needsBody(&page[i]) {
			continue
		}
		id, err := blob.IDFrom(page[i].BlobID)
		if err != nil {
			lost[i] = true
			continue
		}
		wanted = append(wanted, wantedFrame{id: id, at: i})
	}
	missing, err := r.missing(ctx, wanted)
	if err == nil {
		missing, err = r.needed(ctx, page, missing)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range missing {
		lost[w.at] = true
		if len(r.lost) < maxDamaged {
			r.lost[placeOf(w.id)] = true
		}
	}
	return lost, nil
}

// needed leaves out frames that were given back: all recipients are final, and the mailboxes have expunged what they had.
func (r *audit) needed(ctx context.Context, page []ledger.Account, missing []wantedFrame) ([]wantedFrame, error) {
	if r.referred == nil || len(missing) == 0 {
		return missing, nil
	}
	ids := make([]blob.ID, len(missing))
	for i, w := range missing {
		ids[i] = w.id
	}
	referred, err := r.referred(ctx, ids)
	if err != nil {
		return nil, err
	}
	needed := missing[:0]
	for i, w := range missing {
		if referred[i] || !final(&page[w.at]) {
			needed = append(needed, w)
		}
	}
	return needed, nil
}

func final(m *ledger.Account) bool {
	for _, row := range m.Rows {
		if !ledger.IsFinal(row.State) {
			return false
		}
	}
	return true
}
