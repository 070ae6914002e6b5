package reclaim

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// unreadable is an error of the blob store that came with one segment.
type unreadable struct{ cause error }

func (e *unreadable) Error() string { return e.cause.Error() }
func (e *unreadable) Unwrap() error { return e.cause }

// passing are segments that the blob store failed at, with when they are tried again: until then they keep nobody from the
// room of the others. Nothing of them is removed.
type passing map[blob.Position]time.Time

// maxPassing bounds them: with more of them it is the store that fails, not its segments.
const maxPassing = 16

func (p passing) has(at blob.Position, now time.Time) bool {
	until, ok := p[at]
	return ok && now.Before(until)
}

// passOver notes that the blob store failed at a segment, and that it did not with a nil error. It returns what is no such
// error.
func (w *Worker) passOver(ctx context.Context, at blob.Position, err error) error {
	defer func() { w.metrics.passedOver.Set(float64(len(w.passing))) }()
	if err == nil {
		delete(w.passing, at)
		return nil
	}
	var failed *unreadable
	_, again := w.passing[at]
	if !errors.As(err, &failed) || ctx.Err() != nil || !again && len(w.passing) >= maxPassing {
		return err
	}
	w.passing[at] = w.deps.Now().Add(w.cfg.Wait)
	w.deps.Log.ErrorContext(ctx, "segment passed over: the blob store fails at it, and its room stays", slog.Uint64("incarnation", at.Incarnation),
		slog.Int("segment", int(at.Segment)), obs.Error(err))
	return nil
}
