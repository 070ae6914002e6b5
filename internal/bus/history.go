package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// historyWait is how long a read of the history waits for what must be there.
const historyWait = 2 * time.Second

// History calls each with the batches of trace events that were published between two times, in their order, until it
// returns false or ctx ends. How far back it goes is bounded by the configuration's trace_max_age and trace_max_bytes.
func (c *Conn) History(ctx context.Context, since, until time.Time, each func(payload []byte) bool) error {
	st, err := c.js.Stream(ctx, traceStream)
	if err != nil {
		return away(fmt.Errorf("look up the history: %w", err))
	}
	info := st.CachedInfo().State
	if info.Msgs == 0 || info.LastTime.Before(since) {
		return nil
	}
	consumer, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
	if err != nil {
		return away(fmt.Errorf("read the history: %w", err))
	}
	messages, err := consumer.Messages()
	if err != nil {
		return away(fmt.Errorf("read the history: %w", err))
	}
	defer messages.Stop()
	for {
		m, err := next(ctx, messages)
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the history: %w", err)
		}
		if meta.Timestamp.After(until) || !each(m.Data()) || meta.Sequence.Stream >= info.LastSeq {
			return nil
		}
	}
}

func next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, historyWait)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil && !errors.Is(err, context.Canceled) {
		err = away(fmt.Errorf("read the history: %w", err))
	}
	return m, err
}
