// Package bustest is the contract of the bus: the same for the embedded server and for external ones.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/bus"
)

// Limit is how long a test waits for what must come.
const Limit = 20 * time.Second

// Server is one that a test starts for itself.
type Server interface {
	// URLs are its addresses where it is one that processes share; then somebody maintains it. Nil: Option makes a client
	// connect to it.
	URLs() []string
	Option() nats.Option
	// Wipe ends the server, removes all it kept, and starts it again.
	Wipe(t *testing.T)
	// Away ends the server; Back starts it again with what it kept.
	Away(t *testing.T)
	Back(t *testing.T)
}

// Run runs the contract against servers that start makes.
func Run(t *testing.T, start func(t *testing.T) Server) {
	tests := []struct {
		name string
		run  func(t *testing.T, s Server)
	}{
		{"work arrives once and in order", workArrives},
		{"several processes share the work", processesShare},
		{"retry comes back and counts nothing", retryComesBack},
		{"poison becomes a dead letter and blocks nothing", poisonIsBuried},
		{"only the piece that panics is buried", panicIsBuriedAlone},
		{"a dead letter can be retried", deadLetterRetried},
		{"what was not begun is handed back on stop", handedBack},
		{"work in hand is not given to another", heartbeat},
		{"backlog and marks", marks},
		{"a wiped bus is another stream", wiped},
		{"publishing fails at once while the bus is away", away},
		{"consumers go on when the bus comes back", consumersGoOn},
		{"consumers go on when the bus was wiped", consumersGoOnAfterWipe},
		{"notices reach those who listen", notices},
		{"a fan hears many subjects", fans},
		{"a bucket is watched by all", bucketWatched},
		{"a bucket that was away or wiped is read again", bucketLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // much of it is waiting
			tt.run(t, start(t))
		})
	}
}

// Config is what the tests use: several partitions and little patience.
func Config() bus.Config {
	return bus.Config{Partitions: 3, PoisonLimit: 3, PoisonDelay: 10 * time.Millisecond, AckWait: 1500 * time.Millisecond}
}

// Connect connects and hangs up with the test.
func Connect(t *testing.T, s Server) *bus.Conn {
	t.Helper()
	cfg := Config()
	var opts []nats.Option
	if cfg.Servers = s.URLs(); cfg.Servers == nil {
		opts = append(opts, s.Option())
	} else {
		cfg.Replicas = len(cfg.Servers)
	}
	return ConnectWith(t, cfg, opts...)
}

