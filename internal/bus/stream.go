package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func streamName(s Subject) string {
	return strings.ToUpper(strings.ReplaceAll(string(s), ".", "_"))
}

const (
	deadStream  = "MAIL_DEAD"
	traceStream = "TRACE"
)

// consumerName names the durable consumer of a partition: one per subject, shared by all processes of the role.
func consumerName(s Subject, p int) string {
	return strings.ReplaceAll(partitionSubject(s, p), ".", "_")
}

// setUp makes or updates streams and consumers. Doing it again changes nothing.
func (c *Conn) setUp(ctx context.Context) error {
	served, err := c.served(ctx)
	if err != nil {
		return fmt.Errorf("look at the bus: %w", err)
	}
	l := layout{publish: c.cfg.Partitions, served: served}
	for _, s := range slices.Backward(c.streams(l)) { // the first one holds the layout: it comes last
		if _, err := c.js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	if _, err := c.js.CreateOrUpdateKeyValue(ctx, c.bucket(Bans)); err != nil {
		return fmt.Errorf("bucket %s: %w", Bans, err)
	}
	for _, s := range WorkSubjects {
		for p := range l.served {
			if err := c.consumer(ctx, s, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// streams are all streams as they should be.
func (c *Conn) streams(l layout) []jetstream.StreamConfig {
	l.publish = c.cfg.Partitions
	all := make([]jetstream.StreamConfig, 0, len(WorkSubjects)+2)
	add := func(s jetstream.StreamConfig, l *layout) {
		s.Storage = jetstream.FileStorage
		s.Replicas = c.cfg.Replicas
		s.Duplicates = time.Second // nothing here carries a Nats-Msg-Id: effects are made once by the ledger
		all = append(all, c.withMetadata(s, l))
	}
	for _, s := range WorkSubjects {
		// Limits retention: a work queue's deletes cost more than they give back (design §7).
		add(jetstream.StreamConfig{
			Name: streamName(s), Subjects: []string{string(s) + ".*"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxAge: c.cfg.MaxAge, MaxBytes: c.cfg.MaxBytes,
		}, &l)
	}
	add(jetstream.StreamConfig{Name: deadStream, Subjects: []string{deadSubject}, Discard: jetstream.DiscardNew, MaxBytes: 1 << 30}, nil)
	add(jetstream.StreamConfig{
		Name: traceStream, Subjects: []string{TraceAll}, Discard: jetstream.DiscardOld, MaxAge: c.cfg.TraceMaxAge, MaxBytes: c.cfg.TraceMaxBytes,
	}, nil)
	return all
}

func (c *Conn) consumer(ctx context.Context, s Subject, p int) error {
	_, err := c.js.CreateOrUpdateConsumer(ctx, streamName(s), jetstream.ConsumerConfig{
		Durable:       consumerName(s, p),
		FilterSubject: partitionSubject(s, p),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: c.cfg.MaxAckPending,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("consumer of %s: %w", partitionSubject(s, p), err)
	}
	return nil
}

// Backlog is how much work of a subject waits or is in hand.
func (c *Conn) Backlog(ctx context.Context, s Subject) (uint64, error) {
	var n uint64
	err := c.eachConsumer(ctx, s, func(i *jetstream.ConsumerInfo) {
		n += i.NumPending + uint64(i.NumAckPending)
	})
	return n, err
}

func (c *Conn) eachConsumer(ctx context.Context, s Subject, each func(*jetstream.ConsumerInfo)) error {
	for p := range c.partitions().served {
		cons, err := c.js.Consumer(ctx, streamName(s), consumerName(s, p))
		if err != nil {
			return away(fmt.Errorf("look up the consumer of %s: %w", partitionSubject(s, p), err))
		}
		each(cons.CachedInfo())
	}
	return nil
}

// Mark is a place in a subject's stream.
type Mark struct {
	Subject Subject
	// Stream tells one life of the stream from another: a wiped bus has a new one.
	Stream time.Time
	// Sequence is of the last message published so far.
	Sequence uint64
}

// Mark notes where a subject's stream ends now.
func (c *Conn) Mark(ctx context.Context, s Subject) (Mark, error) {
	st, err := c.js.Stream(ctx, streamName(s))
	if err != nil {
		return Mark{}, away(fmt.Errorf("look up the stream of %s: %w", s, err))
	}
	i := st.CachedInfo()
	return Mark{Subject: s, Stream: i.Created, Sequence: i.State.LastSeq}, nil
}

// Passed tells whether all consumers have acknowledged everything up to the mark. sameStream is false where the stream
// is another one by now: what was before the mark is gone.
func (c *Conn) Passed(ctx context.Context, m Mark) (passed, sameStream bool, err error) {
	now, err := c.Mark(ctx, m.Subject)
	if err != nil {
		return false, false, err
	}
	if !now.Stream.Equal(m.Stream) {
		return false, false, nil
	}
	passed = true
	err = c.eachConsumer(ctx, m.Subject, func(i *jetstream.ConsumerInfo) {
		idle := i.NumPending == 0 && i.NumAckPending == 0
		passed = passed && (idle || i.AckFloor.Stream >= m.Sequence)
	})
	return passed && err == nil, true, err
}

// isNotFound tells whether a stream or consumer is not there.
func isNotFound(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// away marks errors that say nothing of the work, only of the bus.
func away(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}
