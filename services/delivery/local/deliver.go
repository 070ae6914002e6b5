package local

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// deliver works on a batch: decode, decide, file, let go.
func (s *Service) deliver(ctx context.Context, batch []*bus.Work) {
	jobs := make([]*job, 0, len(batch))
	for _, w := range batch {
		j, err := decode(w)
		if err != nil {
			w.Poison(err)
			continue
		}
		jobs = append(jobs, j)
	}
	jobs, err := s.load(ctx, jobs)
	if err == nil {
		err = s.prepare(ctx, jobs)
	}
	var results []*storev1.DeliverResult
	if err == nil && len(jobs) > 0 {
		results, err = s.file(ctx, jobs)
	}
	if err != nil {
		s.deps.Log.WarnContext(ctx, "delivery postponed", obs.Count(len(jobs)), obs.Error(err))
		for _, j := range jobs {
			j.bus.Retry(awayDelay)
		}
		return
	}
	for i, j := range jobs {
		s.finish(ctx, j, results[i])
	}
}

// prepare decides where each copy goes and what is shown on top of it.
func (s *Service) prepare(ctx context.Context, jobs []*job) error {
	for _, j := range jobs {
		m := j.work.Message
		j.delivery = &storev1.Delivery{
			QueueId:    j.work.QueueId,
			Number:     j.work.Number,
			Generation: j.work.Generation,
			Account:    j.work.Account,
			BlobId:     m.BlobId,
			Overlay:    overlay(j.work),
			PartIndex:  m.PartIndex,
			Size:       m.Envelope.Size,
			ReceivedNs: m.Envelope.AcceptedNs,
		}
		if *s.cfg.JunkFolder && m.Verdict.GetAction() == mailv1.Action_ACTION_JUNK {
			j.delivery.Placements = []*storev1.Placement{{SpecialUse: `\Junk`}}
		}
		if !envelope.Notify(j.work.Notify).Success() {
			continue
		}
		// The sender wants to know of success (RFC 3461 §5.2.2): the DSN leaves with the delivery, or not at all.
		child, err := s.deps.DSN.Bounce(ctx, m, []*storev1.RecipientRow{j.asRow(storev1.State_STATE_DELIVERED, "250 2.1.5 delivered")})
		if err != nil {
			return fmt.Errorf("report success of %s: %w", j.id, err)
		}
		if child != nil {
			j.delivery.Children = []*mailv1.Accepted{child}
		}
	}
	return nil
}

// asRow is the recipient as a DSN writer sees it.
func (j *job) asRow(state storev1.State, reply string) *storev1.RecipientRow {
	return &storev1.RecipientRow{
		Number: j.work.Number, ForwardPath: j.work.ForwardPath, Notify: j.work.Notify, Orcpt: j.work.Orcpt, State: state, LastReply: reply,
	}
}

// overlay is everything that this copy shows before its body, newest first, and hides of it.
func overlay(w *mailv1.LocalWork) *mailv1.Overlay {
	m := w.Message
	verdict, received := m.GetVerdict().GetOverlay(), m.GetOverlay()
	prefix := make([]byte, 0, 128+len(verdict.GetPrefix())+len(received.GetPrefix()))
	prefix = fmt.Appendf(prefix, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", m.Envelope.ReversePath, w.ForwardPath)
	prefix = append(prefix, verdict.GetPrefix()...)
	prefix = append(prefix, received.GetPrefix()...)
	return &mailv1.Overlay{Prefix: prefix, Cuts: join(verdict.GetCuts(), received.GetCuts())}
}

// join merges two lists of cuts into one that is ascending and apart.
func join(a, b []*mailv1.Cut) []*mailv1.Cut {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y *mailv1.Cut) int { return int(x.Offset - y.Offset) })
	out := []*mailv1.Cut{{Offset: all[0].Offset, Length: all[0].Length}}
	for _, c := range all[1:] {
		last := out[len(out)-1]
		if end := last.Offset + last.Length; c.Offset <= end {
			last.Length = max(end, c.Offset+c.Length) - last.Offset
			continue
		}
		out = append(out, &mailv1.Cut{Offset: c.Offset, Length: c.Length})
	}
	return out
}

