package remote

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// callTime bounds each call to another role.
	callTime = 20 * time.Second
	// awayDelay is the wait before work is tried again whose helpers were away.
	awayDelay = time.Second
	// waiting is how many claims per allowed connection to a destination wait in this process; more stay in the ledger.
	waiting = 4
)

// Service is the role delivery-remote.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	gate    *gate
	pool    *pool
	attempt atomic.Uint64
	drain   drain
}

// New checks cfg.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("delivery-remote: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, metrics: newMetrics(deps.Metrics)}
	s.gate = newGate(cfg.Connections, cfg.ConnectionsPerDestination)
	s.pool = newPool(cfg.KeepConnection)
	s.drain = newDrain()
	return s, nil
}

// Run sends until ctx ends. Then dialogues that have not come to the final dot are cut off, and those that have get a
// moment to be answered; every claim has its outcome before Run returns.
func (s *Service) Run(ctx context.Context) error {
	defer s.pool.close()
	defer s.drain.on(ctx)()
	defer context.AfterFunc(ctx, s.pool.close)()
	return s.deps.Bus.Consume(ctx, bus.Consumer{Subject: bus.Remote, Batch: 64, Held: 4 * s.cfg.Connections, OnDead: s.bury}, s.take)
}

// job is the recipients of one message that share a next hop.
type job struct {
	bus   *bus.Work
	work  *mailv1.RemoteWork
	id    envelope.QueueID
	owner string
	began time.Time

	message    *mailv1.Accepted
	recipients []*storev1.RecipientRow
	group      string
}

func decode(w *bus.Work) (*job, error) {
	m := &mailv1.RemoteWork{}
	if err := proto.Unmarshal(w.Data(), m); err != nil {
		return nil, fmt.Errorf("decode remote work: %w", err)
	}
	id, err := envelope.QueueIDFrom(m.QueueId)
	if err != nil {
		return nil, err
	}
	return &job{bus: w, work: m, id: id, group: m.Group}, nil
}

// take looks through a batch of hints: those whose destination has room are claimed and begun, the others are let go; the
// ledger brings them back when they are due.
func (s *Service) take(ctx context.Context, batch []*bus.Work) {
	var jobs []*job
	for _, w := range batch {
		j, err := decode(w)
		switch {
		case err != nil:
			w.Poison(err)
		case !s.gate.enter(s.destination(j)):
			s.metrics.parked.Inc()
			w.Ack()
		default:
			j.owner = s.deps.Owner + "/" + strconv.FormatUint(s.attempt.Add(1), 10)
			jobs = append(jobs, j)
		}
	}
	for _, j := range jobs {
		go s.work(ctx, j)
	}
}

// destination is what connections are counted by.
func (s *Service) destination(j *job) string {
	if s.cfg.SmartHost != "" {
		return s.cfg.SmartHost
	}
	return j.group
}

// work carries one job from claim to report. A panic counts against the hint.
func (s *Service) work(ctx context.Context, j *job) {
	to := s.destination(j)
	defer s.gate.leave(to)
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.ErrorContext(ctx, "sending panicked", obs.QueueID(j.id), obs.Reason(fmt.Sprint(p)), stack())
			j.bus.Poison(fmt.Errorf("panic: %v", p))
		}
	}()
	s.gate.wait(to)
	defer s.gate.done(to)
	if s.drain.begun() {
		s.postpone(ctx, j, errDraining)
		return
	}
	claimed, err := s.claim(ctx, j)
	if err != nil {
		s.postpone(ctx, j, err)
		return
	}
	if !claimed {
		j.bus.Ack()
		return
	}
	release := s.keep(ctx, j)
	defer release()
	sending, cancel := s.drain.context(ctx)
	results := s.send(sending, j)
	cancel()
	if results == nil { // the claim was lost: whoever has it now reports
		j.bus.Ack()
		return
	}
	if err := s.report(ctx, j, results); err != nil {
		s.postpone(ctx, j, err)
		return
	}
	j.bus.Ack()
	fault.Point("remote.after-ack")
}

func (s *Service) postpone(ctx context.Context, j *job, err error) {
	s.deps.Log.WarnContext(ctx, "sending postponed", obs.QueueID(j.id), obs.Error(err))
	j.bus.Retry(awayDelay)
}

func (s *Service) claim(ctx context.Context, j *job) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	j.began = s.deps.Now()
	resp, err := s.deps.Ledger.Claim(ctx, &storev1.ClaimRequest{
		Work: []*mailv1.RemoteWork{j.work}, Owner: j.owner, LeaseMs: s.cfg.ClaimLease.Milliseconds(),
	})
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", j.id, err)
	}
	if len(resp.Claims) != 1 || !resp.Claims[0].Claimed || len(resp.Claims[0].Recipients) == 0 {
		return false, nil
	}
	j.message, j.recipients = resp.Claims[0].Message, resp.Claims[0].Recipients
	fault.Point("remote.after-claim")
	return true, nil
}

// keep renews the claim while the work goes on, so that the lease need not be as long as a peer may take. A renewal that
// fails changes nothing here: renew asks before the final dot, and the ledger refuses a late report.
func (s *Service) keep(ctx context.Context, j *job) (stop func()) {
	done := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(s.cfg.ClaimLease / 4)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if err := s.renew(ctx, j); err != nil {
					s.deps.Log.WarnContext(ctx, "claim not renewed", obs.QueueID(j.id), obs.Error(err))
				}
			}
		}
	})
	return func() {
		close(done)
		renewing.Wait()
	}
}

// renew asks, before the final dot, whether the claim still holds.
func (s *Service) renew(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Claim(ctx, &storev1.ClaimRequest{
		Work: []*mailv1.RemoteWork{j.work}, Owner: j.owner, LeaseMs: s.cfg.ClaimLease.Milliseconds(), Renew: true,
	})
	if err != nil {
		return fmt.Errorf("renew the claim of %s: %w", j.id, err)
	}
	if len(resp.Claims) != 1 || !resp.Claims[0].Claimed {
		return errClaimLost
	}
	return nil
}

// bury puts poison work on record before it becomes a dead letter.
func (s *Service) bury(ctx context.Context, w *bus.Work, reason string) error {
	j, err := decode(w)
	if err != nil {
		return nil // nothing in it names a message: the sweep finds the recipients by their due time
	}
	j.owner = s.deps.Owner + "/dead"
	claimed, err := s.claim(ctx, j)
	if err != nil || !claimed {
		return err
	}
	r := &storev1.Report{QueueId: j.work.QueueId, Owner: j.owner, Generation: j.work.Generation}
	for _, row := range j.recipients {
		r.Outcomes = append(r.Outcomes, &storev1.Outcome{Number: row.Number, State: storev1.State_STATE_DEAD, Reply: "451 4.3.0 " + reason})
	}
	_, err = s.deps.Ledger.Report(ctx, &storev1.ReportRequest{Reports: []*storev1.Report{r}})
	return err
}
