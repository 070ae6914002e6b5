package reclaim

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// pardon lets frames be referred to again that are: what was condemned was on its way to a referrer.
func (l *look) pardon(ctx context.Context, s *state, v *view) error {
	ids := v.toPardon()
	if len(ids) == 0 {
		return nil
	}
	if err := l.deps.Books.Pardon(ctx, ids); err != nil {
		return err
	}
	l.metrics.pardoned.Add(float64(len(ids)))
	s.Ever.Pardon += int64(len(ids))
	return nil
}

// condemnSegment condemns what is dead in a segment that is to go, and takes it in hand.
func (l *look) condemnSegment(ctx context.Context, s *state, v *view) error {
	if err := l.condemnDead(ctx, s, v); err != nil {
		return err
	}
	if err := l.point("reclaim.before-in-hand"); err != nil {
		return err
	}
	return l.deps.Books.Begin(ctx, v.Incarnation, v.Number, Dead)
}

// errPast ends a scan behind its segment.
var errPast = errors.New("past the segment")

// condemnDead condemns all frames that lie in a segment and that nothing refers to; copies that lost the compare-and-set by
// their places, so that no late one wins it any more.
func (l *look) condemnDead(ctx context.Context, s *state, v *view) error {
	var dead []blob.ID
	for _, at := range v.here {
		if !v.isLive[at.First] {
			dead = append(dead, at.First)
		}
	}
	first := v.firstAt()
	_, err := l.deps.Blobs.Scan(ctx, v.Position(), func(f blob.Scanned) error {
		if f.ID.Segment != v.Number {
			return errPast
		}
		_, moved := first[f.ID]
		if f.Err == nil && !moved && !v.away[f.ID] && !v.isLive[f.ID] {
			dead = append(dead, f.ID)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPast) {
		return &unreadable{fmt.Errorf("scan segment %d of incarnation %d: %w", v.Number, v.Incarnation, err)}
	}
	if err := l.point("reclaim.before-condemn"); err != nil {
		return err
	}
	return l.condemn(ctx, s, v, dead)
}

func (l *look) condemn(ctx context.Context, s *state, v *view, dead []blob.ID) error {
	if err := l.deps.Books.Condemn(ctx, dead); err != nil {
		return err
	}
	for _, id := range dead {
		if !v.condemned[id] {
			l.metrics.condemned.Inc()
			s.Ever.Condemned++
		}
	}
	return nil
}

// condemnBodies condemns the frames whose bodies lie apart and are dead, in a segment that mostly lives.
func (l *look) condemnBodies(ctx context.Context, s *state, v *view) error {
	if err := l.condemn(ctx, s, v, firsts(v.dead)); err != nil {
		return err
	}
	if err := l.point("reclaim.before-bodies-in-hand"); err != nil {
		return err
	}
	return l.deps.Books.Begin(ctx, v.Incarnation, v.Number, Bodies)
}

func firsts(list []Located) []blob.ID {
	ids := make([]blob.ID, len(list))
	for i, at := range list {
		ids[i] = at.First
	}
	return ids
}
