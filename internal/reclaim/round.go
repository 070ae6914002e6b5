package reclaim

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// round looks at the next segments, and ends the round behind the last.
func (w *Worker) round(ctx context.Context, l *look, s *state, inHand map[blob.Position]Step) (more bool, err error) {
	left := w.cfg.Batch
	for _, inc := range l.incarnations {
		if inc.ID < s.Next.Incarnation {
			continue
		}
		segments, err := w.deps.Blobs.Segments(ctx, inc.ID)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, seg := range segments {
			if inc.ID == s.Next.Incarnation && seg.Number < s.Next.Segment {
				continue
			}
			if left == 0 {
				return true, nil
			}
			left--
			if at := seg.Position(); !w.passing.has(at, w.deps.Now()) {
				if err := w.passOver(ctx, at, l.examine(ctx, s, seg, inHand[at])); err != nil {
					return false, err
				}
			}
			s.Next = blob.Position{Incarnation: inc.ID, Segment: seg.Number + 1}
		}
		s.Now.Incarnations++
		s.Next = blob.Position{Incarnation: inc.ID + 1}
	}
	s.Next, s.Ended, s.Last = blob.Position{}, w.deps.Now(), s.Now
	w.metrics.totals(&s.Last)
	w.deps.Log.DebugContext(ctx, "segments looked through", slog.Int64("segments", s.Last.Segments), slog.Int64("live", s.Last.Live),
		slog.Int64("dead", s.Last.Dead))
	return true, nil
}

// examine counts a segment, and takes it in hand where room can be given back.
func (l *look) examine(ctx context.Context, s *state, seg blob.Segment, step Step) error {
	s.Now.Segments++
	if !l.ripe(seg) {
		s.Now.Open += seg.Bytes
		return nil
	}
	v, err := l.view(ctx, seg)
	if err != nil {
		return err
	}
	s.Now.Live += v.liveBytes
	s.Now.Dead += max(0, seg.Bytes-v.liveBytes)
	s.Now.LiveBodies += v.liveBodies
	s.Now.DeadBodies += v.deadBodies
	if err := l.pardon(ctx, s, v); err != nil {
		return err
	}
	switch {
	case step == Dead || step == Empty || step == Stuck:
		return nil
	case v.dying(l.cfg.LiveBelow):
		return l.condemnSegment(ctx, s, v)
	case step == 0 && len(v.dead) > 0:
		return l.condemnBodies(ctx, s, v)
	}
	return nil
}

// goOn does what is due with a segment in hand.
func (w *Worker) goOn(ctx context.Context, l *look, s *state, at Work) error {
	seg, err := l.find(ctx, at)
	if err != nil {
		return err
	}
	switch {
	case seg == nil && at.Step == Empty:
		return w.finish(ctx, s, at) // it was removed, and its row outlived it
	case seg == nil:
		// Not by us: what is noted of its frames is of use to whoever brings it back.
		return w.deps.Books.Drop(ctx, at.Incarnation, at.Segment)
	}
	v, err := l.view(ctx, *seg)
	if err != nil {
		return err
	}
	if err := l.pardon(ctx, s, v); err != nil {
		return err
	}
	switch at.Step {
	case Bodies:
		return l.freeBodies(ctx, s, v)
	case Empty:
		if len(v.live) == 0 {
			return l.remove(ctx, s, v)
		}
	}
	return l.compact(ctx, s, v)
}

// find finds a segment in hand; nil where it is gone.
func (l *look) find(ctx context.Context, at Work) (*blob.Segment, error) {
	segments, err := l.deps.Blobs.Segments(ctx, at.Incarnation)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range segments {
		if segments[i].Number == at.Segment {
			return &segments[i], nil
		}
	}
	return nil, nil
}
