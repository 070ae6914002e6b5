package reclaim

import (
	"context"
	"errors"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Stat is what the worker knows without looking at anything.
type Stat struct {
	// Began and Ended are of the last rounds that did; zero where none did yet.
	Began, Ended time.Time
	// Last is what the last whole round found.
	Last Totals
	Ever Ever
	// InHand counts segments by what is being done with them.
	InHand map[Step]int
	// Gaps is how many incarnations must be read before anything is given back: once, behind an upgrade.
	Gaps int
}

// Stat reads what was kept of rounds.
func (w *Worker) Stat(ctx context.Context) (*Stat, error) {
	s, _, err := w.load(ctx)
	if err != nil {
		return nil, err
	}
	work, err := w.deps.Books.Work(ctx)
	if err != nil {
		return nil, err
	}
	gaps, err := w.deps.Books.Gaps(ctx)
	if err != nil {
		return nil, err
	}
	stat := &Stat{Began: s.Began, Ended: s.Ended, Last: s.Last, Ever: s.Ever, InHand: map[Step]int{}, Gaps: len(gaps)}
	for _, at := range work {
		stat.InHand[at.Step]++
	}
	return stat, nil
}

// Survey is what a round would find and do.
type Survey struct {
	Totals
	// Dying segments would be given back as a whole, with Freed octets, for which Rewritten would be copied.
	Dying            int64
	Freed, Rewritten int64
	// Bodies would be removed from segments that stay; their octets are in Freed.
	Bodies int64
}

// Survey looks at all segments and changes nothing. It tells of a store with gaps what it knows.
func (w *Worker) Survey(ctx context.Context) (*Survey, error) {
	l, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	out := &Survey{}
	for _, inc := range l.incarnations {
		segments, err := w.deps.Blobs.Segments(ctx, inc.ID)
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			return nil, err
		}
		out.Incarnations++
		for _, seg := range segments {
			if err := l.survey(ctx, out, seg); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (l *look) survey(ctx context.Context, out *Survey, seg blob.Segment) error {
	out.Segments++
	if !l.ripe(seg) {
		out.Open += seg.Bytes
		return nil
	}
	v, err := l.view(ctx, seg)
	if err != nil {
		return err
	}
	dead := max(0, seg.Bytes-v.liveBytes)
	out.Live += v.liveBytes
	out.Dead += dead
	out.LiveBodies += v.liveBodies
	out.DeadBodies += v.deadBodies
	switch {
	case v.dying(l.cfg.LiveBelow):
		out.Dying++
		out.Freed += seg.Bytes + v.deadBodies
		out.Rewritten += v.liveBytes
	case len(v.dead) > 0:
		out.Bodies += int64(len(v.dead))
		out.Freed += v.deadBodies
	}
	return nil
}

// Ask asks whichever process has the worker for a round at once.
func (w *Worker) Ask(ctx context.Context) error { return w.deps.Books.Ask(ctx) }
