package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consumer says how a role takes work of one subject.
type Consumer struct {
	Subject Subject
	// Batch is how many pieces of work the handler is given at once at most. Default 64.
	Batch int
	// Held is how many pieces this process may hold at once, waiting or in hand. Default 4 × Batch.
	Held int
	// OnDead is told of work before it becomes a dead letter; an error keeps it on the bus.
	OnDead func(ctx context.Context, w *Work, reason string) error
}

// Handler works on a batch. Each piece of work ends by Ack, Retry or Poison, in the handler or later: as long as none was
// called, the bus is told that it is in hand. A panic counts against the piece that causes it.
type Handler func(ctx context.Context, batch []*Work)

// Consume takes work from all partitions of a subject until ctx ends; then it hands back what was not begun and returns
// once everything that was has ended. Partitions that are added meanwhile are taken from as well.
func (c *Conn) Consume(ctx context.Context, cons Consumer, handle Handler) error {
	def(&cons.Batch, 64)
	def(&cons.Held, 4*cons.Batch)
	var wg sync.WaitGroup
	defer wg.Wait()
	for taken := 0; ; {
		for ; taken < c.partitions().served; taken++ {
			t := &taker{c: c, cons: cons, handle: handle, partition: taken,
				queue: make(chan *Work, cons.Held), held: map[*Work]struct{}{}, poison: map[uint64]int{}}
			wg.Go(func() { t.run(ctx) })
		}
		if !sleep(ctx, layoutTime/2) {
			return nil
		}
	}
}

// taker takes the work of one partition.
type taker struct {
	c         *Conn
	cons      Consumer
	handle    Handler
	partition int
	queue     chan *Work

	mu     sync.Mutex
	held   map[*Work]struct{} // guarded by mu: taken and not ended
	poison map[uint64]int     // guarded by mu: how often a sequence panicked or could not be decoded
	done   sync.WaitGroup     // counts held
	// pause is how long to wait before the next batch, as the last one's retries asked.
	pause time.Duration // guarded by mu
}

// pullHeartbeat is how often the server gives a sign of life to a waiting consumer; without one for twice as long the
// consumer looks whether it still exists.
const pullHeartbeat = 2 * time.Second

// run takes work until ctx ends, also where a bus was wiped meanwhile and made anew.
func (t *taker) run(ctx context.Context) {
	stopBeats := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() { t.heartbeat(stopBeats) })
	for ctx.Err() == nil {
		cons := t.consumer(ctx)
		if cons == nil {
			break
		}
		if err := t.pull(ctx, cons); err != nil {
			t.c.log.Warn("bus consumer ended", "subject", string(t.cons.Subject), "error", err)
			sleep(ctx, time.Second)
		}
	}
	t.done.Wait()
	close(stopBeats)
	beats.Wait()
}

// consumer finds the partition's consumer, once it is there; nil once ctx has ended. On a bus of its own it makes it.
func (t *taker) consumer(ctx context.Context) jetstream.Consumer {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		cons, err := t.c.js.Consumer(ctx, streamName(t.cons.Subject), consumerName(t.cons.Subject, t.partition))
		if err == nil {
			return cons
		}
		if !t.c.shared() && t.c.setUp(ctx) == nil {
			continue
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// pull takes work by cons until ctx ends or the consumer is gone.
func (t *taker) pull(ctx context.Context, cons jetstream.Consumer) error {
	trouble := make(chan struct{}, 1)
	pulling, err := cons.Consume(t.take, jetstream.PullMaxMessages(t.cons.Held), jetstream.PullThresholdMessages(t.cons.Held/2),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(jetstream.ConsumeContext, error) {
			select {
			case trouble <- struct{}{}:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("take work of %s: %w", t.cons.Subject, err)
	}
	err = t.loop(ctx, trouble, pulling.Closed())
	pulling.Stop()
	// One more may be on its way from the library while it ends.
	for ended := false; !ended; {
		select {
		case w := <-t.queue:
			w.release(0)
		case <-pulling.Closed():
			ended = true
		}
	}
	t.handBack()
	return err
}

// errGone is a consumer that no longer exists: the bus was wiped.
var errGone = errors.New("the consumer is gone")

// gone tells whether the consumer does not exist; a bus that is away says nothing of that.
func (t *taker) gone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := t.c.js.Consumer(ctx, streamName(t.cons.Subject), consumerName(t.cons.Subject, t.partition))
	if err != nil && !isNotFound(err) {
		t.c.failures.Add(1) // Nodes without a majority leave the connection open: Probe asks whether they take work.
	}
	return isNotFound(err)
}

// take is called by the client library for each message, one at a time.
func (t *taker) take(m jetstream.Msg) {
	w := &Work{msg: m, taker: t, taken: time.Now()}
	t.mu.Lock()
	t.held[w] = struct{}{}
	t.done.Add(1)
	t.mu.Unlock()
	t.queue <- w
}

func (t *taker) loop(ctx context.Context, trouble, closed <-chan struct{}) error {
	batch := make([]*Work, 0, t.cons.Batch)
	for {
		select {
		case w := <-t.queue:
			batch = append(batch[:0], w)
		case <-trouble:
			if t.gone(ctx) {
				return errGone
			}
			continue
		case <-closed:
			return errGone
		case <-ctx.Done():
			return nil
		}
		batch = t.gather(batch)
		// Work in hand is finished even while draining: it has its own deadlines.
		t.call(context.WithoutCancel(ctx), batch)
		clear(batch)
		if d := t.takePause(); d > 0 && !sleep(ctx, d) {
			return nil
		}
	}
}

// gather adds what waits already; it never waits for more.
func (t *taker) gather(batch []*Work) []*Work {
	for len(batch) < t.cons.Batch {
		select {
		case w := <-t.queue:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// call runs the handler. If a batch panics, what had not ended is tried piece by piece, so that only the culprit counts.
func (t *taker) call(ctx context.Context, batch []*Work) {
	reason := t.guarded(ctx, batch)
	if reason == "" {
		return
	}
	for _, w := range batch {
		if w.ended.Load() {
			continue
		}
		if len(batch) > 1 {
			if reason = t.guarded(ctx, []*Work{w}); reason == "" {
				continue
			}
		}
		w.Poison(errors.New(reason))
	}
}

func (t *taker) guarded(ctx context.Context, batch []*Work) (panicked string) {
	defer func() {
		if p := recover(); p != nil {
			panicked = fmt.Sprintf("panic: %v", p)
			t.c.log.Error("work panicked", "subject", string(t.cons.Subject), "reason", panicked, "stack", string(debug.Stack()))
		}
	}()
	// The handler may keep or reorder what it is given.
	t.handle(ctx, append([]*Work(nil), batch...))
	return ""
}

func (t *taker) takePause() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.pause
	t.pause = 0
	return d
}

// handBack gives what was taken but not begun to the next process at once.
func (t *taker) handBack() {
	for {
		select {
		case w := <-t.queue:
			w.release(0)
		default:
			return
		}
	}
}

// heartbeat tells the bus of all work in hand, often enough that it is not given to another.
func (t *taker) heartbeat(stop <-chan struct{}) {
	tick := time.NewTicker(t.c.cfg.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			t.mu.Lock()
			for w := range t.held {
				if now.Sub(w.taken) > t.c.cfg.AckWait/4 {
					w.msg.InProgress()
				}
			}
			t.mu.Unlock()
		}
	}
}

// sleep waits and tells whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
