package acceptance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Lengths of what the envelope tells of a message.
const (
	maxMessageID = 998 // octets
	maxSubject   = 200 // characters
)

// noBody is a frame with a body of its own.
var noBody blob.ID

// queueID is an envelope's, decoded.
type queueID struct{ envelope.QueueID }

func (id *queueID) from(env *mailv1.Envelope) (err error) {
	id.QueueID, err = envelope.QueueIDFrom(env.GetQueueId())
	return err
}

// Message is one message while it arrives: an smtpd.Message. Not for concurrent use.
type Message struct {
	a       *Acceptor
	id      queueID
	env     *mailv1.Envelope
	opts    Options
	began   time.Time
	draft   blob.Draft
	indexer *message.Indexer // nil once the message is over
	check   *check           // nil where nobody is asked
}

// Write takes the next octets of the body.
func (m *Message) Write(p []byte) (int, error) {
	if n, err := m.draft.Write(p); err != nil {
		return n, m.a.storeError("write body", err)
	}
	m.indexer.Write(p)
	if m.check != nil {
		m.check.write(p)
	}
	return len(p), nil
}

// Abort drops everything.
func (m *Message) Abort() { m.release() }

// release gives back what the message holds; what was committed stays.
func (m *Message) release() {
	if m.indexer == nil {
		return
	}
	if m.check != nil {
		m.check.stop()
	}
	m.draft.Discard()
	m.a.indexers.Put(m.indexer)
	m.indexer = nil
}

// Commit decides about the message. Without an error it is durable, and receipt is for the 250.
//
// Errors are replies: 550 for the filter's refusal, 554 5.4.6 for a loop, 452 4.3.1 for a full store: nothing of the
// message is kept. After any other error of the store the outcome is unknown (451).
func (m *Message) Commit(ctx context.Context) (receipt string, err error) {
	defer m.release()
	if m.check != nil {
		m.check.closeSend() // It may think while we index.
	}
	ix, err := m.indexer.Finish()
	if err != nil {
		return "", fmt.Errorf("index message: %w", err)
	}
	m.describe(ix)
	if err := m.refusal(ix); err != nil {
		m.refused(ctx, "content", err)
		return "", err
	}
	verdict := m.verdict(ctx)
	if err := rejection(verdict); err != nil {
		m.refused(ctx, "filter", err)
		return "", err
	}
	tail := &mailv1.FrameTail{
		Envelope: m.env, Verdict: verdict, Overlay: m.overlay(ix).Proto(), PartIndex: ix.Encode(nil),
	}
	id, err := m.commit(ctx, tail)
	if err != nil {
		m.refused(ctx, "store", err)
		return "", err
	}
	fault.Point(m.a.points.afterCommit)
	m.a.outbox.add(accepted(m.env.GetQueueId(), id, tail))
	fault.Point(m.a.points.afterPublish)
	m.accepted(ctx, verdict)
	return "queued as " + m.id.String(), nil
}

// describe fills in what only the body tells.
func (m *Message) describe(ix *message.Index) {
	m.env.Kind = mailv1.Kind_KIND_ACCEPTED
	m.env.AcceptedNs = m.a.deps.Now().UnixNano()
	m.env.Size = ix.Size
	m.env.Hops = uint32(ix.Hops)
	m.env.EightBit = m.env.EightBit && ix.Flags&message.EightBit != 0
	m.env.MessageId = validText(ix.MessageID(), maxMessageID)
	m.env.Subject = cutRunes(validText(ix.Subject(), 4*maxSubject), maxSubject)
}

// refusal is what the header alone decides.
func (m *Message) refusal(ix *message.Index) error {
	switch {
	case ix.Hops >= m.a.cfg.MaxHops:
		return reply.Permanent(554, "5.4.6", "message loops: too many Received fields")
	case m.opts.Complete && ix.Flags&message.Truncated != 0:
		return reply.Permanent(554, "5.6.0", "header is too large") // Bcc may hide where nobody looks.
	}
	return nil
}

// commit makes the frame durable.
func (m *Message) commit(ctx context.Context, tail *mailv1.FrameTail) (blob.ID, error) {
	encoded, err := proto.Marshal(tail)
	if err != nil {
		return blob.ID{}, fmt.Errorf("encode tail of %s: %w", m.id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.a.cfg.CommitTimeout)
	defer cancel()
	fault.Point(m.a.points.beforeCommit)
	start := time.Now()
	id, err := m.draft.Commit(ctx, blob.Meta{Kind: blob.Accepted, QueueID: m.id.QueueID, Tail: encoded})
	m.a.metrics.commit.Observe(time.Since(start).Seconds())
	if err != nil {
		return blob.ID{}, m.a.storeError("commit frame", err)
	}
	return id, nil
}

// storeError is the reply to a failure of the blob store.
func (a *Acceptor) storeError(doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	if errors.Is(err, blob.ErrFull) {
		return reply.Transient(452, "4.3.1", "mail system full").Because(err)
	}
	return err // no verdict: 451 4.3.0
}

// accepted tells log, metrics and trace.
func (m *Message) accepted(ctx context.Context, verdict *mailv1.Verdict) {
	took := m.a.deps.Now().Sub(m.began)
	m.a.metrics.accepted.Inc()
	m.a.metrics.octets.Add(float64(m.env.GetSize()))
	m.a.log(ctx, slog.LevelInfo, "accepted", obs.QueueID(m.id.QueueID), obs.ConnID(m.env.GetClient().GetConnId()),
		obs.ReversePath(envelope.ReversePath(m.env.GetReversePath())), obs.Count(len(m.env.GetRecipients())),
		obs.Size(m.env.GetSize()), obs.MessageID(m.env.GetMessageId()), obs.Client(m.env.GetClient().GetAddress()),
		slog.String("verdict", verdictName(verdict)), obs.Delay("receive", took))
	m.trace("accepted", verdictName(verdict), took)
}

// refused tells log, metrics and trace.
func (m *Message) refused(ctx context.Context, why string, err error) {
	r := reply.Of(err)
	m.a.metrics.refused.WithLabelValues(why).Inc()
	level := slog.LevelInfo
	if why == "store" {
		level = slog.LevelError
	}
	m.a.log(ctx, level, "refused", obs.QueueID(m.id.QueueID), obs.ConnID(m.env.GetClient().GetConnId()),
		obs.ReversePath(envelope.ReversePath(m.env.GetReversePath())), obs.Count(len(m.env.GetRecipients())),
		obs.Client(m.env.GetClient().GetAddress()), obs.Reply(r.String()), obs.Error(err))
	m.trace("refused", r.String(), m.a.deps.Now().Sub(m.began))
}

func (m *Message) trace(event, detail string, took time.Duration) {
	ev := &mailv1.TraceEvent{
		TimeNs: m.a.deps.Now().UnixNano(), Stage: "smtp", Event: event, QueueId: m.env.GetQueueId(),
		ConnId: m.env.GetClient().GetConnId(), ReversePath: m.env.GetReversePath(), Detail: detail,
		MessageId: m.env.GetMessageId(), Client: m.env.GetClient().GetAddress(), DurationUs: took.Microseconds(),
	}
	if rcpts := m.env.GetRecipients(); len(rcpts) == 1 {
		ev.ForwardPath = rcpts[0].GetForwardPath()
	}
	m.a.deps.Trace.Emit(ev)
}
