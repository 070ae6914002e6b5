package filter

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// answerMargin is how much of a caller's deadline is left for the answer's way back.
const answerMargin = 200 * time.Millisecond

// exam is one message being judged: begin, write, finish, end.
type exam struct {
	s       *Service
	env     *mailv1.Envelope
	trusted bool
	skipped bool // the client's address says nothing

	ctx    context.Context
	cancel context.CancelFunc

	header  mailauth.Header
	headed  bool
	authors mailauth.Authors
	gtube   gtubeFinder
	size    int64

	spf     *mailauth.SPF   // nil where nobody asks
	dkim    *mailauth.DKIM  // nil without signatures
	dmarc   *mailauth.DMARC // nil where nobody asks
	sender  mailauth.SPFResult
	signed  []mailauth.DKIMResult
	policy  mailauth.DMARCResult
	verdict *mailv1.Verdict
	floor   mailv1.Action // the mildest action, whatever the score
	refusal string        // why floor is REJECT
}

// begin starts to judge a message. ctx bounds it; the caller ends it by end.
func (s *Service) begin(ctx context.Context, env *mailv1.Envelope, trusted bool) *exam {
	if env == nil {
		env = &mailv1.Envelope{}
	}
	e := s.exams.Get().(*exam)
	e.header.Reset(s.forged)
	e.gtube.reset()
	e.env, e.trusted, e.headed, e.size = env, trusted, false, 0
	e.verdict = &mailv1.Verdict{Reasons: make([]*mailv1.Reason, 0, 8)}
	e.floor, e.refusal = mailv1.Action_ACTION_ACCEPT, ""
	e.spf, e.dkim, e.dmarc = nil, nil, nil
	e.authors = mailauth.Authors{}
	e.sender, e.signed, e.policy = mailauth.SPFResult{}, nil, mailauth.DMARCResult{}
	e.ctx, e.cancel = context.WithCancel(ctx)
	client, err := netip.ParseAddr(env.GetClient().GetAddress())
	client = client.Unmap()
	// Without a client's address (LMTP over a Unix socket, say) there is nothing to hold against the sender's domain.
	e.skipped = !trusted && (err != nil || s.skips(client))
	if !trusted && !e.skipped {
		e.spf = mailauth.StartSPF(e.ctx, s.deps.Resolve, client, env.GetClient().GetHelo(), env.ReversePath)
	}
	return e
}

func (s *Service) skips(client netip.Addr) bool {
	for _, n := range s.cfg.SkipNetworks {
		if n.Contains(client) {
			return true
		}
	}
	return false
}

// write takes the next octets of the message.
func (e *exam) write(p []byte) {
	e.size += int64(len(p))
	if !e.headed {
		p = p[e.header.Write(p):]
		if !e.header.Done() {
			return
		}
		e.head()
	}
	if len(p) > 0 {
		e.gtube.write(p)
		if e.dkim != nil {
			e.dkim.Write(p)
		}
	}
}

// head begins what the whole header is needed for.
func (e *exam) head() {
	e.headed = true
	if e.trusted {
		return
	}
	e.dkim = mailauth.StartDKIM(e.ctx, e.s.deps.Resolve, &e.header, e.s.deps.Now())
	e.authors = mailauth.From(&e.header)
	if !e.skipped {
		e.dmarc = mailauth.StartDMARC(e.ctx, e.s.deps.Resolve, e.authors)
	}
}

// finish says that the message has ended and gives the verdict, at Config.Deadline from now at the latest.
func (e *exam) finish(stage string) *mailv1.Verdict {
	began := time.Now()
	if !e.headed {
		e.header.Close()
		e.head()
	}
	patience := e.s.cfg.Deadline
	if d, ok := e.ctx.Deadline(); ok {
		patience = min(patience, max(time.Until(d)-answerMargin, 0))
	}
	timer := time.AfterFunc(patience, e.cancel) // look-ups that have not ended then are temperrors
	if e.spf != nil {
		e.sender = e.spf.Finish()
	}
	if e.dkim != nil {
		e.signed = e.dkim.Finish()
	}
	if e.dmarc != nil {
		e.policy = e.dmarc.Finish(e.sender, e.signed, e.sample())
	}
	timer.Stop()
	e.conclude(stage)
	e.s.metrics.judged(stage, e.verdict, time.Since(began))
	e.tell(time.Since(began))
	return e.verdict
}

// sample is where the message falls under a policy's percentage: the same each time it is judged.
func (e *exam) sample() int {
	if len(e.env.QueueId) < 4 {
		return 0
	}
	return int(binary.BigEndian.Uint32(e.env.QueueId[len(e.env.QueueId)-4:]) % 100)
}

// end gives up what is under way and the exam itself. To be called once, whatever happened.
func (e *exam) end() {
	e.cancel()
	if e.spf != nil {
		e.spf.Finish()
	}
	if e.dkim != nil {
		e.dkim.Wait()
	}
	if e.dmarc != nil {
		e.dmarc.Wait()
	}
	e.env, e.verdict, e.ctx = nil, nil, nil
	e.s.exams.Put(e)
}

// tell puts the verdict on record.
func (e *exam) tell(took time.Duration) {
	b := make([]byte, 0, 128)
	b = append(append(b, actionName(e.verdict.Action)...), ' ')
	b = strconv.AppendFloat(b, e.verdict.Score, 'f', 1, 64)
	for _, r := range e.verdict.Reasons {
		b = append(append(b, ' '), r.Name...)
	}
	detail := string(b)
	e.s.deps.Trace.Emit(&mailv1.TraceEvent{
		TimeNs: e.s.deps.Now().UnixNano(), Stage: "filter", Event: "judged", QueueId: e.env.QueueId, ConnId: e.env.GetClient().GetConnId(),
		ReversePath: e.env.ReversePath, MessageId: e.env.MessageId, Client: e.env.GetClient().GetAddress(), Detail: detail, DurationUs: took.Microseconds(),
	})
	level := slog.LevelDebug
	if e.verdict.Action != mailv1.Action_ACTION_ACCEPT {
		level = slog.LevelInfo
	}
	if e.s.deps.Log.Enabled(e.ctx, level) {
		e.s.deps.Log.LogAttrs(e.ctx, level, "judged", queueID(e.env.QueueId), obs.ReversePath(reversePath(e.env)),
			obs.Reason(detail), obs.Delay("filter", took))
	}
}
