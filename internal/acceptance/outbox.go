package acceptance

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Bounds on what travels on the bus.
const (
	// maxIndexPayload is the largest part index that does; a reader finds others in the frame's tail.
	maxIndexPayload = 32 << 10
	// maxPayload is the largest message to the bus; instead of others only their ids are sent.
	maxPayload = 256 << 10
	// publishBatch is how many messages are published together.
	publishBatch = 256
	// wholePayloads is how many waiting messages keep their payload; those beyond are only remembered by their ids.
	wholePayloads = 1024
	// Waits between attempts while the bus is away.
	firstRetry, lastRetry = 100 * time.Millisecond, 5 * time.Second
)

// parcel is one message for the bus.
type parcel struct {
	subject bus.Subject
	key     uint64
	payload []byte
	queueID []byte
	blobID  []byte
}

// accepted makes the parcel of a message. Those with a verdict go past the filter.
func accepted(queueID []byte, id blob.ID, tail *mailv1.FrameTail) parcel {
	p := parcel{subject: bus.Accepted, key: binary.BigEndian.Uint64(queueID[8:]), queueID: queueID, blobID: id.Bytes()}
	if tail.GetVerdict() != nil {
		p.subject = bus.Filtered
	}
	msg := &mailv1.Accepted{
		QueueId: queueID, BlobId: p.blobID, Envelope: tail.GetEnvelope(), Verdict: tail.GetVerdict(), Overlay: tail.GetOverlay(),
	}
	if len(tail.GetPartIndex()) <= maxIndexPayload {
		msg.PartIndex = tail.GetPartIndex()
	}
	var err error
	if p.payload, err = proto.Marshal(msg); err != nil || len(p.payload) > maxPayload {
		p.shorten()
	}
	return p
}

// shorten leaves only the ids.
func (p *parcel) shorten() {
	// Two byte strings always encode.
	p.payload, _ = proto.Marshal(&mailv1.Accepted{QueueId: p.queueID, BlobId: p.blobID})
}

// outbox holds accepted messages until the bus has them.
type outbox struct {
	cfg     Config
	deps    Deps
	metrics *metrics

	mu      sync.Mutex
	waiting []parcel // guarded by mu: oldest first
	sending int      // guarded by mu: taken out of waiting, not yet confirmed
	wake    chan struct{}
}

func newOutbox(cfg Config, deps Deps, m *metrics) *outbox {
	o := &outbox{cfg: cfg, deps: deps, metrics: m, wake: make(chan struct{}, 1)}
	m.watchBacklog(deps.Metrics, func() float64 { return float64(o.len()) })
	return o
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) + o.sending
}

// add never waits.
func (o *outbox) add(p parcel) {
	o.mu.Lock()
	if len(o.waiting) >= wholePayloads {
		p.shorten()
	}
	o.waiting = append(o.waiting, p)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends, then tries once more what waits.
func (o *outbox) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	wait := firstRetry
	for ctx.Err() == nil {
		err := o.publishAll(ctx)
		if err == nil {
			wait = firstRetry
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
			continue
		}
		o.metrics.publishFailures.Inc()
		o.deps.Log.LogAttrs(ctx, slog.LevelWarn, "publish failed", obs.Count(o.len()), obs.Error(err))
		retry.Reset(wait)
		wait = min(2*wait, lastRetry)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.cfg.PublishTimeout)
	defer cancel()
	if err := o.publishAll(ctx); err != nil {
		o.deps.Log.LogAttrs(ctx, slog.LevelWarn, "left to recovery", obs.Count(o.len()), obs.Error(err))
	}
	return nil
}

// publishAll empties the outbox, or stops at the first error.
func (o *outbox) publishAll(ctx context.Context) error {
	for {
		batch := o.take()
		if len(batch) == 0 {
			return nil
		}
		err := o.publish(ctx, batch)
		o.settle(batch, err)
		if err != nil {
			return err
		}
	}
}

// take takes the oldest parcels out that share a subject.
func (o *outbox) take() []parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(o.waiting) && n < publishBatch && o.waiting[n].subject == o.waiting[0].subject {
		n++
	}
	batch := o.waiting[:n:n]
	o.waiting = o.waiting[n:]
	if len(o.waiting) == 0 {
		o.waiting = nil
	}
	o.sending += n
	return batch
}

func (o *outbox) publish(ctx context.Context, batch []parcel) error {
	keys := make([]uint64, len(batch))
	payloads := make([][]byte, len(batch))
	for i, p := range batch {
		keys[i], payloads[i] = p.key, p.payload
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.PublishTimeout)
	defer cancel()
	return o.deps.Bus.PublishAll(ctx, batch[0].subject, keys, payloads)
}

// settle forgets what the bus has, and puts back what it may not have: twice is better than never.
func (o *outbox) settle(batch []parcel, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending -= len(batch)
	if err != nil {
		o.waiting = append(batch, o.waiting...)
	}
}
