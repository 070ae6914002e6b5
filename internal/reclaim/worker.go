package reclaim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
)

// Ledger is what the worker asks of the ledger.
type Ledger interface {
	Checkpoints(ctx context.Context) (map[uint64]ledger.Checkpoint, error)
	Outbox(ctx context.Context, after ledger.OutboxChild, limit int) ([]ledger.OutboxChild, error)
}

// Deps is what the worker needs.
type Deps struct {
	Books  Books
	Ledger Ledger
	Blobs  blob.Reclaimer
	Log    *slog.Logger
	// Metrics takes the metrics; nil for none.
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Fault, where it is set, is asked between the steps; an error ends the step there. For tests.
	Fault func(point string) error
}

// Worker gives room back, step by step. One process at a time runs it.
type Worker struct {
	cfg     Config
	deps    Deps
	metrics *metrics

	passing passing // only Step uses it
}

// New checks cfg; it starts nothing.
func New(cfg Config, deps Deps) (*Worker, error) {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, deps: deps, metrics: m, passing: passing{}}, nil
}

// point is a place between two steps, where tests let the process die or the step fail.
func (w *Worker) point(name string) error {
	fault.Point(name)
	if w.deps.Fault != nil {
		return w.deps.Fault(name)
	}
	return nil
}

// state is what is kept of rounds, so that another process goes on where this one stopped.
type state struct {
	// Next is the first segment that the round has not looked at; zero between rounds.
	Next  blob.Position
	Began time.Time
	Ended time.Time
	// Now counts in the round under way, Last in the one that ended.
	Now, Last Totals
	Ever      Ever
}

// Totals are what a round found.
type Totals struct {
	Incarnations, Segments int64
	// Open is what lies in segments that are being written, too young, or not accounted for, octets: none of it was looked at.
	Open int64
	// Live and Dead are the octets of sealed segments, and LiveBodies and DeadBodies those of bodies that lie apart.
	Live, Dead             int64
	LiveBodies, DeadBodies int64
}

// Ever is what was done since the site was made.
type Ever struct {
	// Freed and Rewritten are octets given back and copied for it; Segments and Bodies are how many were removed.
	Freed, Rewritten  int64
	Segments, Bodies  int64
	Moved             int64
	Condemned, Pardon int64
}

// Step does one piece of work: something that is due, or a look at some segments. more tells that there is another at once.
func (w *Worker) Step(ctx context.Context) (more bool, err error) {
	if w.cfg.Off {
		return false, nil
	}
	s, asked, err := w.load(ctx)
	if err != nil {
		return false, err
	}
	before := *s
	more, err = w.step(ctx, s, asked)
	// Also after an error: what was given back or copied is counted.
	if *s != before {
		if saved := w.save(ctx, s); err == nil {
			err = saved
		}
	}
	return more, err
}

func (w *Worker) step(ctx context.Context, s *state, asked time.Time) (more bool, err error) {
	if closed, err := w.closeGap(ctx); err != nil || closed {
		return closed, err
	}
	work, err := w.deps.Books.Work(ctx)
	if err != nil {
		return false, err
	}
	w.metrics.hand(work)
	begin := s.Next == (blob.Position{}) && (w.deps.Now().Sub(s.Began) >= w.cfg.Every || asked.After(s.Began))
	var due *Work
	for i := range work {
		if work[i].Age >= w.waitOf(work[i].Step) && !w.passing.has(work[i].position(), w.deps.Now()) {
			due = &work[i]
			break
		}
	}
	if due == nil && !begin && s.Next == (blob.Position{}) {
		return false, nil
	}
	l, err := w.look(ctx)
	if err != nil {
		return false, err
	}
	if due != nil {
		return true, w.passOver(ctx, due.position(), w.goOn(ctx, l, s, *due))
	}
	if begin {
		if n, err := w.deps.Blobs.Sweep(ctx); err != nil {
			return false, fmt.Errorf("sweep orphans: %w", err)
		} else if n > 0 {
			w.deps.Log.InfoContext(ctx, "orphans removed", slog.Int("count", n))
		}
		s.Began, s.Now = w.deps.Now(), Totals{}
	}
	inHand := make(map[blob.Position]Step, len(work))
	for _, at := range work {
		inHand[at.position()] = at.Step
	}
	return w.round(ctx, l, s, inHand)
}

// waitOf is how long a segment stays at a step.
func (w *Worker) waitOf(s Step) time.Duration {
	switch s {
	case Dead:
		return w.cfg.Wait
	case Stuck:
		return max(w.cfg.Every, w.cfg.Wait)
	}
	return w.cfg.RestoreWindow
}

func (w *Worker) load(ctx context.Context) (*state, time.Time, error) {
	b, asked, err := w.deps.Books.State(ctx)
	if err != nil {
		return nil, asked, err
	}
	s := &state{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, asked, fmt.Errorf("decode the state of reclaiming: %w", err)
		}
	}
	return s, asked, nil
}

func (w *Worker) save(ctx context.Context, s *state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the state of reclaiming: %w", err)
	}
	return w.deps.Books.SaveState(ctx, b)
}