func (s *Service) file(ctx context.Context, jobs []*job) ([]*storev1.DeliverResult, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req := &storev1.DeliverRequest{Deliveries: make([]*storev1.Delivery, len(jobs))}
	for i, j := range jobs {
		req.Deliveries[i] = j.delivery
	}
	fault.Point("delivery.before-deliver")
	resp, err := s.deps.Mailboxes.Deliver(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("deliver to %d recipients: %w", len(jobs), err)
	}
	if len(resp.Results) != len(jobs) {
		return nil, fmt.Errorf("deliver to %d recipients: got %d results", len(jobs), len(resp.Results))
	}
	fault.Point("delivery.after-deliver")
	return resp.Results, nil
}

// finish lets go of what is settled and gives the rest back to the ledger.
func (s *Service) finish(ctx context.Context, j *job, r *storev1.DeliverResult) {
	switch r.Status {
	case storev1.DeliverStatus_DELIVER_STATUS_DELIVERED:
		s.tell(ctx, j, "delivered", "250 2.1.5 delivered")
	case storev1.DeliverStatus_DELIVER_STATUS_DUPLICATE, storev1.DeliverStatus_DELIVER_STATUS_STALE:
		s.metrics.outcomes.WithLabelValues("repeated").Inc()
	case storev1.DeliverStatus_DELIVER_STATUS_OVER_QUOTA:
		s.postpone(ctx, j, "452 4.2.2 mailbox full")
		return
	default:
		s.deps.Log.WarnContext(ctx, "delivery failed", obs.QueueID(j.id), obs.Recipient(j.work.Number), obs.Reason(r.Error))
		s.postpone(ctx, j, "451 4.3.0 mailbox cannot be written now")
		return
	}
	j.bus.Ack()
	fault.Point("delivery.after-ack")
}

// postpone gives a recipient back to the ledger, or bounces it when its time is over.
func (s *Service) postpone(ctx context.Context, j *job, why string) {
	err := s.settle(ctx, j, why)
	if err != nil {
		s.deps.Log.WarnContext(ctx, "delivery postponed", obs.QueueID(j.id), obs.Error(err))
		j.bus.Retry(awayDelay)
		return
	}
	j.bus.Ack()
}

func (s *Service) settle(ctx context.Context, j *job, why string) error {
	row, err := s.row(ctx, j)
	if err != nil {
		return err
	}
	now := s.deps.Now()
	if now.UnixNano() < row.ExpiryNs {
		s.tell(ctx, j, "deferred", why)
		return s.report(ctx, j, j.work.Generation, &storev1.Outcome{
			State: storev1.State_STATE_QUEUED, Reply: why, DueNs: now.Add(s.cfg.wait(row.Attempts)).UnixNano(),
		})
	}
	row.State, row.LastReply = storev1.State_STATE_BOUNCED, why
	child, err := s.deps.DSN.Bounce(ctx, j.work.Message, []*storev1.RecipientRow{row})
	if err != nil {
		return err
	}
	var children []*mailv1.Accepted
	if child != nil {
		children = append(children, child)
	}
	s.tell(ctx, j, "bounced", why)
	return s.report(ctx, j, j.work.Generation, &storev1.Outcome{State: storev1.State_STATE_BOUNCED, Reply: why}, children...)
}

// tell writes the one delivery record of this recipient and attempt.
func (s *Service) tell(ctx context.Context, j *job, event, reply string) {
	took := s.deps.Now().UnixNano() - j.work.Message.Envelope.AcceptedNs
	s.metrics.outcomes.WithLabelValues(event).Inc()
	s.metrics.delay.Observe(float64(took) / 1e9)
	env := j.work.Message.Envelope
	s.deps.Trace.Emit(&mailv1.TraceEvent{
		Stage: "local", Event: event, QueueId: j.work.QueueId, ReversePath: env.ReversePath,
		ForwardPath: j.work.ForwardPath, Detail: reply, MessageId: env.MessageId, DurationUs: took / 1000,
	})
	s.deps.Log.InfoContext(ctx, event, obs.QueueID(j.id), obs.ReversePath(envelope.ReversePath(env.ReversePath)),
		obs.ForwardPath(envelope.ForwardPath(j.work.ForwardPath)), obs.Reply(reply), obs.Delay("total", nanoseconds(took)))
}
