package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errOvertaken is a report that came too late: the recipients are another's by now.
var errOvertaken = errors.New("the report came too late")

const (
	// dsnTime is how long a DSN that cannot be written is tried again before the outcome is reported without it.
	dsnTime = 30 * time.Second
	// lastTime bounds a report once the role stops.
	lastTime = 2 * time.Second
	// pauseMin and pauseMax bound the waits between tries.
	pauseMin, pauseMax = 100 * time.Millisecond, 5 * time.Second
	// unsureDelay is when recipients are due again whose claim could not be renewed.
	unsureDelay = 30 * time.Second
)

// settle enters results in one step, with the DSNs that they give rise to, and takes their recipients off the job. It tries
// until the ledger has answered or the role stops: what a peer has taken must not be forgotten because the ledger is away.
// It is false where the recipients are another's by now, or the ledger never answered; the job has no recipients then.
func (s *Service) settle(ctx context.Context, j *job, results []result) bool {
	// The attempt may be over, its outcome is not.
	ctx = context.WithoutCancel(ctx)
	now := s.deps.Now()
	r := &storev1.Report{QueueId: j.work.QueueId, Owner: j.owner, Generation: j.work.Generation}
	for i := range results {
		r.Outcomes = append(r.Outcomes, s.outcome(&results[i], now))
	}
	s.notify(ctx, j, r, results, now)
	fault.Point("remote.before-report")
	unsure := false
	err := s.persist(ctx, j, func(ctx context.Context) error {
		err := s.enter(ctx, r)
		if unsure && errors.Is(err, errOvertaken) {
			return s.entered(ctx, r)
		}
		unsure = unsure || err != nil
		return err
	})
	fault.Point("remote.after-report")
	if err != nil {
		s.deps.Log.WarnContext(ctx, "outcome not reported", obs.QueueID(j.id), obs.Reply(results[0].reply), obs.Relay(results[0].relay), obs.Error(err))
		j.open = nil
		return false
	}
	for i := range results {
		s.tell(ctx, j, &results[i], r.Outcomes[i], now)
	}
	j.open = slices.DeleteFunc(slices.Clone(j.open), func(row *storev1.RecipientRow) bool {
		return slices.ContainsFunc(results, func(r result) bool { return r.row == row })
	})
	return true
}

// persist tries until it succeeds, nothing can come of it any more, ctx ends or the role stops.
func (s *Service) persist(ctx context.Context, j *job, do func(context.Context) error) error {
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		limit := callTime
		stopping := s.drain.begun()
		if stopping {
			limit = lastTime
		}
		call, cancel := context.WithTimeout(ctx, limit)
		err := do(call)
		cancel()
		if err == nil || errors.Is(err, errOvertaken) || status.Code(err) == codes.InvalidArgument || stopping || ctx.Err() != nil {
			return err
		}
		s.deps.Log.WarnContext(ctx, "outcome is reported again", obs.QueueID(j.id), obs.Error(err))
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
		case <-s.drain.beforeDot.Done():
		}
		wait.Stop()
	}
}

func (s *Service) enter(ctx context.Context, r *storev1.Report) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Report(ctx, &storev1.ReportRequest{Reports: []*storev1.Report{r}})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if len(resp.Results) != 1 || !resp.Results[0].Accepted {
		return errOvertaken
	}
	return nil
}

// entered tells whether a report whose answer was lost is what the rows show: they moved on by it then.
func (s *Service) entered(ctx context.Context, r *storev1.Report) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Load(ctx, &storev1.LoadRequest{QueueIds: [][]byte{r.QueueId}})
	if err != nil {
		return fmt.Errorf("look after a report: %w", err)
	}
	if len(resp.Entries) != 1 {
		return errOvertaken
	}
	rows := make(map[uint32]*storev1.RecipientRow, len(r.Outcomes))
	for _, row := range resp.Entries[0].Recipients {
		rows[row.Number] = row
	}
	for _, o := range r.Outcomes {
		if row := rows[o.Number]; row == nil || !shows(row, o, r.Generation) {
			return errOvertaken
		}
	}
	return nil
}

// shows tells whether a row stands as an outcome made it: the ledger keeps the beginning of a long reply, gives what is
// deferred a new generation and a due time by its own clock.
func shows(row *storev1.RecipientRow, o *storev1.Outcome, generation uint32) bool {
	if row.State != o.State {
		return false
	}
	if o.State == storev1.State_STATE_QUEUED && row.Generation != generation+1 {
		return false
	}
	return o.Reply == "" || row.LastReply != "" && strings.HasPrefix(o.Reply, row.LastReply) && row.Relay == o.Relay
}

// outcome turns a result into what the ledger enters: a deferral whose time is over is a bounce.
func (s *Service) outcome(r *result, now time.Time) *storev1.Outcome {
	o := &storev1.Outcome{Number: r.row.Number, State: r.state, Reply: r.reply, Relay: r.relay}
	switch {
	case r.state != storev1.State_STATE_QUEUED:
	case r.reply == "" && s.drain.begun():
		due(o, 1, now) // at once
	case r.reply == "":
		due(o, unsureDelay, now)
	case r.row.ExpiryNs > 0 && now.UnixNano() >= r.row.ExpiryNs:
		o.State = storev1.State_STATE_BOUNCED
	default:
		s.again(o, r.row, now)
	}
	return o
}