// ConnectWith is Connect with a configuration. A bus that is shared is maintained until the test ends.
func ConnectWith(t *testing.T, cfg bus.Config, opts ...nats.Option) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Servers != nil {
		maintain(t, c)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

// maintain keeps a shared bus set up, as the store role does.
func maintain(t *testing.T, c *bus.Conn) {
	t.Helper()
	WaitFor(t, "the bus to be set up", func() bool { return c.Maintain(t.Context()) == nil })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.Maintain(ctx) // its error is that the bus is away
			}
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

// consume starts a consumer of filtered work and returns what stops it and waits.
func consume(t *testing.T, c *bus.Conn, cons bus.Consumer, h bus.Handler) (stop func()) {
	t.Helper()
	if cons.Subject == "" {
		cons.Subject = bus.Filtered
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Consume(ctx, cons, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("consume: %v", err)
			}
		case <-time.After(Limit):
			t.Error("the consumer did not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

func publish(t *testing.T, c *bus.Conn, key uint64, payload string) {
	t.Helper()
	if err := c.Publish(t.Context(), bus.Filtered, key, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// receive waits for n values.
func receive[T any](t *testing.T, ch <-chan T, n int) []T {
	t.Helper()
	var got []T
	limit := time.After(Limit)
	for len(got) < n {
		select {
		case v := <-ch:
			got = append(got, v)
		case <-limit:
			t.Fatalf("got %d of %d: %v", len(got), n, got)
		}
	}
	return got
}

func ackAll(ch chan<- string) bus.Handler {
	return func(_ context.Context, batch []*bus.Work) {
		for _, w := range batch {
			ch <- string(w.Data())
			w.Ack()
		}
	}
}

func workArrives(t *testing.T, s Server) {
	c := Connect(t, s)
	const n = 300
	var keys []uint64
	var payloads [][]byte
	for i := range n {
		keys, payloads = append(keys, uint64(i)), append(payloads, []byte(fmt.Sprint(i)))
	}
	if err := c.PublishAll(t.Context(), bus.Filtered, keys, payloads); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2*n)
	stop := consume(t, c, bus.Consumer{}, ackAll(got))
	last := map[int]int{}
	for _, v := range receive(t, got, n) {
		var i int
		fmt.Sscan(v, &i)
		if before, ok := last[i%3]; ok && before >= i {
			t.Errorf("partition %d: %d came after %d", i%3, i, before)
		}
		last[i%3] = i
	}
	stop()
	if len(got) > 0 {
		t.Errorf("%d pieces of work came twice", len(got))
	}
}

func processesShare(t *testing.T, s Server) {
	a, b := Connect(t, s), Connect(t, s)
	got := make(chan string, 1000)
	consume(t, a, bus.Consumer{Batch: 4}, ackAll(got))
	consume(t, b, bus.Consumer{Batch: 4}, ackAll(got))
	for i := range 200 {
		publish(t, a, uint64(i), fmt.Sprint(i))
	}
	seen := map[string]bool{}
	for _, v := range receive(t, got, 200) {
		if seen[v] {
			t.Errorf("%s came twice", v)
		}
		seen[v] = true
	}
}

func retryComesBack(t *testing.T, s Server) {
	c := Connect(t, s)
	const tries = 7 // more than PoisonLimit
	got := make(chan int, 100)
	var n atomic.Int32
	consume(t, c, bus.Consumer{}, func(_ context.Context, batch []*bus.Work) {
		for _, w := range batch {
			if i := int(n.Add(1)); i < tries {
				w.Retry(time.Millisecond)
			} else {
				w.Ack()
				got <- i
			}
		}
	})
	publish(t, c, 1, "x")
	if i := receive(t, got, 1)[0]; i != tries {
		t.Errorf("done at try %d, want %d", i, tries)
	}
	wantDead(t, c, 0)
}

func wantDead(t *testing.T, c *bus.Conn, n int) []bus.DeadLetter {
	t.Helper()
	dead, err := c.ListDead(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(dead) != n {
		t.Fatalf("got %d dead letters, want %d: %v", len(dead), n, dead)
	}
	return dead
}

func poisonIsBuried(t *testing.T, s Server) {
	c := Connect(t, s)
	good, dead := make(chan string, 100), make(chan string, 100)
	var rowFails atomic.Bool
	rowFails.Store(true)
	consume(t, c, bus.Consumer{OnDead: func(_ context.Context, w *bus.Work, reason string) error {
		if rowFails.Swap(false) {
			return errors.New("ledger is away")
		}
		dead <- reason
		return nil
	}}, func(_ context.Context, batch []*bus.Work) {
		for _, w := range batch {
			if string(w.Data()) == "bad" {
				w.Poison(errors.New("cannot be decoded"))
				continue
			}
			good <- string(w.Data())
			w.Ack()
		}
	})
	publish(t, c, 1, "bad")
	for range 20 {
		publish(t, c, 1, "good")
	}
	receive(t, good, 20)
	if got := receive(t, dead, 1)[0]; got != "cannot be decoded" {
		t.Errorf("got reason %q", got)
	}
	WaitFor(t, "the dead letter", func() bool {
		d, err := c.ListDead(t.Context(), 10)
		return err == nil && len(d) == 1 && d[0].Letter.Reason == "cannot be decoded" && string(d[0].Letter.Payload) == "bad"
	})
}

// waitFor asks again and again, as the thing asked for has no notice of its own.
// WaitFor asks again until ok, and fails the test where that does not come.
func WaitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(Limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func panicIsBuriedAlone(t *testing.T, s Server) {
	c := Connect(t, s)
	for i := range 9 {
		publish(t, c, 1, fmt.Sprint(i))
	}
	got, dead := make(chan string, 100), make(chan string, 10)
	consume(t, c, bus.Consumer{OnDead: func(_ context.Context, w *bus.Work, _ string) error {
		dead <- string(w.Data())
		return nil
	}}, func(_ context.Context, batch []*bus.Work) {
		for _, w := range batch {
			if string(w.Data()) == "4" {
				panic("four")
			}
		}
		ackAll(got)(context.Background(), batch)
	})
	receive(t, got, 8)
	if d := receive(t, dead, 1)[0]; d != "4" {
		t.Errorf("%q was buried, want 4", d)
	}
}

func deadLetterRetried(t *testing.T, s Server) {
	c := Connect(t, s)
	var fixed atomic.Bool
	got, dead := make(chan string, 10), make(chan struct{}, 10)
	consume(t, c, bus.Consumer{OnDead: func(context.Context, *bus.Work, string) error { dead <- struct{}{}; return nil }},
		func(_ context.Context, batch []*bus.Work) {
			for _, w := range batch {
				if !fixed.Load() {
					w.Poison(errors.New("bug"))
					continue
				}
				got <- string(w.Data())
				w.Ack()
			}
		})
	publish(t, c, 1, "x")
	receive(t, dead, 1)
	var letters []bus.DeadLetter
	WaitFor(t, "the dead letter", func() bool { letters, _ = c.ListDead(t.Context(), 10); return len(letters) == 1 })
	fixed.Store(true)
	if err := c.RetryDead(t.Context(), letters[0].Sequence, 1); err != nil {
		t.Fatal(err)
	}
	receive(t, got, 1)
	wantDead(t, c, 0)
}

func handedBack(t *testing.T, s Server) {
	c := Connect(t, s)
	for i := range 50 {
		publish(t, c, 1, fmt.Sprint(i))
	}
	first, goOn := make(chan struct{}, 1), make(chan struct{})
	done := make(chan string, 100)
	stop := consume(t, c, bus.Consumer{Batch: 1}, func(_ context.Context, batch []*bus.Work) {
		select {
		case first <- struct{}{}:
			<-goOn
		default:
		}
		ackAll(done)(context.Background(), batch)
	})
	receive(t, first, 1)
	go func() { close(goOn) }()
	stop()
	rest := make(chan string, 100)
	consume(t, c, bus.Consumer{}, ackAll(rest))
	all := map[string]int{}
	begun := len(done)
	for range begun {
		all[<-done]++
	}
	for _, v := range receive(t, rest, 50-begun) {
		all[v]++
	}
	for v, n := range all {
		if n != 1 {
			t.Errorf("%s was done %d times", v, n)
		}
	}
}

func heartbeat(t *testing.T, s Server) {
	c := Connect(t, s)
	var begun atomic.Int32
	taken := make(chan *bus.Work, 10)
	consume(t, c, bus.Consumer{}, func(_ context.Context, batch []*bus.Work) {
		for _, w := range batch {
			begun.Add(1)
			taken <- w
		}
	})
	publish(t, c, 1, "slow")
	w := receive(t, taken, 1)[0]
	// Work of another partition shows that time beyond AckWait went by.
	late := time.After(3 * Config().AckWait)
	<-late
	w.Ack()
	publish(t, c, 1, "next")
	receive(t, taken, 1)[0].Ack()
	if n := begun.Load(); n != 2 {
		t.Errorf("2 pieces of work were begun %d times", n)
	}
}

func marks(t *testing.T, s Server) {
	c := Connect(t, s)
	for i := range 10 {
		publish(t, c, uint64(i), "x")
	}
	m, err := c.Mark(t.Context(), bus.Filtered)
	if err != nil {
		t.Fatal(err)
	}
	// The server counts what waits for a consumer a moment after it took it.
	backlog := func(want uint64) {
		t.Helper()
		WaitFor(t, fmt.Sprintf("a backlog of %d", want), func() bool {
			n, err := c.Backlog(t.Context(), bus.Filtered)
			return err == nil && n == want
		})
	}
	backlog(10)
	if passed, same, err := c.Passed(t.Context(), m); passed || !same || err != nil {
		t.Errorf("before: passed %v, same stream %v, %v", passed, same, err)
	}
	got := make(chan string, 20)
	consume(t, c, bus.Consumer{}, ackAll(got))
	receive(t, got, 10)
	WaitFor(t, "the mark to be passed", func() bool {
		passed, same, err := c.Passed(t.Context(), m)
		return passed && same && err == nil
	})
	backlog(0)
}

func wiped(t *testing.T, s Server) {
	c := Connect(t, s)
	got := make(chan string, 20)
	publish(t, c, 1, "before")
	m, err := c.Mark(t.Context(), bus.Filtered)
	if err != nil {
		t.Fatal(err)
	}
	s.Wipe(t)
	again := Connect(t, s)
	if _, same, err := again.Passed(t.Context(), m); same || err != nil {
		t.Errorf("after a wipe: same stream %v, %v", same, err)
	}
	consume(t, again, bus.Consumer{}, ackAll(got))
	publish(t, again, 1, "after")
	if v := receive(t, got, 1)[0]; v != "after" {
		t.Errorf("got %q", v)
	}
}

func away(t *testing.T, s Server) {
	c := Connect(t, s)
	publish(t, c, 1, "kept")
	s.Away(t)
	WaitFor(t, "the bus to be away", func() bool { return c.Ready() != nil })
	start := time.Now()
	if err := c.PublishAll(t.Context(), bus.Filtered, []uint64{1}, [][]byte{[]byte("x")}); !errors.Is(err, bus.ErrAway) {
		t.Errorf("got %v, want ErrAway", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	if err := c.Probe(t.Context()); err == nil {
		t.Error("the probe finds a bus that is away")
	}
	s.Back(t)
	WaitFor(t, "the probe to find the bus", func() bool { return c.Probe(t.Context()) == nil })
	WaitFor(t, "the bus to come back", func() bool { return c.Ready() == nil })
	got := make(chan string, 10)
	consume(t, c, bus.Consumer{}, ackAll(got))
	if v := receive(t, got, 1)[0]; v != "kept" {
		t.Errorf("got %q", v)
	}
}

func consumersGoOn(t *testing.T, s Server) {
	c := Connect(t, s)
	got := make(chan string, 10)
	consume(t, c, bus.Consumer{}, ackAll(got))
	publish(t, c, 1, "before")
	receive(t, got, 1)
	s.Away(t)
	WaitFor(t, "the bus to be away", func() bool { return c.Ready() != nil })
	s.Back(t)
	WaitFor(t, "a publish", func() bool { return c.Publish(t.Context(), bus.Filtered, 1, []byte("after")) == nil })
	if v := receive(t, got, 1)[0]; v != "after" {
		t.Errorf("got %q", v)
	}
}

func consumersGoOnAfterWipe(t *testing.T, s Server) {
	c := Connect(t, s)
	got := make(chan string, 10)
	consume(t, c, bus.Consumer{}, ackAll(got))
	publish(t, c, 1, "before")
	receive(t, got, 1)
	s.Wipe(t)
	WaitFor(t, "a publish", func() bool {
		err := c.Publish(t.Context(), bus.Filtered, 1, []byte("after"))
		if err != nil {
			c.Probe(t.Context()) // makes the streams anew
		}
		return err == nil
	})
	if v := receive(t, got, 1)[0]; v != "after" {
		t.Errorf("got %q", v)
	}
}

// fans: a Fan hears on each subject what comes there, also of many, and nothing once it has stopped listening; its goroutine
// comes and goes.
func fans(t *testing.T, s Server) {
	a, b := Connect(t, s), Connect(t, s)
	const subjects = 500
	fan := b.NewFan()
	for range 2 {
		var mu sync.Mutex
		got := map[int]string{}
		var stops []func()
		for i := range subjects {
			stop, err := fan.Listen(bus.Changed(uint64(i)), func(payload []byte) {
				mu.Lock()
				defer mu.Unlock()
				got[i] = string(payload)
			})
			if err != nil {
				t.Fatal(err)
			}
			stops = append(stops, stop)
		}
		stops[3]()
		stops[3]()                              // once more is nothing
		WaitFor(t, "the notices", func() bool { // the interest travels on another connection
			for i := range subjects {
				a.Notify(bus.Changed(uint64(i)), []byte(strconv.Itoa(i)))
			}
			mu.Lock()
			defer mu.Unlock()
			return len(got) >= subjects-1
		})
		mu.Lock()
		for i, payload := range got {
			if payload != strconv.Itoa(i) || i == 3 {
				t.Errorf("subject %d: got %q", i, payload)
			}
		}
		mu.Unlock()
		for _, stop := range stops {
			stop()
		}
	}
}

func notices(t *testing.T, s Server) {
	a, b := Connect(t, s), Connect(t, s)
	got := make(chan string, 10)
	stop, err := b.Listen(bus.ChangedAll, func(subject string, payload []byte) { got <- subject + " " + string(payload) })
	if err != nil {
		t.Fatal(err)
	}
	WaitFor(t, "the notice", func() bool { // the interest travels on another connection
		a.Notify(bus.Changed(7), []byte("x"))
		select {
		case v := <-got:
			if v != "mailbox.changed.7 x" {
				t.Errorf("got %q", v)
			}
			return true
		default:
			return false
		}
	})
	stop()
}
