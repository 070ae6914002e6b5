package reclaim

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Bounds of one copy: what is in memory at once.
const (
	copyFrames = 256
	copyBytes  = 4 << 20
)

// compact copies what lives in a segment and condemns what does not. A segment that came back to life stays as it is.
func (l *look) compact(ctx context.Context, s *state, v *view) error {
	if !v.dying(l.cfg.LiveBelow) {
		return l.deps.Books.Drop(ctx, v.Incarnation, v.Number)
	}
	for rest := v.live; len(rest) > 0; {
		n, bytes := 0, int64(0)
		for n < len(rest) && n < copyFrames && (n == 0 || bytes+int64(rest[n].Place.Length) <= copyBytes) {
			bytes += int64(rest[n].Place.Length)
			n++
		}
		if err := l.copyFrames(ctx, s, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	// As it is now, with what another process may have copied at once with us.
	after, err := l.view(ctx, v.Segment)
	if err != nil {
		return err
	}
	if len(after.live) > 0 {
		l.deps.Log.ErrorContext(ctx, "segment cannot be compacted: a frame that is needed cannot be copied",
			slog.Uint64("incarnation", v.Incarnation), slog.Int("segment", int(v.Number)), slog.String("blob", after.live[0].First.String()),
			obs.Count(len(after.live)))
		return l.deps.Books.Begin(ctx, v.Incarnation, v.Number, Stuck)
	}
	// Also what died since it was condemned first: nothing here is removed that was not condemned for the restore window.
	if err := l.condemnDead(ctx, s, after); err != nil {
		return err
	}
	if err := l.point("reclaim.before-empty"); err != nil {
		return err
	}
	return l.deps.Books.Begin(ctx, v.Incarnation, v.Number, Empty)
}

// copyFrames copies some frames and notes where they are now.
func (l *look) copyFrames(ctx context.Context, s *state, some []Located) error {
	frames := make([]blob.Rewrite, len(some))
	for i, at := range some {
		frames[i] = blob.Rewrite{Origin: at.First, Place: at.Place}
	}
	if err := l.point("reclaim.before-copy"); err != nil {
		return err
	}
	began := time.Now()
	copied, err := l.deps.Blobs.Rewrite(ctx, frames)
	if err != nil {
		return &unreadable{err}
	}
	if err := l.point("reclaim.after-copy"); err != nil {
		return err
	}
	var moves []Move
	bytes := int64(0)
	for i, c := range copied {
		bytes += c.Bytes
		switch {
		case errors.Is(c.Err, blob.ErrNotFound):
			// Moved by another process; or lost, which the next look finds.
		case c.Err != nil:
			l.deps.Log.ErrorContext(ctx, "frame cannot be copied", slog.String("blob", some[i].First.String()), obs.Error(c.Err))
		default:
			moves = append(moves, Move{First: some[i].First, From: some[i].Place, To: c.Place})
		}
	}
	s.Ever.Rewritten += bytes
	l.metrics.rewritten.Add(float64(bytes))
	moved, err := l.deps.Books.Move(ctx, moves)
	if err != nil {
		return err
	}
	for _, yes := range moved {
		if yes {
			s.Ever.Moved++
			l.metrics.moved.Inc()
		}
	}
	if err := l.point("reclaim.after-move"); err != nil {
		return err
	}
	return pause(ctx, time.Duration(float64(bytes)/float64(l.cfg.RewriteRate)*float64(time.Second))-time.Since(began))
}

// pause keeps the rate.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
