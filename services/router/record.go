package router

import (
	"context"
	"fmt"
	"hash/fnv"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// maxRecord is how much one Record call carries at most, octets, unless one message alone is more: its answer tells the same
// rows with what became of them, and each has room for a reply.
const maxRecord = rpc.MaxMessage / 4

// record enters the jobs in the ledger and returns those that are to be hinted, with their rows as they stand there. After
// an error it returns all jobs: what was entered already is not entered again.
func (s *Service) record(ctx context.Context, jobs []*job) ([]*job, error) {
	messages := make([]*storev1.Routed, 0, len(jobs))
	for _, j := range jobs {
		number(j)
		children, err := s.bounce(ctx, j)
		if err != nil {
			return jobs, err
		}
		messages = append(messages, &storev1.Routed{Message: j.message, Recipients: j.rows, Children: children})
	}
	recorded := make([]*job, 0, len(jobs))
	fault.Point("router.before-record")
	for done := 0; done < len(jobs); {
		results, err := s.enter(ctx, messages[done:])
		if err != nil {
			return jobs, err
		}
		for _, r := range results {
			j := jobs[done]
			done++
			if r.Conflict {
				s.deps.Log.ErrorContext(ctx, "queue id exists with another body", obs.QueueID(j.id))
				j.work.Poison(fmt.Errorf("queue id %s exists in the ledger with another body", j.id))
				continue
			}
			j.rows = r.Recipients
			recorded = append(recorded, j)
		}
		fault.Point("router.after-record")
	}
	return recorded, nil
}

// enter records the first of messages, as many as go into one call and its answer: one at least.
func (s *Service) enter(ctx context.Context, messages []*storev1.Routed) ([]*storev1.RecordResult, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	messages = messages[:rpc.Fits(messages, maxRecord)]
	resp, err := s.deps.Ledger.Record(ctx, &storev1.RecordRequest{Messages: messages})
	if err != nil {
		return nil, fmt.Errorf("record %d messages: %w", len(messages), err)
	}
	if n := len(resp.Results); n == 0 || n > len(messages) {
		return nil, fmt.Errorf("record %d messages: got %d results", len(messages), n)
	}
	return resp.Results, nil
}

// number gives the rows that aliases added the numbers behind the envelope's own. The order of rows is that of the look-up,
// so that the same message gets the same numbers again.
func number(j *job) {
	next := uint32(0)
	for _, r := range j.message.Envelope.Recipients {
		next = max(next, r.Number+1)
	}
	for _, row := range j.rows {
		if row.Original != "" {
			row.Number = next
			next++
		}
	}
}

// bounce writes the DSN about what was refused here.
func (s *Service) bounce(ctx context.Context, j *job) ([]*mailv1.Accepted, error) {
	var refused []*storev1.RecipientRow
	for _, row := range j.rows {
		if row.State == storev1.State_STATE_BOUNCED {
			refused = append(refused, row)
		}
	}
	if len(refused) == 0 {
		return nil, nil
	}
	child, err := s.deps.Bounces.Bounce(ctx, j.message, refused)
	if err != nil {
		return nil, fmt.Errorf("bounce %s: %w", j.id, err)
	}
	if child == nil {
		return nil, nil
	}
	fault.Point("router.after-bounce")
	return []*mailv1.Accepted{child}, nil
}

// hint publishes the work that the ledger now holds. A hint that is lost is published again by the sweep.
func (s *Service) hint(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var local, remote hints
	for _, j := range jobs {
		groups := map[string]bool{}
		for _, row := range j.rows {
			switch {
			case row.State != storev1.State_STATE_QUEUED:
			case row.Destination == storev1.Destination_DESTINATION_LOCAL:
				if err := local.add(row.Account, localWork(j, row)); err != nil {
					return err
				}
			case row.Destination == storev1.Destination_DESTINATION_REMOTE && !groups[row.Group]:
				groups[row.Group] = true
				work := &mailv1.RemoteWork{QueueId: j.message.QueueId, Group: row.Group, Generation: row.Generation}
				if err := remote.add(groupKey(row.Group), work); err != nil {
					return err
				}
			}
		}
	}
	if err := s.deps.Bus.PublishAll(ctx, bus.Local, local.keys, local.payloads); err != nil {
		return err
	}
	fault.Point("router.between-hints")
	if err := s.deps.Bus.PublishAll(ctx, bus.Remote, remote.keys, remote.payloads); err != nil {
		return err
	}
	fault.Point("router.after-hints")
	return nil
}

type hints struct {
	keys     []uint64
	payloads [][]byte
}

func (h *hints) add(key uint64, m proto.Message) error {
	payload, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a hint: %w", err)
	}
	h.keys, h.payloads = append(h.keys, key), append(h.payloads, payload)
	return nil
}

