package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// readTime bounds reading one message from the blob store.
	readTime = time.Minute
	// publishTime bounds handing a batch on.
	publishTime = 20 * time.Second
	// retryDelay is the wait before work is tried again whose helpers were away.
	retryDelay = time.Second
	// missingFor is how long a frame that is not there is waited for; then its message goes on unjudged, since a frame that
	// was freed after its message was done never comes back.
	missingFor = 10 * time.Minute
	// chunk is how much of a body is read at once.
	chunk = 64 << 10
	// maxPayload is the largest message to the bus; of others only ids and verdict are sent.
	maxPayload = 256 << 10
)

// work is a piece of work from the bus; *bus.Work is one.
type work interface {
	Data() []byte
	Ack()
	Retry(delay time.Duration)
	Poison(reason error)
}

// job is a message from the bus being judged.
type job struct {
	work    work
	message *mailv1.Accepted
	id      envelope.QueueID
	// short tells that the message came without what its frame's tail has, and goes on so.
	short   bool
	payload []byte // what goes on
}

var errPoison = errors.New("not an accepted message")

// judge works on a batch: judge all at once, hand on together, let go. What fails for want of blob store or bus is tried
// again; only what cannot be decoded is poison.
func (s *Service) judge(ctx context.Context, jobs []*job) {
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		wg.Go(func() { errs[i] = s.prepare(ctx, j) })
	}
	wg.Wait()
	var ready []*job
	for i, j := range jobs {
		switch err := errs[i]; {
		case err == nil:
			ready = append(ready, j)
		case errors.Is(err, errPoison):
			j.work.Poison(err)
		default:
			s.retry(ctx, []*job{j}, "read", err)
		}
	}
	if len(ready) == 0 {
		return
	}
	fault.Point("filter.before-publish")
	if err := s.publish(ctx, ready); err != nil {
		s.retry(ctx, ready, "publish", err)
		return
	}
	fault.Point("filter.before-ack")
	for _, j := range ready {
		j.work.Ack()
	}
}

func (s *Service) retry(ctx context.Context, jobs []*job, step string, err error) {
	s.metrics.retried.Add(float64(len(jobs)))
	s.deps.Log.WarnContext(ctx, "judging postponed", "step", step, obs.Count(len(jobs)), obs.Error(err))
	for _, j := range jobs {
		j.work.Retry(retryDelay)
	}
}

func (s *Service) publish(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	keys, payloads := make([]uint64, len(jobs)), make([][]byte, len(jobs))
	for i, j := range jobs {
		keys[i], payloads[i] = ledger.QueueKey(j.id), j.payload
	}
	return s.deps.Bus.PublishAll(ctx, bus.Filtered, keys, payloads)
}

// prepare decodes a message, judges it unless that was done, and encodes it again.
func (s *Service) prepare(ctx context.Context, j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.ErrorContext(ctx, "judging panicked", obs.QueueID(j.id), obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
			err = fmt.Errorf("%w: panic: %v", errPoison, p)
		}
	}()
	j.message = &mailv1.Accepted{}
	if err := proto.Unmarshal(j.work.Data(), j.message); err != nil {
		return fmt.Errorf("%w: %w", errPoison, err)
	}
	id, err := envelope.QueueIDFrom(j.message.QueueId)
	if err != nil {
		return fmt.Errorf("%w: %w", errPoison, err)
	}
	j.id = id
	blobID, err := blob.IDFrom(j.message.BlobId)
	if err != nil {
		return fmt.Errorf("%w: message %s: %w", errPoison, id, err)
	}
	j.short = j.message.Envelope == nil
	if j.message.Verdict.GetAction() == mailv1.Action_ACTION_UNSPECIFIED {
		if err := s.judgeStored(ctx, j, blobID); err != nil {
			return fmt.Errorf("message %s: %w", id, err)
		}
	}
	return j.encode()
}

// encode makes what goes on; too large a message leaves to the frame's tail what that has.
func (j *job) encode() (err error) {
	m := j.message
	if !j.short {
		if j.payload, err = proto.Marshal(m); err != nil {
			return fmt.Errorf("%w: message %s: %w", errPoison, j.id, err)
		}
	}
	if j.short || len(j.payload) > maxPayload {
		j.payload, err = proto.Marshal(&mailv1.Accepted{QueueId: m.QueueId, BlobId: m.BlobId, Verdict: m.Verdict})
	}
	return err
}

// judgeStored reads a message from the blob store. An error says that the store is away.
func (s *Service) judgeStored(ctx context.Context, j *job, id blob.ID) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	frame, err := s.deps.Bodies.Open(ctx, id)
	if err == nil {
		defer frame.Close()
		err = s.readVerdict(ctx, j, frame)
	}
	missing := errors.Is(err, blob.ErrNotFound) && s.deps.Now().Sub(j.id.Time()) > missingFor
	if missing || errors.Is(err, blob.ErrCorrupt) {
		s.deps.Log.ErrorContext(ctx, "passed on unjudged", obs.QueueID(j.id), obs.Error(err))
		j.message.Verdict = unjudged("the stored message cannot be read")
		return nil
	}
	return err
}

// readVerdict judges an open frame, or takes the verdict that its tail has.
func (s *Service) readVerdict(ctx context.Context, j *job, frame *blob.Frame) error {
	env := j.message.Envelope
	if env == nil {
		var tail mailv1.FrameTail
		if err := proto.Unmarshal(frame.Meta.Tail, &tail); err != nil {
			return fmt.Errorf("%w: decode the tail: %w", blob.ErrCorrupt, err)
		}
		if tail.Verdict.GetAction() != mailv1.Action_ACTION_UNSPECIFIED {
			j.message.Verdict = tail.Verdict
			return nil
		}
		env = tail.Envelope
	}
	// What we made ourselves, and what our accounts sent, was not authenticated by SPF.
	trusted := frame.Meta.Kind == blob.Generated || env.GetClient().GetAccount() != ""
	v, err := s.examine(ctx, env, trusted, frame.Reader())
	if err != nil {
		return err
	}
	j.message.Verdict = v
	return nil
}

// examine judges a body. A panic on the way costs the message its verdict, not the process, and does not make it a dead
// letter: mail that cannot be judged is delivered.
func (s *Service) examine(ctx context.Context, env *mailv1.Envelope, trusted bool, body io.Reader) (v *mailv1.Verdict, err error) {
	e := s.begin(ctx, env, trusted)
	defer e.end()
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.ErrorContext(ctx, "judging panicked", queueID(env.GetQueueId()), obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
			v, err = unjudged("internal fault"), nil
		}
	}()
	buf := make([]byte, chunk)
	for {
		n, err := body.Read(buf)
		e.write(buf[:n])
		if errors.Is(err, io.EOF) {
			return e.finish(stageBus), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the body: %w", err)
		}
	}
}

func unjudged(why string) *mailv1.Verdict {
	return &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT, Reasons: []*mailv1.Reason{{Name: reasonUnjudged, Text: why}}}
}
