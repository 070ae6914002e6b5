package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// walkBlobs looks for accepted recipients that the first pass cannot have met.
func (r *audit) walkBlobs(ctx context.Context) error {
	incarnations, err := r.blobs.Incarnations(ctx)
	if err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	for _, inc := range incarnations {
		if err := r.walkIncarnation(ctx, inc.ID); err != nil {
			err = fmt.Errorf("incarnation %d: %w", inc.ID, err)
			if isUnreadable(err) {
				err = r.passOver(err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// walkIncarnation counts an incarnation by what was kept of it, and goes through what lies between and behind.
func (r *audit) walkIncarnation(ctx context.Context, incarnation uint64) error {
	stretches, err := r.ledger.AuditStretches(ctx, incarnation)
	if err != nil {
		return err
	}
	if r.full {
		stretches = nil
	}
	w := &blobWalk{audit: r, at: blob.Position{Incarnation: incarnation}, checkpoint: r.checkpoints[incarnation]}
	for _, s := range stretches {
		if s.First.Before(w.at) {
			continue // kept by another audit meanwhile
		}
		if w.at.Before(s.First) {
			if err := w.scan(ctx, s.First); err != nil {
				return err
			}
			w.at = s.First
		}
		passed, err := w.kept(ctx, s)
		if err != nil {
			return err
		}
		if !passed {
			if err := w.scan(ctx, s.End); err != nil {
				return err
			}
		}
		w.at = s.End
	}
	if err := w.scan(ctx, blob.Position{Incarnation: incarnation, Segment: math.MaxUint32, Offset: math.MaxUint32}); err != nil {
		return err
	}
	return w.keep(ctx)
}

// blobWalk is the second pass over one incarnation.
type blobWalk struct {
	*audit
	// at is where the next frame is looked for.
	at         blob.Position
	checkpoint ledger.Checkpoint
	// frames wait to be compared.
	frames []blob.Scanned
	octets int // of their tails
	// unit is made of the frames from first up to end, all of them before recovery's checkpoint.
	unit       *unit
	first, end blob.Position
	// keeping are stretches that lie one behind another; changed tells that they are not what the ledger has.
	keeping []ledger.AuditStretch
	units   []*storev1.AuditUnit
	changed bool
}

// scan compares the frames from w.at up to a place.
func (w *blobWalk) scan(ctx context.Context, to blob.Position) error {
	w.unit, w.first, w.end = newUnit(), w.at, w.at
	at, err := scanBlobs(ctx, w.blobs, w.at, func(f blob.Scanned) error {
		if !placeOf(f.ID).Before(to) {
			return errEnough
		}
		f.Meta.Tail = withoutPartIndex(f.Meta.Tail)
		w.frames, w.octets = append(w.frames, f), w.octets+len(f.Meta.Tail)
		if len(w.frames) < auditBatch && w.octets < maxTails {
			return nil
		}
		return w.compareAll(ctx)
	})
	enough := errors.Is(err, errEnough)
	switch {
	case err == nil || enough:
		err = w.compareAll(ctx)
	case isUnreadable(err):
		// What was read before is accounted for.
		if rest := w.compareAll(ctx); rest != nil {
			return rest
		}
	}
	if err != nil {
		return err
	}
	switch {
	case enough:
		w.end = to // nothing lies between the last frame and this place
	case w.checkpoint.Done:
		w.end = at
	}
	return w.close(ctx)
}

// compareAll compares the frames that wait, and divides them into units.
func (w *blobWalk) compareAll(ctx context.Context) error {
	frames := w.frames
	w.frames, w.octets = w.frames[:0], 0
	results, err := w.compare(ctx, frames)
	if err != nil {
		return err
	}
	for i, f := range frames {
		c := results[i]
		if w.asked(c.accepted) {
			c.counts.Frames++
			addCounts(w.out, c.counts)
		}
		if !w.checkpoint.Passed(f.ID) {
			// Recovery accounts for it first. Nothing behind it is kept either: a stretch has no gaps.
			if err := w.close(ctx); err != nil {
				return err
			}
			w.unit.broken = true
			continue
		}
		if w.unit.Looked >= maxStretch {
			if err := w.close(ctx); err != nil {
				return err
			}
		}
		if f.Err != nil {
			// It is told of each time: what is kept has a gap there.
			if err := w.close(ctx); err != nil {
				return err
			}
			w.end = placeBehind(f.ID)
			w.first = w.end
			continue
		}
		w.unit.add(c.counts, c.settled, f.ID.Bytes(), c.accepted)
		w.end = placeBehind(f.ID)
	}
	return w.rest(ctx)
}

func placeBehind(id blob.ID) blob.Position {
	return blob.Position{Incarnation: id.Incarnation, Segment: id.Segment, Offset: id.Offset + id.Length}
}

// close ends the unit under way and begins one behind it.
func (w *blobWalk) close(ctx context.Context) error {
	u, first, end := w.unit, w.first, w.end
	broken := u.broken
	w.unit, w.first = newUnit(), end
	if broken || !first.Before(end) || !w.keeps() {
		return w.keep(ctx)
	}
	return w.append(ctx, ledger.AuditStretch{First: first, End: end}, u.AuditUnit, true)
}

// append adds a stretch to those that are kept, as part of the last one where both are small.
func (w *blobWalk) append(ctx context.Context, s ledger.AuditStretch, u *storev1.AuditUnit, changed bool) error {
	n := len(w.keeping)
	if n > 0 && w.keeping[n-1].End != s.First {
		if err := w.keep(ctx); err != nil {
			return err
		}
		n = 0
	}
	w.changed = w.changed || changed
	if n > 0 {
		last := w.units[n-1]
		if last.Looked+u.Looked <= maxStretch && len(last.Open)+len(u.Open) <= maxOpen {
			w.keeping[n-1].End = s.End
			merge(last, u)
			w.changed = true
			return nil
		}
	}
	w.keeping, w.units = append(w.keeping, s), append(w.units, u)
	if n+1 < auditBatch {
		return nil
	}
	return w.keep(ctx)
}

func merge(to, u *storev1.AuditUnit) {
	addCounts(to.Counts, u.Counts)
	to.Open = append(to.Open, u.Open...)
	if u.Looked == 0 {
		return
	}
	if to.Looked == 0 || u.FirstNs < to.FirstNs {
		to.FirstNs = u.FirstNs
	}
	if to.Looked == 0 || u.LastNs > to.LastNs {
		to.LastNs = u.LastNs
	}
	to.Looked += u.Looked
}

// keep writes what is to be kept.
func (w *blobWalk) keep(ctx context.Context) error {
	keeping, units, changed := w.keeping, w.units, w.changed
	w.keeping, w.units, w.changed = nil, nil, false
	if !changed || !w.keeps() {
		return nil
	}
	for i := range keeping {
		var err error
		if keeping[i].Unit, err = proto.Marshal(units[i]); err != nil {
			return err
		}
	}
	return w.ledger.KeepStretches(ctx, keeping)
}

// kept counts a stretch by what was kept of it, and looks again at what was open.
func (w *blobWalk) kept(ctx context.Context, s ledger.AuditStretch) (passed bool, err error) {
	u, err := decodeUnit(s.Unit)
	if err != nil {
		return false, err
	}
	if all, none := w.inside(u); none || !all {
		return none, nil
	}
	var open []blob.Scanned
	for _, b := range u.Open {
		id, err := blob.IDFrom(b)
		if err != nil {
			return false, err
		}
		f, err := w.blobs.Open(ctx, id)
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
			return false, nil // all of it is gone through again
		}
		if err != nil {
			if err = fmt.Errorf("open frame %v: %w", id, err); ctx.Err() == nil {
				err = &unreadable{cause: err}
			}
			return false, err
		}
		f.Meta.Tail = withoutPartIndex(f.Meta.Tail)
		open = append(open, blob.Scanned{ID: id, Meta: f.Meta, Size: f.Size})
		if err := f.Close(); err != nil {
			return false, err
		}
	}
	addCounts(w.out, u.Counts)
	w.out.Settled += u.Looked - uint64(len(open))
	u.Open = nil
	changed := false
	for len(open) > 0 {
		batch := open[:min(len(open), auditBatch)]
		open = open[len(batch):]
		results, err := w.compare(ctx, batch)
		if err != nil {
			return false, err
		}
		for i, c := range results {
			c.counts.Frames++
			addCounts(w.out, c.counts)
			if c.settled {
				addCounts(u.Counts, c.counts)
				changed = true
			} else {
				u.Open = append(u.Open, batch[i].ID.Bytes())
			}
		}
		if err := w.rest(ctx); err != nil {
			return false, err
		}
	}
	if !w.keeps() {
		return true, nil
	}
	return true, w.append(ctx, s, u, changed)
}

// compared is what one frame adds to the counts.
type compared struct {
	counts *storev1.AuditResponse
	// settled tells that it will add the same for ever.
	settled  bool
	accepted time.Time
}

// compare finds the rows of frames.
func (r *audit) compare(ctx context.Context, frames []blob.Scanned) ([]compared, error) {
	results := make([]compared, len(frames))
	var with []frameOf // those that the ledger is asked about
	for i, f := range frames {
		c := compared{counts: &storev1.AuditResponse{}, settled: true, accepted: f.Written}
		if !f.Origin.IsZero() {
			results[i] = c // moved here: its message was accounted for at its first place
			continue
		}
		tail, err := decodeTail(f.Meta.Tail)
		if err == nil && tail.GetEnvelope().GetAcceptedNs() != 0 {
			c.accepted = time.Unix(0, tail.GetEnvelope().GetAcceptedNs())
		}
		switch {
		case f.Err != nil && f.Meta.QueueID.IsZero():
			// Its recipients cannot be told any more: that there were some is what counts, unless the ledger asked for it. When
			// they were accepted cannot be told either.
			counts := !r.lost[placeOf(f.ID)] && !r.ranged()
			if counts {
				c.counts.Accepted++
			}
			finding(c.counts, f.Meta.QueueID, 0, fmt.Sprintf("frame %v is damaged", f.ID), counts)
		case f.Err == nil && f.Meta.Kind == blob.Accepted && (err != nil || len(tail.GetEnvelope().GetRecipients()) == 0):
			if err == nil {
				err = errNoRecipient
			}
			with = append(with, frameOf{Scanned: f, tail: tail, fault: err, at: i})
		case f.Meta.Kind == blob.Accepted, f.Meta.Kind == blob.Generated:
			with = append(with, frameOf{Scanned: f, tail: tail, at: i})
		case f.Err != nil:
			finding(c.counts, f.Meta.QueueID, 0, fmt.Sprintf("frame %v is damaged", f.ID), false)
		}
		results[i] = c
	}
	return results, r.compareWith(ctx, with, results)
}

// frameOf is a frame whose message the ledger is asked about.
type frameOf struct {
	blob.Scanned
	tail *mailv1.FrameTail
	// fault is why nobody can route it.
	fault error
	at    int
}

func (r *audit) compareWith(ctx context.Context, frames []frameOf, results []compared) error {
	if len(frames) == 0 {
		return nil
	}
	rows, err := r.ledger.Accounts(ctx, idsOf(frames))
	if err != nil {
		return err
	}
	var unknown []frameOf
	for i, f := range frames {
		if rows[i] == nil {
			if f.Meta.Kind == blob.Accepted || f.Err != nil {
				unknown = append(unknown, f)
			}
			continue // a child that waits stands in the outbox; one that does not is nobody's
		}
		if err := r.compareOne(ctx, f, rows[i], &results[f.at]); err != nil {
			return err
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return r.explain(ctx, unknown, results)
}

func idsOf(frames []frameOf) [][]byte {
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].Meta.QueueID[:]
	}
	return ids
}

// compareOne checks a frame against its message's rows. Those that the first pass did not meet are counted here.
func (r *audit) compareOne(ctx context.Context, f frameOf, m *ledger.Account, c *compared) error {
	id := f.Meta.QueueID
	mine := string(m.BlobID) == string(f.ID.Bytes())
	if f.Err == nil && f.Meta.Kind == blob.Generated {
		if !mine {
			return nil // the ledger keeps the first
		}
		return r.countLate(ctx, m, c)
	}
	switch {
	case f.Err != nil && mine:
		// The first pass has counted its recipients, and those that need it as unaccounted.
		c.accepted = m.Accepted
		finding(c.counts, id, 0, fmt.Sprintf("frame %v is damaged", f.ID), false)
		c.settled = false
		return nil
	case f.Err != nil:
		c.counts.Accepted++
		finding(c.counts, id, 0, fmt.Sprintf("frame %v is damaged", f.ID), true)
		return nil
	case f.fault != nil && !mine:
		c.settled = false
		c.counts.Accepted++
		finding(c.counts, id, 0, f.fault.Error(), true)
		return nil
	case f.fault != nil:
		c.settled = false
		finding(c.counts, id, 0, f.fault.Error(), false)
		return nil
	case !mine:
		c.settled = false
		for _, to := range f.tail.GetEnvelope().GetRecipients() {
			c.counts.Accepted++
			finding(c.counts, id, int32(to.Number), fmt.Sprintf("the ledger has the id with another frame than %v", f.ID), true)
		}
		return nil
	}
	for _, row := range m.Rows {
		c.settled = c.settled && ledger.IsFinal(row.State)
	}
	if err := r.countLate(ctx, m, c); err != nil {
		return err
	}
	for _, to := range f.tail.GetEnvelope().GetRecipients() {
		// What the message's row says it has was looked for by countMessage.
		if to.Number >= m.Envelope && !m.Has(to.Number) {
			c.counts.Accepted++
			c.settled = false
			finding(c.counts, m.ID, int32(to.Number), "the frame has the recipient, the ledger does not", true)
		}
	}
	return nil
}

// countLate counts a message that the first pass did not meet.
func (r *audit) countLate(ctx context.Context, m *ledger.Account, c *compared) error {
	if r.counted(m) {
		return nil
	}
	r.met(m)
	lost, err := r.absent(ctx, []ledger.Account{*m})
	if err != nil {
		return err
	}
	one, _ := r.countMessage(m, lost[0])
	addCounts(c.counts, one)
	c.settled = false
	return nil
}

// explain says why frames have no rows.
func (r *audit) explain(ctx context.Context, frames []frameOf, results []compared) error {
	ids := idsOf(frames)
	decisions, err := r.ledger.Decisions(ctx, ids)
	if err != nil {
		return err
	}
	waiting, err := r.ledger.Waiting(ctx, ids)
	if err != nil {
		return err
	}
	// What was routed, or pruned, while we looked has its explanation by now.
	rows, err := r.ledger.Accounts(ctx, ids)
	if err != nil {
		return err
	}
	pruned, err := r.ledger.PrunedBefore(ctx)
	if err != nil {
		return err
	}
	for i, f := range frames {
		c := &results[f.at]
		switch {
		case rows[i] != nil:
			if err := r.compareOne(ctx, f, rows[i], c); err != nil {
				return err
			}
		case f.Err != nil && f.Meta.Kind == blob.Accepted:
			c.counts.Accepted++
			finding(c.counts, f.Meta.QueueID, 0, fmt.Sprintf("frame %v is damaged", f.ID), true)
		case f.Err != nil:
			finding(c.counts, f.Meta.QueueID, 0, fmt.Sprintf("frame %v is damaged", f.ID), false)
		case f.fault != nil:
			c.settled = false
			c.counts.Accepted++
			finding(c.counts, f.Meta.QueueID, 0, f.fault.Error(), true)
		default:
			r.explainOne(f, decisions[i], waiting[i], pruned, c)
		}
	}
	return nil
}

// explainOne says why an accepted frame has no row.
func (r *audit) explainOne(f frameOf, decision ledger.Decision, waiting bool, pruned time.Time, c *compared) {
	verdict := f.tail.GetVerdict().GetAction()
	if verdict == mailv1.Action_ACTION_REJECT {
		return // never accepted
	}
	count, problem := (*uint64)(nil), ""
	switch {
	case decision == ledger.Undecided:
		problem = "it is beyond recovery's horizon: release or delete it"
	case decision == ledger.Discarded, verdict == mailv1.Action_ACTION_DISCARD:
		count = &c.counts.Discarded
	case decision == ledger.Released, waiting, !r.checkpoints[f.ID.Incarnation].Passed(f.ID):
		count = &c.counts.Pending
	case c.accepted.Before(pruned):
		return // final and old: its rows went
	default:
		problem = "it is durable and behind recovery's checkpoint, but not in the ledger"
	}
	c.settled = count == &c.counts.Discarded
	for _, to := range f.tail.GetEnvelope().GetRecipients() {
		c.counts.Accepted++
		if problem != "" {
			finding(c.counts, f.Meta.QueueID, int32(to.Number), problem, true)
			continue
		}
		*count++
	}
}
