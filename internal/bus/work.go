package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Work is one piece of work in hand.
type Work struct {
	msg   jetstream.Msg
	taker *taker
	taken time.Time
	ended atomic.Bool
}

// Data is the payload; it must not be changed.
func (w *Work) Data() []byte { return w.msg.Data() }

// Ack ends the work: its effects are durable.
func (w *Work) Ack() {
	if w.end() {
		w.msg.Ack()
	}
}

// Retry gives the work back for another try after delay, without holding it against the work: something else was away.
// No new batch is begun in this process for as long.
func (w *Work) Retry(delay time.Duration) {
	w.taker.mu.Lock()
	w.taker.pause = max(w.taker.pause, delay)
	w.taker.mu.Unlock()
	w.release(delay)
}

func (w *Work) release(delay time.Duration) {
	if w.end() {
		w.msg.NakWithDelay(delay)
	}
}

// Poison says that the work itself is at fault: it cannot be decoded, or working on it panicked. The PoisonLimit-th time
// it becomes a dead letter with the reason; until then it is tried again.
func (w *Work) Poison(reason error) {
	t := w.taker
	seq := uint64(0)
	if md, err := w.msg.Metadata(); err == nil {
		seq = md.Sequence.Stream
	}
	t.mu.Lock()
	t.poison[seq]++
	times := t.poison[seq]
	t.mu.Unlock()
	if times < t.c.cfg.PoisonLimit {
		w.release(t.c.cfg.PoisonDelay << (times - 1))
		return
	}
	if err := w.bury(reason.Error(), uint32(times)); err != nil {
		t.c.log.Error("dead letter failed", "subject", string(t.cons.Subject), "reason", reason.Error(), "error", err)
		w.release(t.c.cfg.AckWait)
		return
	}
	t.mu.Lock()
	delete(t.poison, seq)
	t.mu.Unlock()
	w.Ack()
}

// bury writes the ledger's row first, then the dead letter.
func (w *Work) bury(reason string, times uint32) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	t := w.taker
	if t.cons.OnDead != nil {
		if err := t.cons.OnDead(ctx, w, reason); err != nil {
			return err
		}
	}
	letter, err := proto.Marshal(&mailv1.DeadLetter{
		Subject: string(t.cons.Subject), Payload: w.Data(), Reason: reason, TimeNs: time.Now().UnixNano(), Deliveries: times,
	})
	if err != nil {
		return err
	}
	switch _, err := t.c.js.Publish(ctx, deadSubject, letter); {
	case err != nil && t.cons.OnDead != nil && refused(err):
		// The row says what became of it. To try for ever would cost more than the letter is worth.
		t.c.log.Error("dead letter has no room and is dropped: look at the dead letters and remove what was dealt with",
			"subject", string(t.cons.Subject), "reason", reason, "octets", len(w.Data()), "error", err)
		return nil
	case err != nil:
		return err
	}
	t.c.log.Error("work became a dead letter", "subject", string(t.cons.Subject), "reason", reason)
	return nil
}

// refused tells that the server answered and did not take a message, as when its stream is full, or that it never could: the
// message is too large.
func refused(err error) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) || errors.Is(err, nats.ErrMaxPayload)
}

// end tells whether this call is the first to end the work.
func (w *Work) end() bool {
	if w.ended.Swap(true) {
		return false
	}
	t := w.taker
	t.mu.Lock()
	delete(t.held, w)
	t.mu.Unlock()
	t.done.Done()
	return true
}
