package acceptance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// chunkBytes is how much of a body the filter gets at once.
	chunkBytes = 32 << 10
	// filterRest is how long the filter is left alone once a message has waited for it in vain.
	filterRest = time.Second
)

// check is a message's call to the filter. Whatever goes wrong with it only means that there is no verdict yet.
type check struct {
	stream  grpc.ClientStreamingClient[filterv1.CheckRequest, filterv1.CheckResponse]
	cancel  context.CancelFunc
	timer   *time.Timer   // cancels a call that takes too long
	left    time.Duration // what may yet be spent on sending
	pending []byte        // not yet sent; given away with each request, since gRPC may look at it later
	done    bool          // the filter has heard enough; its answer waits
	err     error         // the first failure
}

var errFilterSlow = errors.New("filter is too slow")

// startCheck asks the filter; nil where it cannot be asked.
func (a *Acceptor) startCheck(ctx context.Context, env *mailv1.Envelope, trusted bool) *check {
	if a.deps.Filter == nil || a.deps.Now().UnixNano() < a.filterRests.Load() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &check{cancel: cancel, left: a.cfg.FilterTimeout}
	c.timer = time.AfterFunc(c.left, cancel)
	c.timed(func() (err error) {
		c.stream, err = a.deps.Filter.Check(ctx)
		return err
	})
	c.send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Start{
		Start: &filterv1.CheckStart{Envelope: env, Trusted: trusted},
	}})
	return c
}

// timed runs one step of sending within what is left of its time.
func (c *check) timed(step func() error) {
	if c.err != nil {
		return
	}
	c.timer.Reset(c.left)
	start := time.Now()
	c.err = step()
	stopped := c.timer.Stop()
	if c.left -= time.Since(start); !stopped || c.left <= 0 {
		c.err = errFilterSlow
	}
}

func (c *check) send(req *filterv1.CheckRequest) {
	c.timed(func() error {
		err := c.stream.Send(req)
		if errors.Is(err, io.EOF) {
			c.done = true // The call is over: by an answer or an error, which CloseAndRecv tells.
			return nil
		}
		return err
	})
}

func (c *check) write(p []byte) {
	if c.err != nil || c.done {
		return
	}
	c.pending = append(c.pending, p...)
	if len(c.pending) >= chunkBytes {
		c.flush()
	}
}

func (c *check) flush() {
	if len(c.pending) > 0 && !c.done {
		c.send(&filterv1.CheckRequest{Part: &filterv1.CheckRequest_Data{Data: c.pending}})
		c.pending = nil
	}
}

// closeSend ends the body.
func (c *check) closeSend() {
	c.flush()
	c.timed(func() error { return c.stream.CloseSend() })
}

// verdict waits for the answer, for wait at most.
func (c *check) verdict(wait time.Duration) (*mailv1.Verdict, error) {
	if c.err != nil {
		return nil, c.err
	}
	c.timer.Reset(wait)
	answer, err := c.stream.CloseAndRecv()
	if !c.timer.Stop() {
		return nil, errFilterSlow
	}
	return answer.GetVerdict(), err
}

// stop ends the call.
func (c *check) stop() {
	c.timer.Stop()
	c.cancel()
}

// verdict is the filter's, nil where it gave none in time: the message then goes to it by the bus.
func (m *Message) verdict(ctx context.Context) *mailv1.Verdict {
	if m.check == nil {
		m.a.metrics.checks.WithLabelValues("not asked").Inc()
		return nil
	}
	start := time.Now()
	v, err := m.check.verdict(m.a.cfg.FilterTimeout)
	m.a.metrics.wait.Observe(time.Since(start).Seconds())
	switch {
	case err != nil:
		outcome := "away"
		if errors.Is(err, errFilterSlow) {
			outcome = "slow"
			m.a.filterRests.Store(m.a.deps.Now().Add(filterRest).UnixNano())
		}
		m.a.metrics.checks.WithLabelValues(outcome).Inc()
		m.a.log(ctx, slog.LevelWarn, "accepting without verdict", obs.QueueID(m.id.QueueID), obs.Reason(outcome), obs.Error(err))
		return nil
	case v.GetAction() == mailv1.Action_ACTION_UNSPECIFIED:
		m.a.metrics.checks.WithLabelValues("undecided").Inc()
		return nil
	}
	m.a.metrics.checks.WithLabelValues("judged").Inc()
	v.InDialogue = true
	return v
}

// rejection is the reply where the verdict is to refuse the message, else nil.
func rejection(v *mailv1.Verdict) error {
	if v.GetAction() != mailv1.Action_ACTION_REJECT {
		return nil
	}
	// "550 5.7.1 text"
	fields := strings.SplitN(v.GetReply(), " ", 3)
	if len(fields) == 3 {
		code, err := strconv.Atoi(fields[0])
		if err == nil && code >= 400 && code <= 599 && len(fields[1]) >= 5 && fields[1][0] == fields[0][0] {
			return &reply.Error{Code: code, Enhanced: fields[1], Text: fields[2]}
		}
	}
	return reply.Permanent(550, "5.7.1", "message refused by policy")
}

// verdictName is for logs and traces.
func verdictName(v *mailv1.Verdict) string {
	if v == nil {
		return "none yet"
	}
	return strings.ToLower(strings.TrimPrefix(v.GetAction().String(), "ACTION_"))
}
