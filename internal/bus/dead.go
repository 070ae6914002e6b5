package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// DeadLetter is poison work with its place in the dead-letter stream.
type DeadLetter struct {
	Sequence uint64
	Letter   *mailv1.DeadLetter
}

// ListDead lists dead letters, oldest first, at most limit.
func (c *Conn) ListDead(ctx context.Context, limit int) ([]DeadLetter, error) {
	st, err := c.js.Stream(ctx, deadStream)
	if err != nil {
		return nil, away(fmt.Errorf("look up dead letters: %w", err))
	}
	state := st.CachedInfo().State
	var dead []DeadLetter
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq && len(dead) < limit; seq++ {
		d, err := getDead(ctx, st, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // retried already
		}
		if err != nil {
			return nil, err
		}
		dead = append(dead, d)
	}
	return dead, nil
}

// CountDead tells how many dead letters there are.
func (c *Conn) CountDead(ctx context.Context) (uint64, error) {
	st, err := c.js.Stream(ctx, deadStream)
	if err != nil {
		return 0, away(fmt.Errorf("look up dead letters: %w", err))
	}
	return st.CachedInfo().State.Msgs, nil
}

func getDead(ctx context.Context, st jetstream.Stream, seq uint64) (DeadLetter, error) {
	m, err := st.GetMsg(ctx, seq)
	if err != nil {
		return DeadLetter{}, away(fmt.Errorf("read dead letter %d: %w", seq, err))
	}
	var letter mailv1.DeadLetter
	if err := proto.Unmarshal(m.Data, &letter); err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %d: %w", seq, err)
	}
	return DeadLetter{Sequence: seq, Letter: &letter}, nil
}

// RetryDead puts a dead letter's work back on its subject and then removes the letter. key chooses the partition.
func (c *Conn) RetryDead(ctx context.Context, seq, key uint64) error {
	st, err := c.js.Stream(ctx, deadStream)
	if err != nil {
		return away(fmt.Errorf("look up dead letters: %w", err))
	}
	d, err := getDead(ctx, st, seq)
	if err != nil {
		return err
	}
	if err := c.Publish(ctx, Subject(d.Letter.Subject), key, d.Letter.Payload); err != nil {
		return fmt.Errorf("retry dead letter %d: %w", seq, err)
	}
	if err := st.DeleteMsg(ctx, seq); err != nil {
		return away(fmt.Errorf("remove dead letter %d: %w", seq, err))
	}
	return nil
}
