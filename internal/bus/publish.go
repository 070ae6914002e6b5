package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Publish puts work on a subject and returns once the stream has it. key chooses the partition.
func (c *Conn) Publish(ctx context.Context, s Subject, key uint64, payload []byte) error {
	if _, err := c.js.Publish(ctx, c.partition(s, key), payload); err != nil {
		return c.failed(fmt.Errorf("publish to %s: %w", s, err))
	}
	return nil
}

// PublishAll puts several pieces of work on a subject and returns once the stream has them all; keys and payloads pair up.
func (c *Conn) PublishAll(ctx context.Context, s Subject, keys []uint64, payloads [][]byte) error {
	acks := make([]jetstream.PubAckFuture, 0, len(payloads))
	for i, p := range payloads {
		ack, err := c.js.PublishAsync(c.partition(s, keys[i]), p)
		if err != nil {
			return c.failed(fmt.Errorf("publish to %s: %w", s, err))
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return c.failed(fmt.Errorf("publish to %s: %w", s, err))
		case <-ctx.Done():
			return c.failed(fmt.Errorf("publish to %s: %w", s, ctx.Err()))
		}
	}
	return nil
}

// failed counts a publish that failed and marks its error.
func (c *Conn) failed(err error) error {
	c.failures.Add(1)
	return away(err)
}

// Notify tells those who listen now; nothing is stored.
func (c *Conn) Notify(subject string, payload []byte) error {
	if err := c.nc.Publish(subject, payload); err != nil {
		return away(fmt.Errorf("notify %s: %w", subject, err))
	}
	return nil
}

// Listen calls f for each notice on subject, one at a time, until the returned function is called. f must not block long.
func (c *Conn) Listen(subject string, f func(subject string, payload []byte)) (stop func(), err error) {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { f(m.Subject, m.Data) })
	if err != nil {
		return nil, away(fmt.Errorf("listen to %s: %w", subject, err))
	}
	sub.SetPendingLimits(65536, 64<<20)
	return func() { sub.Unsubscribe() }, nil
}

func (c *Conn) partition(s Subject, key uint64) string {
	return partitionSubject(s, int(key%uint64(c.partitions().publish)))
}