// maxCarried is how much of a message a local hint carries at most, octets; above it delivery asks the ledger.
const maxCarried = 64 << 10

func localWork(j *job, row *storev1.RecipientRow) *mailv1.LocalWork {
	w := &mailv1.LocalWork{
		QueueId: j.message.QueueId, Number: row.Number, Generation: row.Generation, Account: row.Account,
		ForwardPath: row.ForwardPath, Detail: row.Detail, Notify: row.Notify, Orcpt: row.Orcpt,
	}
	if j.size <= maxCarried {
		m := j.message
		// The other recipients are none of this mailbox's business.
		w.Message = &mailv1.Accepted{
			QueueId: m.QueueId, BlobId: m.BlobId, Envelope: withoutRecipients(m.Envelope),
			Verdict: m.Verdict, Overlay: m.Overlay, PartIndex: m.PartIndex,
		}
	}
	return w
}

func withoutRecipients(e *mailv1.Envelope) *mailv1.Envelope {
	return &mailv1.Envelope{
		QueueId: e.QueueId, ReversePath: e.ReversePath, Ret: e.Ret, Envid: e.Envid, Smtputf8: e.Smtputf8, EightBit: e.EightBit,
		AcceptedNs: e.AcceptedNs, Client: e.Client, Parent: e.Parent, Hops: e.Hops, MessageId: e.MessageId, Size: e.Size,
		Subject: e.Subject, Kind: e.Kind,
	}
}

func groupKey(group string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(group))
	return h.Sum64()
}

// tell writes the log and trace of a routed message.
func (s *Service) tell(ctx context.Context, j *job) {
	took := s.deps.Now().Sub(j.began)
	for _, row := range j.rows {
		s.metrics.recipients.WithLabelValues(stateName(row.State)).Inc()
		s.deps.Trace.Emit(&mailv1.TraceEvent{
			Stage: "router", Event: stateName(row.State), QueueId: j.message.QueueId, ReversePath: j.message.Envelope.ReversePath,
			ForwardPath: row.ForwardPath, Detail: destination(row), MessageId: j.message.Envelope.MessageId,
			Client: j.message.Envelope.GetClient().GetAddress(), DurationUs: took.Microseconds(),
		})
		if row.State == storev1.State_STATE_BOUNCED {
			s.deps.Log.InfoContext(ctx, "bounced", obs.QueueID(j.id), obs.ReversePath(envelope.ReversePath(j.message.Envelope.ReversePath)),
				obs.ForwardPath(envelope.ForwardPath(row.ForwardPath)), obs.Reply(row.LastReply))
		}
	}
	s.deps.Log.DebugContext(ctx, "routed", obs.QueueID(j.id), obs.Count(len(j.rows)), obs.Delay("router", took))
}

func stateName(st storev1.State) string {
	switch st {
	case storev1.State_STATE_QUEUED:
		return "routed"
	case storev1.State_STATE_BOUNCED:
		return "bounced"
	case storev1.State_STATE_EXPANDED:
		return "expanded"
	case storev1.State_STATE_DISCARDED:
		return "discarded"
	case storev1.State_STATE_QUARANTINED:
		return "quarantined"
	}
	return "settled"
}

func destination(row *storev1.RecipientRow) string {
	switch row.Destination {
	case storev1.Destination_DESTINATION_LOCAL:
		return fmt.Sprintf("mailbox of account %d", row.Account)
	case storev1.Destination_DESTINATION_REMOTE:
		return "next hop " + row.Group
	}
	return row.LastReply
}
