package reclaim

import (
	"context"
	"log/slog"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// remove removes a segment in which nothing lives.
func (l *look) remove(ctx context.Context, s *state, v *view) error {
	if err := l.point("reclaim.before-remove"); err != nil {
		return err
	}
	freed, err := l.deps.Blobs.RemoveSegment(ctx, v.Incarnation, v.Number)
	l.gaveBack(s, freed)
	if err != nil {
		return &unreadable{err}
	}
	l.deps.Log.InfoContext(ctx, "segment removed", slog.Uint64("incarnation", v.Incarnation), slog.Int("segment", int(v.Number)),
		slog.Int64("freed", freed))
	if err := l.point("reclaim.after-remove"); err != nil {
		return err
	}
	return l.finish(ctx, s, Work{Incarnation: v.Incarnation, Segment: v.Number})
}

// finish forgets a segment that is gone.
func (w *Worker) finish(ctx context.Context, s *state, at Work) error {
	if err := w.deps.Books.Finish(ctx, at.Incarnation, at.Segment); err != nil {
		return err
	}
	s.Ever.Segments++
	w.metrics.segments.Inc()
	return w.point("reclaim.after-finish")
}

// freeBodies removes bodies apart of frames that were condemned when the segment was taken in hand and are still dead.
func (l *look) freeBodies(ctx context.Context, s *state, v *view) error {
	var condemned []Located
	for _, at := range v.dead {
		if v.condemned[at.First] {
			condemned = append(condemned, at)
		}
	}
	if err := l.point("reclaim.before-bodies"); err != nil {
		return err
	}
	freed, err := l.deps.Blobs.FreeBodies(ctx, places(condemned))
	l.gaveBack(s, freed)
	if err != nil {
		return &unreadable{err}
	}
	if err := l.point("reclaim.after-bodies"); err != nil {
		return err
	}
	if err := l.deps.Books.Freed(ctx, places(condemned)); err != nil {
		return err
	}
	s.Ever.Bodies += int64(len(condemned))
	if err := l.point("reclaim.after-freed"); err != nil {
		return err
	}
	return l.deps.Books.Drop(ctx, v.Incarnation, v.Number)
}

func (w *Worker) gaveBack(s *state, octets int64) {
	s.Ever.Freed += octets
	w.metrics.freed.Add(float64(octets))
}

func places(list []Located) []blob.ID {
	ids := make([]blob.ID, len(list))
	for i, at := range list {
		ids[i] = at.Place
	}
	return ids
}
