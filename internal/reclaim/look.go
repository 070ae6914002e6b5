package reclaim

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// look is what a step must know before it asks about segments.
type look struct {
	*Worker
	checkpoints  map[uint64]ledger.Checkpoint
	incarnations []blob.Incarnation
	// also are frames that something refers to which the Books do not see: the outbox, and frames that recovery has
	// not passed, whose shared bodies were not noted yet.
	also map[blob.ID]bool
}

// outboxPage is how many children are read at once.
const outboxPage = 1000

func (w *Worker) look(ctx context.Context) (*look, error) {
	l := &look{Worker: w, also: map[blob.ID]bool{}}
	var err error
	// Checkpoints first: what lies below one was noted. Then the outbox: a child leaves it only when the ledger has it.
	if l.checkpoints, err = w.deps.Ledger.Checkpoints(ctx); err != nil {
		return nil, err
	}
	if l.incarnations, err = w.deps.Blobs.Incarnations(ctx); err != nil {
		return nil, fmt.Errorf("list incarnations: %w", err)
	}
	for _, inc := range l.incarnations {
		if err := l.ahead(ctx, inc.ID); err != nil {
			return nil, err
		}
	}
	return l, l.outbox(ctx)
}

// ahead adds the owners of shared bodies that lie ahead of recovery.
func (l *look) ahead(ctx context.Context, incarnation uint64) error {
	c := l.checkpoints[incarnation]
	if c.Done {
		return nil
	}
	from := c.Position
	from.Incarnation = incarnation
	_, err := l.deps.Blobs.Scan(ctx, from, func(f blob.Scanned) error {
		if !f.Owner.IsZero() && f.Origin.IsZero() {
			l.also[f.Owner] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("scan incarnation %d ahead of recovery: %w", incarnation, err)
	}
	return nil
}

// outbox adds the frames of messages that wait for the router.
func (l *look) outbox(ctx context.Context) error {
	var last ledger.OutboxChild
	for {
		page, err := l.deps.Ledger.Outbox(ctx, last, outboxPage)
		if err != nil {
			return err
		}
		for _, c := range page {
			last = c
			var m mailv1.Accepted
			if err := proto.Unmarshal(c.Payload, &m); err != nil {
				return fmt.Errorf("decode child %s: %w", c.ID, err)
			}
			id, err := blob.IDFrom(m.BlobId)
			if err != nil {
				return fmt.Errorf("child %s: %w", c.ID, err)
			}
			l.also[id] = true
		}
		if len(page) < outboxPage {
			return nil
		}
	}
}

// ripe tells whether a segment may be looked at: nothing is added to it, recovery has accounted for all of it, and every
// transaction and RPC that may have to do with a frame's writing has ended.
func (l *look) ripe(s blob.Segment) bool {
	c := l.checkpoints[s.Incarnation]
	return s.Sealed && (c.Done || c.Segment > s.Number) && l.deps.Now().Sub(s.Ended) >= l.cfg.Wait
}

// view is what lives in a segment.
type view struct {
	blob.Segment
	// live are the frames that something refers to and that lie here.
	live []Located
	// here are all frames that lie here and were moved here.
	here []Located
	away map[blob.ID]bool
	// isLive and condemned are by first IDs, of live and of all.
	isLive, condemned map[blob.ID]bool
	// liveBytes are octets of frames; liveBodies and deadBodies those of bodies apart.
	liveBytes, liveBodies, deadBodies int64
	// dead are frames with a body apart that lie here and that nothing refers to.
	dead []Located
}

// dying tells whether the segment is worth to be given back as a whole.
func (v *view) dying(percent int) bool { return v.liveBytes*100 < v.Bytes*int64(percent) }

// view finds out what lives in a segment.
func (l *look) view(ctx context.Context, s blob.Segment) (*view, error) {
	r, err := l.deps.Books.Segment(ctx, s.Incarnation, s.Number)
	if err != nil {
		return nil, err
	}
	used, err := l.usedOf(ctx, r)
	if err != nil {
		return nil, err
	}
	v := &view{Segment: s, here: r.Here, away: set(r.Away), isLive: map[blob.ID]bool{}, condemned: set(r.Condemned)}
	first := map[blob.ID]bool{}
	for _, id := range r.Used {
		first[id] = true
	}
	for id := range l.also {
		if id.Incarnation == s.Incarnation && id.Segment == s.Number {
			first[id] = true
		}
	}
	for _, share := range r.Shares {
		if used[share.Child] {
			used[share.Owner] = true
			if o := share.Owner; o.Incarnation == s.Incarnation && o.Segment == s.Number {
				first[o] = true
			}
		}
	}
	for id := range first {
		if !v.away[id] {
			v.add(Located{First: id, Place: id})
		}
	}
	for _, at := range r.Here {
		if used[at.First] {
			v.add(at)
		}
	}
	v.countBodies(r)
	return v, nil
}

// usedOf asks about the frames that share bodies of this segment, and about those that were moved here.
func (l *look) usedOf(ctx context.Context, r *Referrers) (map[blob.ID]bool, error) {
	var ask []blob.ID
	for _, share := range r.Shares {
		ask = append(ask, share.Child)
	}
	for _, at := range r.Here {
		ask = append(ask, at.First)
	}
	answers, err := l.deps.Books.InUse(ctx, ask)
	if err != nil {
		return nil, err
	}
	used := make(map[blob.ID]bool, len(ask))
	for i, id := range ask {
		used[id] = answers[i] || l.also[id]
	}
	return used, nil
}

func (v *view) add(at Located) {
	v.live = append(v.live, at)
	v.isLive[at.First] = true
	v.liveBytes += int64(at.Place.Length)
}

func (v *view) countBodies(r *Referrers) {
	first := v.firstAt()
	for _, a := range r.Aparts {
		id, moved := first[a.Place]
		if !moved {
			id = a.Place // also a copy that lost, which nothing refers to
		}
		switch {
		case !moved && v.away[id]:
			// Its copy counts; this one goes with the segment.
		case v.isLive[id]:
			v.liveBodies += a.Bytes
		default:
			v.deadBodies += a.Bytes
			v.dead = append(v.dead, Located{First: id, Place: a.Place})
		}
	}
}

// firstAt gives the first IDs of the frames that were moved here, by place.
func (v *view) firstAt() map[blob.ID]blob.ID {
	first := make(map[blob.ID]blob.ID, len(v.here))
	for _, at := range v.here {
		first[at.Place] = at.First
	}
	return first
}

// toPardon are frames that are condemned and referred to after all.
func (v *view) toPardon() []blob.ID {
	var ids []blob.ID
	for _, at := range v.live {
		if v.condemned[at.First] {
			ids = append(ids, at.First)
		}
	}
	return ids
}

func set(ids []blob.ID) map[blob.ID]bool {
	m := make(map[blob.ID]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m
}
