package trace_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/trace"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire takes what is published.
type wire struct {
	mu      sync.Mutex
	batches map[string][]*mailv1.TraceBatch // by subject
	sizes   []int
	times   []time.Time
	follow  map[string]int
	fail    error
}

func (w *wire) Notify(subject string, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	if strings.HasPrefix(subject, "follow.") {
		w.follow[subject]++
		return proto.Unmarshal(payload, &mailv1.TraceEvent{})
	}
	var b mailv1.TraceBatch
	if err := proto.Unmarshal(payload, &b); err != nil {
		return err
	}
	w.batches[subject] = append(w.batches[subject], &b)
	w.sizes = append(w.sizes, len(payload))
	w.times = append(w.times, time.Now())
	return nil
}

func newWire() *wire {
	return &wire{batches: map[string][]*mailv1.TraceBatch{}, follow: map[string]int{}}
}

// events counts what was published, by subject.
func (w *wire) events(subject string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.batches[subject] {
		n += len(b.Events)
	}
	return n
}

// of are the batches of a subject.
func (w *wire) of(subject string) []*mailv1.TraceBatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.batches[subject]
}

// published are the times of all batches.
func (w *wire) published() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times
}

// TestBatches: one publish per stage every few milliseconds, or as soon as there is much; events keep their order.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		e := trace.New(w, "host.example")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		began := time.Now()
		for i := range 10 {
			e.Emit(&mailv1.TraceEvent{Stage: "smtp", Detail: fmt.Sprint(i)})
			e.Emit(&mailv1.TraceEvent{Stage: "local", Detail: fmt.Sprint(i)})
		}
		synctest.Wait()
		if n := w.events("trace.smtp"); n != 0 {
			t.Error("published at once")
		}
		time.Sleep(10 * time.Millisecond) // of the bubble
		synctest.Wait()
		for _, subject := range []string{"trace.smtp", "trace.local"} {
			b := w.of(subject)
			if len(b) != 1 || len(b[0].Events) != 10 {
				t.Fatalf("%s: %d batches", subject, len(b))
			}
			for i, ev := range b[0].Events {
				if ev.Detail != fmt.Sprint(i) || ev.Host != "host.example" || ev.TimeNs != began.UnixNano() {
					t.Errorf("event %d: %v", i, ev)
				}
			}
		}
		if waited := w.published()[0].Sub(began); waited != 5*time.Millisecond {
			t.Errorf("published after %v", waited)
		}
		// Much goes at once.
		for range 512 {
			e.Emit(&mailv1.TraceEvent{Stage: "filter"})
		}
		synctest.Wait()
		if n := w.events("trace.filter"); n != 512 {
			t.Errorf("%d of 512 were published at once", n)
		}
		// A pause begins no batch, and what comes after it waits its own time.
		time.Sleep(time.Second)
		began = time.Now()
		e.Emit(&mailv1.TraceEvent{Stage: "store"})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		times := w.published()
		if waited := times[len(times)-1].Sub(began); waited != 5*time.Millisecond || len(times) != 4 {
			t.Errorf("published after %v, %d times in all", waited, len(times))
		}
		cancel()
		if err := <-done; err != nil || e.Dropped() != 0 {
			t.Errorf("%v, %d dropped", err, e.Dropped())
		}
	})
}

// TestNothingIsLostAtTheEnd: what was taken before the end is published, however much it is.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	w := newWire()
	e := trace.New(w, "h")
	const n = 16384
	for range n {
		e.Emit(&mailv1.TraceEvent{Stage: "smtp"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.events("trace.smtp"); got != n || e.Dropped() != 0 {
		t.Errorf("%d of %d were published, %d dropped", got, n, e.Dropped())
	}
	e.Emit(&mailv1.TraceEvent{Stage: "smtp"})
	if e.Dropped() != 1 {
		t.Errorf("an event after the end is not counted: %d dropped", e.Dropped())
	}
}

// TestAccounting: every event is published or counted as dropped, also where Emit and the end of Run race.
func TestAccounting(t *testing.T) {
	for range 20 {
		w := newWire()
		e := trace.New(w, "h")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		const writers, each = 4, 500
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					e.Emit(&mailv1.TraceEvent{Stage: "smtp"})
					if i == 0 && j == each/2 {
						cancel()
					}
				}
			})
		}
		wg.Wait()
		<-done
		if got := uint64(w.events("trace.smtp")) + e.Dropped(); got != writers*each {
			t.Fatalf("%d were published and %d dropped, of %d", w.events("trace.smtp"), e.Dropped(), writers*each)
		}
	}
}

// TestNoRoom drops what nobody takes, without blocking.
func TestNoRoom(t *testing.T) {
	e := trace.New(newWire(), "h")
	for range 16384 + 100 {
		e.Emit(&mailv1.TraceEvent{Stage: "smtp"})
	}
	if e.Dropped() != 100 {
		t.Errorf("%d dropped, want 100", e.Dropped())
	}
}

// TestBusAway counts what could not be published.
func TestBusAway(t *testing.T) {
	w := newWire()
	w.fail = errors.New("away")
	e := trace.New(w, "h")
	id := envelope.NewQueueID(time.Now())
	for range 700 {
		e.Emit(&mailv1.TraceEvent{Stage: "smtp", QueueId: id[:]})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	if e.Dropped() != 700 {
		t.Errorf("%d dropped, want 700", e.Dropped())
	}
}

// TestSizeIsBounded: neither a peer's long words nor many events make a publish that the bus refuses.
func TestSizeIsBounded(t *testing.T) {
	w := newWire()
	e := trace.New(w, "h")
	long := strings.Repeat("ü", 100_000)
	for range 500 {
		e.Emit(&mailv1.TraceEvent{Stage: "smtp", ReversePath: long, ForwardPath: long, Detail: long, MessageId: "x" + long})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	if got := w.events("trace.smtp"); got != 500 {
		t.Errorf("%d of 500 were published", got)
	}
	for _, size := range w.sizes {
		if size > 300<<10 {
			t.Errorf("a publish of %d octets", size)
		}
	}
}

// TestFollow: each message's events go to its own subject too; those without a message do not.
func TestFollow(t *testing.T) {
	w := newWire()
	e := trace.New(w, "h")
	id, other := envelope.NewQueueID(time.Now()), envelope.NewQueueID(time.Now())
	for _, q := range [][]byte{id[:], id[:], other[:], nil, []byte("short")} {
		e.Emit(&mailv1.TraceEvent{Stage: "smtp", QueueId: q})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	if w.follow["follow."+id.String()] != 2 || w.follow["follow."+other.String()] != 1 || len(w.follow) != 2 || w.events("trace.smtp") != 5 {
		t.Errorf("got %v", w.follow)
	}
}

func BenchmarkEmit(b *testing.B) {
	e := trace.New(discard{}, "h")
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	id := envelope.NewQueueID(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		e.Emit(&mailv1.TraceEvent{Stage: "local", Event: "delivered", QueueId: id[:], ReversePath: "alice@example.org", ForwardPath: "bob@example.org"})
	}
	cancel()
	<-done
	b.ReportMetric(float64(e.Dropped())/float64(b.N), "dropped/op")
}

type discard struct{}

func (discard) Notify(string, []byte) error { return nil }
