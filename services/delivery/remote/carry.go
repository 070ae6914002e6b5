package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// carry brings one job from claim to report.
func (s *Service) carry(ctx context.Context, j *job) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(ctx, j, p)
		}
	}()
	if s.drain.begun() {
		s.giveBack(j)
		return
	}
	claimed, err := s.claim(ctx, j)
	if err != nil {
		s.postpone(ctx, j, err)
		return
	}
	if claimed {
		s.try(ctx, j)
		s.suspects.clear(j.key())
	}
	j.ack()
	fault.Point("remote.after-ack")
}

// try is one attempt at all claimed recipients. The claim is renewed until it ends; where it is lost nothing more is sent or
// reported.
func (s *Service) try(ctx context.Context, j *job) {
	claim, release := s.keep(ctx, j)
	defer release()
	trying, cancel := context.WithTimeoutCause(claim, s.cfg.Timeouts.Attempt, errTooLong)
	defer cancel()
	trying, cut := s.drain.context(trying)
	defer cut()
	s.send(trying, j)
}

// giveBack lets another process have a hint that was not begun; one that waited here is in the ledger anyway.
func (s *Service) giveBack(j *job) {
	if j.bus != nil {
		j.bus.Retry(0)
	}
}

// postpone is for work that could not be claimed. What waits here is left to the ledger too: it would fail the same way.
func (s *Service) postpone(ctx context.Context, j *job, err error) {
	if code := status.Code(err); code == codes.InvalidArgument && j.bus != nil {
		j.bus.Poison(err) // such work can never be right
		return
	}
	s.deps.Log.WarnContext(ctx, "sending postponed", obs.QueueID(j.id), obs.Error(err))
	s.gate.empty()
	if j.bus != nil {
		j.bus.Retry(awayDelay)
	}
}

// panicked counts a panic against the work. The claim stays this process's, so that the bus may give the work here again
// until it becomes a dead letter. Without a hint on the bus the panic is an attempt that failed: the ledger paces the next
// one, whose hint then counts.
func (s *Service) panicked(ctx context.Context, j *job, p any) {
	s.deps.Log.ErrorContext(ctx, "sending panicked", obs.QueueID(j.id), obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
	if j.bus != nil {
		s.suspects.put(j.key(), j.owner)
		j.bus.Poison(fmt.Errorf("panic: %v", p))
		return
	}
	if len(j.open) == 0 {
		return
	}
	s.guarded("report of a panic", func() {
		s.settle(ctx, j, all(j.open, verdict{storev1.State_STATE_QUEUED, "451 4.3.0 internal fault"}, ""))
	})
}

// guarded runs f; a panic in it is logged and ends there.
func (s *Service) guarded(what string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.Error("panicked", slog.String("what", what), obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
		}
	}()
	f()
}

// bury puts poison work on record before it becomes a dead letter.
func (s *Service) bury(ctx context.Context, w *bus.Work, reason string) error {
	j, err := decode(w)
	if err != nil {
		return nil // nothing in it names a message: the sweep finds the recipients by their due time
	}
	if j.owner = s.suspects.owner(j.key()); j.owner == "" {
		j.owner = s.deps.Owner + "/dead"
	}
	claimed, err := s.claim(ctx, j)
	if err != nil && status.Code(err) != codes.InvalidArgument {
		return err
	}
	defer s.suspects.clear(j.key())
	if !claimed {
		return nil
	}
	r := &storev1.Report{QueueId: j.work.QueueId, Owner: j.owner, Generation: j.work.Generation}
	for _, row := range j.open {
		r.Outcomes = append(r.Outcomes, &storev1.Outcome{Number: row.Number, State: storev1.State_STATE_DEAD, Reply: "451 4.3.0 " + oneLine(reason)})
	}
	if err := s.enter(ctx, r); !errors.Is(err, errOvertaken) {
		return err
	}
	return nil
}

// suspects remembers who claimed work that panicked. The zero value is ready.
type suspects struct {
	mu     sync.Mutex
	owners map[workKey]string // guarded by mu
}

// maxSuspects bounds what is remembered: beyond it a claim runs out and the ledger brings the work back.
const maxSuspects = 1000

func (s *suspects) put(k workKey, owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners == nil || len(s.owners) >= maxSuspects {
		s.owners = map[workKey]string{}
	}
	s.owners[k] = owner
}

func (s *suspects) owner(k workKey) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[k]
}

func (s *suspects) clear(k workKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, k)
}
