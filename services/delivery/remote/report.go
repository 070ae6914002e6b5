package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errOvertaken is a report that came too late: the recipients are another's by now.
var errOvertaken = errors.New("the report came too late")

// report enters all results in one step, with the DSNs that they give rise to.
func (s *Service) report(ctx context.Context, j *job, results []result) error {
	now := s.deps.Now()
	r := &storev1.Report{QueueId: j.work.QueueId, Owner: j.owner, Generation: j.work.Generation}
	var bounced, late, relayed []*storev1.RecipientRow
	for i := range results {
		res := &results[i]
		o := s.outcome(res, now)
		r.Outcomes = append(r.Outcomes, o)
		res.row.LastReply, res.row.Relay, res.row.State = o.Reply, o.Relay, o.State
		n := envelope.Notify(res.row.Notify)
		switch {
		case o.State == storev1.State_STATE_BOUNCED:
			bounced = append(bounced, res.row)
		case o.State == storev1.State_STATE_RELAYED && n.Success() && !res.dsnPassed:
			// The peer cannot tell of success, so our part of the way is told (RFC 3461 §5.2.2).
			relayed = append(relayed, res.row)
		case o.State == storev1.State_STATE_QUEUED && n.Delay() && s.isLate(j, res.row, now):
			o.DelayNotified = true
			late = append(late, res.row)
		}
	}
	for _, rows := range [][]*storev1.RecipientRow{bounced, late, relayed} {
		if len(rows) == 0 {
			continue
		}
		child, err := s.deps.DSN.Bounce(ctx, j.message, rows)
		if err != nil {
			return fmt.Errorf("notify the sender of %s: %w", j.id, err)
		}
		if child != nil {
			r.Children = append(r.Children, child)
		}
	}
	fault.Point("remote.before-report")
	if err := s.enter(ctx, r); err != nil {
		return fmt.Errorf("report %s: %w", j.id, err)
	}
	fault.Point("remote.after-report")
	for _, res := range results {
		s.tell(ctx, j, res, now)
	}
	return nil
}

func (s *Service) enter(ctx context.Context, r *storev1.Report) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := s.deps.Ledger.Report(ctx, &storev1.ReportRequest{Reports: []*storev1.Report{r}})
	if err != nil {
		return err
	}
	if len(resp.Results) == 1 && !resp.Results[0].Accepted {
		return errOvertaken
	}
	return nil
}

// outcome turns a result into what the ledger enters: a deferral whose time is over is a bounce.
func (s *Service) outcome(r *result, now time.Time) *storev1.Outcome {
	o := &storev1.Outcome{Number: r.row.Number, State: r.state, Reply: r.reply, Relay: r.relay}
	if r.state != storev1.State_STATE_QUEUED {
		return o
	}
	if r.reply == goingDown.reply {
		o.DueNs = now.UnixNano() // no fault of the peer's
		return o
	}
	if r.row.ExpiryNs > 0 && now.UnixNano() >= r.row.ExpiryNs {
		o.State = storev1.State_STATE_BOUNCED
		return o
	}
	o.DueNs = now.Add(s.cfg.wait(r.row.Attempts)).UnixNano()
	if r.row.ExpiryNs > 0 {
		o.DueNs = min(o.DueNs, r.row.ExpiryNs) // the last try comes when the time is over, not after
	}
	return o
}

func (s *Service) isLate(j *job, row *storev1.RecipientRow, now time.Time) bool {
	if s.cfg.DelayNoticeAfter < 0 || row.DelayNotified {
		return false
	}
	return now.Sub(time.Unix(0, j.message.Envelope.AcceptedNs)) >= s.cfg.DelayNoticeAfter
}

// tell writes the one delivery record of this recipient and attempt.
func (s *Service) tell(ctx context.Context, j *job, r result, now time.Time) {
	event := map[storev1.State]string{
		storev1.State_STATE_RELAYED: "relayed", storev1.State_STATE_BOUNCED: "bounced", storev1.State_STATE_QUEUED: "deferred",
	}[r.row.State]
	env := j.message.Envelope
	s.metrics.outcomes.WithLabelValues(event).Inc()
	s.deps.Trace.Emit(&mailv1.TraceEvent{
		Stage: "remote", Event: event, QueueId: j.work.QueueId, ReversePath: env.ReversePath, ForwardPath: r.row.ForwardPath,
		Detail: r.relay + " " + r.reply, MessageId: env.MessageId, DurationUs: now.Sub(j.began).Microseconds(),
	})
	s.deps.Log.InfoContext(ctx, event, obs.QueueID(j.id), obs.ReversePath(envelope.ReversePath(env.ReversePath)),
		obs.ForwardPath(envelope.ForwardPath(r.row.ForwardPath)), obs.Relay(r.relay), obs.Reply(r.reply),
		obs.Delay("attempt", now.Sub(j.began)), obs.Delay("total", now.Sub(time.Unix(0, env.AcceptedNs))))
}
