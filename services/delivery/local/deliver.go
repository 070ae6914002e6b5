package local

import (
	"context"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// maxRequest is how much one Deliver call carries at most, octets: half of what a call may.
const maxRequest = rpc.MaxMessage / 2

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
	if err != nil {
		s.retry(ctx, jobs, err)
		return
	}
	var late []postponed
	ready := jobs[:0]
	for _, j := range jobs {
		if err := s.prepare(ctx, j); err != nil {
			s.deps.Log.WarnContext(ctx, "delivery not prepared", obs.QueueID(j.id), obs.Recipient(j.work.Number), obs.Error(err))
			late = append(late, postponed{job: j, why: "451 4.3.0 the delivery cannot be reported now"})
			continue
		}
		ready = append(ready, j)
	}
	for len(ready) > 0 {
		n := fits(ready)
		results, err := s.file(ctx, ready[:n])
		if err != nil {
			s.retry(ctx, ready, err)
			break
		}
		for i, j := range ready[:n] {
			if why := s.finish(ctx, j, results[i]); why != "" {
				late = append(late, postponed{job: j, why: why, final: results[i].Status == storev1.DeliverStatus_DELIVER_STATUS_NO_ACCOUNT})
			}
		}
		ready = ready[n:]
	}
	s.postpone(ctx, late)
}

// retry gives work back to the bus: something that it needs is away.
func (s *Service) retry(ctx context.Context, jobs []*job, err error) {
	s.deps.Log.WarnContext(ctx, "delivery postponed", obs.Count(len(jobs)), obs.Error(err))
	for _, j := range jobs {
		j.bus.Retry(awayDelay)
	}
}

// prepare decides where a copy goes and what is shown on top of it.
func (s *Service) prepare(ctx context.Context, j *job) error {
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
		return nil
	}
	// The sender wants to know of success (RFC 3461 §5.2.2): the DSN leaves with the delivery, or not at all.
	child, err := s.notify(ctx, m, j.asRow(storev1.State_STATE_DELIVERED, "250 2.1.5 delivered"))
	if err != nil {
		return fmt.Errorf("report success of %s: %w", j.id, err)
	}
	j.delivery.Children = child
	return nil
}

// notify writes a DSN about one recipient, if anybody wants it.
func (s *Service) notify(ctx context.Context, m *mailv1.Accepted, row *storev1.RecipientRow) ([]*mailv1.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	child, err := s.deps.DSN.Bounce(ctx, m, []*storev1.RecipientRow{row})
	if err != nil || child == nil {
		return nil, err
	}
	return []*mailv1.Accepted{child}, nil
}

// fits tells how many of the jobs go in one call: one at least.
func fits(jobs []*job) int {
	size := 0
	for i, j := range jobs {
		d := j.delivery
		size += len(d.PartIndex) + len(d.Overlay.GetPrefix()) + 16*len(d.Overlay.GetCuts()) + 512
		for _, c := range d.Children {
			size += len(c.PartIndex) + 4096
		}
		if size > maxRequest && i > 0 {
			return i
		}
	}
	return len(jobs)
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
	head := make([]byte, 0, 64+len(m.Envelope.ReversePath)+len(w.ForwardPath))
	head = fmt.Appendf(head, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", m.Envelope.ReversePath, w.ForwardPath)
	return message.Join(message.Overlay{Prefix: head}, message.OverlayFrom(m.GetVerdict().GetOverlay()), message.OverlayFrom(m.GetOverlay())).Proto()
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

// finish lets go of what is settled, and says why the rest is not.
func (s *Service) finish(ctx context.Context, j *job, r *storev1.DeliverResult) (why string) {
	switch r.Status {
	case storev1.DeliverStatus_DELIVER_STATUS_DELIVERED:
		s.tell(ctx, j, eventDelivered, "250 2.1.5 delivered")
	case storev1.DeliverStatus_DELIVER_STATUS_DUPLICATE, storev1.DeliverStatus_DELIVER_STATUS_STALE:
		s.metrics.outcomes[eventRepeated].Inc()
	case storev1.DeliverStatus_DELIVER_STATUS_OVER_QUOTA:
		return "452 4.2.2 mailbox full"
	case storev1.DeliverStatus_DELIVER_STATUS_NO_ACCOUNT:
		return "550 5.1.1 no such user" // any more: removed for good since the letter was routed
	default:
		s.deps.Log.WarnContext(ctx, "delivery failed", obs.QueueID(j.id), obs.Recipient(j.work.Number), obs.Reason(r.Error))
		return "451 4.3.0 mailbox cannot be written now"
	}
	j.bus.Ack()
	fault.Point("delivery.after-ack")
	return ""
}

// tell writes the one delivery record of this recipient and attempt.
func (s *Service) tell(ctx context.Context, j *job, event event, reply string) {
	env := j.work.Message.Envelope
	took := time.Duration(s.deps.Now().UnixNano() - env.AcceptedNs)
	s.metrics.outcomes[event].Inc()
	s.metrics.delay.Observe(took.Seconds())
	s.deps.Trace.Emit(&mailv1.TraceEvent{
		Stage: "local", Event: event.String(), QueueId: j.work.QueueId, ReversePath: env.ReversePath,
		ForwardPath: j.work.ForwardPath, Detail: reply, MessageId: env.MessageId, Client: env.GetClient().GetAddress(), DurationUs: took.Microseconds(),
	})
	s.deps.Log.InfoContext(ctx, event.String(), obs.QueueID(j.id), obs.ReversePath(envelope.ReversePath(env.ReversePath)),
		obs.ForwardPath(envelope.ForwardPath(j.work.ForwardPath)), obs.Reply(reply), obs.Delay("total", took))
}