// again defers: the last try comes when the time is over, not after.
func (s *Service) again(o *storev1.Outcome, row *storev1.RecipientRow, now time.Time) {
	o.State = storev1.State_STATE_QUEUED
	due(o, s.cfg.wait(row.Attempts), now)
	if row.ExpiryNs > 0 {
		o.DueNs = min(o.DueNs, row.ExpiryNs)
	}
}

// due puts off by a wait. The ledger's clock counts it, so that one of ours that is wrong makes it neither longer nor shorter.
func due(o *storev1.Outcome, wait time.Duration, now time.Time) {
	o.DueInNs, o.DueNs = wait.Nanoseconds(), now.Add(wait).UnixNano()
}

// notify writes the DSNs that outcomes give rise to and puts them in the report: one for all that bounced, one for all that
// are late, one for all that were relayed to a peer that does not tell. A DSN that cannot be written for long is not waited
// for: a bounce is put off until it can be told, the rest goes untold.
func (s *Service) notify(ctx context.Context, j *job, r *storev1.Report, results []result, now time.Time) {
	var bounced, late, relayed []*storev1.RecipientRow
	for i, o := range r.Outcomes {
		row := results[i].row
		row.LastReply, row.Relay, row.State = o.Reply, o.Relay, o.State
		n := envelope.Notify(row.Notify)
		switch {
		case o.State == storev1.State_STATE_BOUNCED:
			bounced = append(bounced, row)
		case o.State == storev1.State_STATE_RELAYED && n.Success() && !results[i].dsnPassed:
			// The peer cannot tell of success, so our part of the way is told (RFC 3461 §5.2.2).
			relayed = append(relayed, row)
		case o.State == storev1.State_STATE_QUEUED && o.Reply != "" && n.Delay() && s.isLate(j, row, now):
			o.DelayNotified = true
			late = append(late, row)
		}
	}
	s.child(ctx, j, r, relayed)
	if !s.child(ctx, j, r, late) {
		for i, o := range r.Outcomes {
			o.DelayNotified = o.DelayNotified && !slices.Contains(late, results[i].row)
		}
	}
	if !s.child(ctx, j, r, bounced) {
		for i, o := range r.Outcomes {
			if row := results[i].row; slices.Contains(bounced, row) {
				s.again(o, row, now)
				due(o, s.cfg.wait(row.Attempts), now) // also beyond its expiry
				row.State = o.State
			}
		}
	}
}

// child adds the DSN about rows, if anybody wants it; false where it cannot be written.
func (s *Service) child(ctx context.Context, j *job, r *storev1.Report, about []*storev1.RecipientRow) bool {
	if len(about) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, dsnTime)
	defer cancel()
	var child *mailv1.Accepted
	err := s.persist(ctx, j, func(call context.Context) (err error) {
		child, err = s.deps.DSN.Bounce(call, j.message, about)
		return err
	})
	if err != nil {
		s.deps.Log.ErrorContext(ctx, "DSN cannot be written", obs.QueueID(j.id), obs.Count(len(about)), obs.Error(err))
		return false
	}
	if child != nil {
		r.Children = append(r.Children, child)
	}
	return true
}

func (s *Service) isLate(j *job, row *storev1.RecipientRow, now time.Time) bool {
	if s.cfg.DelayNoticeAfter < 0 || row.DelayNotified {
		return false
	}
	return now.Sub(time.Unix(0, j.message.Envelope.AcceptedNs)) >= s.cfg.DelayNoticeAfter
}

// tell writes the one delivery record of this recipient and attempt.
func (s *Service) tell(ctx context.Context, j *job, r *result, o *storev1.Outcome, now time.Time) {
	if o.Reply == "" {
		return // no attempt
	}
	event := "deferred"
	switch o.State {
	case storev1.State_STATE_RELAYED:
		event = "relayed"
	case storev1.State_STATE_BOUNCED:
		event = "bounced"
	}
	env := j.message.Envelope
	took := now.Sub(j.began)
	s.metrics.outcomes.WithLabelValues(event).Inc()
	detail := o.Reply
	if o.Relay != "" {
		detail = o.Relay + " " + detail
	}
	s.deps.Trace.Emit(&mailv1.TraceEvent{
		Stage: "remote", Event: event, QueueId: j.work.QueueId, ReversePath: env.ReversePath, ForwardPath: r.row.ForwardPath,
		Detail: detail, MessageId: env.MessageId, Client: env.GetClient().GetAddress(), DurationUs: took.Microseconds(),
	})
	accepted := time.Unix(0, env.AcceptedNs)
	s.deps.Log.InfoContext(ctx, event, obs.QueueID(j.id), obs.ReversePath(envelope.ReversePath(env.ReversePath)),
		obs.ForwardPath(envelope.ForwardPath(r.row.ForwardPath)), obs.Relay(o.Relay), obs.Reply(o.Reply),
		obs.Delay("queue", j.began.Sub(accepted)), obs.Delay("connect", j.connecting), obs.Delay("transfer", took-j.connecting),
		obs.Delay("total", now.Sub(accepted)))
}
