package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var errAway = errors.New("away")

// fakeBus is a bus in memory, with one partition.
type fakeBus struct {
	mu      sync.Mutex
	life    time.Time
	streams map[bus.Subject][][]byte // all that was published
	floor   map[bus.Subject]int      // how much of it was acknowledged
	beyond  map[bus.Subject]int      // how much was acknowledged behind one that was not
	fail    error
}

func newFakeBus() *fakeBus {
	return &fakeBus{life: time.Unix(1, 0), streams: map[bus.Subject][][]byte{}, floor: map[bus.Subject]int{}, beyond: map[bus.Subject]int{}}
}

func (b *fakeBus) PublishAll(_ context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(keys) != len(payloads) {
		panic("keys and payloads do not pair up")
	}
	if b.fail == nil {
		b.streams[s] = append(b.streams[s], payloads...)
	}
	return b.fail
}

func (b *fakeBus) Backlog(_ context.Context, s bus.Subject) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint64(len(b.streams[s]) - b.floor[s] - b.beyond[s]), b.fail
}

func (b *fakeBus) Mark(_ context.Context, s bus.Subject) (bus.Mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bus.Mark{Subject: s, Stream: b.life, Sequence: uint64(len(b.streams[s]))}, b.fail
}

func (b *fakeBus) Passed(_ context.Context, m bus.Mark) (passed, sameStream bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil || !m.Stream.Equal(b.life) {
		return false, false, b.fail
	}
	return uint64(b.floor[m.Subject]) >= m.Sequence, true, nil
}

// take gives all that waits on a subject and acknowledges it.
func (b *fakeBus) take(s bus.Subject) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.streams[s][b.floor[s]:]
	b.floor[s] = len(b.streams[s])
	return got
}

// wipe loses everything.
func (b *fakeBus) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.life = b.life.Add(time.Second)
	clear(b.streams)
	clear(b.floor)
	clear(b.beyond)
}

// waits is how much waits on a subject.
func (b *fakeBus) waits(s bus.Subject) int {
	n, _ := b.Backlog(context.Background(), s)
	return int(n)
}

// TestBusContract shows that the fake is like the real bus in what the workers rely on.
func TestBusContract(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		b := newFakeBus()
		testBus(t, b, func(int) { b.take(bus.Filtered) }, b.wipe)
	})
	t.Run("embedded", func(t *testing.T) {
		var server *embedded.Server
		var conn *bus.Conn
		start := func() {
			var err error
			if server, err = embedded.Start(t.TempDir(), ""); err != nil {
				t.Fatal(err)
			}
			if conn, err = bus.Connect(t.Context(), bus.Config{}, slog.New(slog.DiscardHandler), server.Option()); err != nil {
				t.Fatal(err)
			}
		}
		stop := func() {
			conn.Close(t.Context())
			server.Close()
		}
		start()
		defer func() { stop() }()
		real := &movingBus{conn: &conn}
		testBus(t, real, func(n int) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			got := make(chan struct{}, n)
			go func() {
				done <- conn.Consume(ctx, bus.Consumer{Subject: bus.Filtered}, func(_ context.Context, batch []*bus.Work) {
					for _, w := range batch {
						w.Ack()
						got <- struct{}{}
					}
				})
			}()
			for range n {
				<-got
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}, func() { stop(); start() })
	})
}

// movingBus is whatever connection there is now.
type movingBus struct{ conn **bus.Conn }

func (m *movingBus) PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error {
	return (*m.conn).PublishAll(ctx, s, keys, payloads)
}
func (m *movingBus) Backlog(ctx context.Context, s bus.Subject) (uint64, error) {
	return (*m.conn).Backlog(ctx, s)
}
func (m *movingBus) Mark(ctx context.Context, s bus.Subject) (bus.Mark, error) {
	return (*m.conn).Mark(ctx, s)
}
func (m *movingBus) Passed(ctx context.Context, k bus.Mark) (bool, bool, error) {
	return (*m.conn).Passed(ctx, k)
}

func testBus(t *testing.T, b WorkBus, takeAll func(n int), wipe func()) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	mark := func() bus.Mark {
		t.Helper()
		m, err := b.Mark(ctx, bus.Filtered)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// Acknowledgements take a moment to be counted: what is wanted must come about before the deadline.
	want := func(m bus.Mark, passed, same bool) {
		t.Helper()
		for {
			p, s, err := b.Passed(ctx, m)
			if err != nil {
				t.Fatalf("passed %t, same stream %t, %v; want %t, %t", p, s, err, passed, same)
			}
			if p == passed && s == same {
				return
			}
		}
	}
	want(mark(), true, true)
	if err := b.PublishAll(ctx, bus.Filtered, []uint64{1, 2, 3}, [][]byte{{1}, {2}, {3}}); err != nil {
		t.Fatal(err)
	}
	m := mark()
	if p, s, err := b.Passed(ctx, m); p || !s || err != nil {
		t.Errorf("with work waiting: passed %t, same stream %t, %v", p, s, err)
	}
	if n, err := b.Backlog(ctx, bus.Filtered); n != 3 || err != nil {
		t.Errorf("backlog: got %d, %v; want 3", n, err)
	}
	if n, err := b.Backlog(ctx, bus.Accepted); n != 0 || err != nil {
		t.Errorf("backlog of another subject: got %d, %v; want 0", n, err)
	}
	takeAll(3)
	want(m, true, true)
	if err := b.PublishAll(ctx, bus.Filtered, []uint64{4}, [][]byte{{4}}); err != nil {
		t.Fatal(err)
	}
	want(m, true, true) // what comes behind a mark does not count
	m = mark()
	wipe()
	want(m, false, false)
	want(mark(), true, true)
}

// world is blob store, database and bus, with the workers over them.
type world struct {
	*testing.T
	ctx    context.Context
	folder string
	clock  *ledgertest.Clock
	blobs  *dir.Store
	db     *sqlite.DB
	bus    *fakeBus
	part   *ledgerPart
	cfg    LedgerConfig

	made     int
	accepted []envelope.QueueID
	// ledger and line, where set, stand between the workers and the real ones.
	ledger func(ledger.Ledger) ledger.Ledger
	line   func(WorkBus) WorkBus
	store  func(blob.Store) blob.Store
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, ctx: t.Context(), folder: t.TempDir(), clock: ledgertest.NewClock(), bus: newFakeBus()}
	var err error
	w.db, err = sqlite.Open(w.ctx, filepath.Join(w.folder, "index.db"), sqlite.Options{Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.openBlobs()
	t.Cleanup(func() { w.blobs.Close(); w.db.Close() })
	w.restart()
	return w
}

func (w *world) openBlobs() {
	w.Helper()
	var err error
	w.blobs, err = dir.Open(w.ctx, filepath.Join(w.folder, "blobs"), dir.Options{Now: w.clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.Fatal(err)
	}
}

// restart makes the workers anew, as after a crash: they have forgotten everything.
func (w *world) restart() {
	w.Helper()
	l, line, store := ledger.Ledger(w.db.Ledger()), WorkBus(w.bus), blob.Store(w.blobs)
	if w.ledger != nil {
		l = w.ledger(l)
	}
	if w.line != nil {
		line = w.line(line)
	}
	if w.store != nil {
		store = w.store(store)
	}
	part, err := newLedgerPart(w.cfg, LedgerDeps{
		Ledger: l, Leases: w.db.Leases(), Blobs: store, Bus: line, Log: slog.New(slog.DiscardHandler), Now: w.clock.Now, Holder: "test", Notes: w.db.Books(),
	})
	if err != nil {
		w.Fatal(err)
	}
	w.part = part
}

// newIncarnation closes and opens the blob store: what was written before is a dead incarnation's.
func (w *world) newIncarnation() {
	w.Helper()
	if err := w.blobs.Close(); err != nil {
		w.Fatal(err)
	}
	w.openBlobs()
	w.restart()
}

func accept(v mailv1.Action) *mailv1.Verdict { return &mailv1.Verdict{Action: v} }

// frame writes a message as ingress does and returns what ingress publishes.
func (w *world) frame(kind blob.Kind, verdict *mailv1.Verdict, to ...string) *mailv1.Accepted {
	w.Helper()
	id := envelope.NewQueueID(w.clock.Now())
	env := &mailv1.Envelope{QueueId: id[:], ReversePath: "sender@example.net", AcceptedNs: w.clock.Now().UnixNano(), Kind: mailv1.Kind(kind)}
	for i, a := range to {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: a})
	}
	return w.write(blob.Meta{Kind: kind, QueueID: id}, &mailv1.FrameTail{Envelope: env, Verdict: verdict, PartIndex: []byte("index")})
}

func (w *world) write(meta blob.Meta, tail *mailv1.FrameTail) *mailv1.Accepted {
	w.Helper()
	var err error
	if meta.Tail, err = proto.Marshal(tail); err != nil {
		w.Fatal(err)
	}
	draft, err := w.blobs.Create(blob.ID{})
	if err != nil {
		w.Fatal(err)
	}
	defer draft.Discard()
	w.made++
	fmt.Fprintf(draft, "Subject: %d\r\n\r\nbody\r\n", w.made)
	at, err := draft.Commit(w.ctx, meta)
	if err != nil {
		w.Fatal(err)
	}
	if meta.Kind == blob.Accepted {
		w.accepted = append(w.accepted, meta.QueueID)
	}
	return &mailv1.Accepted{QueueId: meta.QueueID[:], BlobId: at.Bytes(), Envelope: tail.Envelope, Verdict: tail.Verdict, PartIndex: tail.PartIndex}
}

// publish puts a message on the bus as ingress does.
func (w *world) publish(m *mailv1.Accepted) {
	w.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	subject := bus.Accepted
	if m.Verdict != nil {
		subject = bus.Filtered
	}
	if err := w.bus.PublishAll(w.ctx, subject, []uint64{1}, [][]byte{payload}); err != nil {
		w.Fatal(err)
	}
}

// filter moves what waits on mail.accepted to mail.filtered.
func (w *world) filter() {
	w.Helper()
	for _, payload := range w.bus.take(bus.Accepted) {
		var m mailv1.Accepted
		if err := proto.Unmarshal(payload, &m); err != nil {
			w.Fatal(err)
		}
		m.Verdict = accept(mailv1.Action_ACTION_ACCEPT)
		w.publish(&m)
	}
}

// route records what waits on mail.filtered: for a mailbox each, and never a message with another outcome.
func (w *world) route() (n int) {
	w.Helper()
	for _, payload := range w.bus.take(bus.Filtered) {
		var m mailv1.Accepted
		if err := proto.Unmarshal(payload, &m); err != nil {
			w.Fatal(err)
		}
		w.record(&m)
		n++
	}
	return n
}

func (w *world) record(m *mailv1.Accepted, children ...*mailv1.Accepted) *storev1.RecordResult {
	w.Helper()
	if m.Envelope == nil {
		tail, err := (&recovery{blobs: w.blobs}).readTail(w.ctx, must(blob.IDFrom(m.BlobId)))
		if err != nil {
			w.Fatal(err)
		}
		m.Envelope = tail.Envelope
	}
	routed := &storev1.Routed{Message: m, Children: children}
	for _, r := range m.Envelope.Recipients {
		row := ledgertest.Local(r.ForwardPath, 7)
		if m.Verdict.GetAction() == mailv1.Action_ACTION_QUARANTINE {
			row = ledgertest.Settled(r.ForwardPath, storev1.State_STATE_QUARANTINED)
		}
		row.Number = r.Number
		routed.Recipients = append(routed.Recipients, row)
	}
	results, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{routed})
	if err != nil || results[0].Conflict {
		w.Fatalf("record: %v, %v", results, err)
	}
	return results[0]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// recover steps recovery until it waits for something.
func (w *world) recover() {
	w.Helper()
	if err := w.tryRecover(); err != nil {
		w.Fatalf("recovery: %v", err)
	}
}

func (w *world) tryRecover() error { return untilIdle(w.ctx, w.part.tasks[2]) }

// untilIdle steps a worker until it has nothing to do at once.
func untilIdle(ctx context.Context, t *task) error {
	for {
		if more, err := t.step(ctx); err != nil || !more {
			return err
		}
	}
}

func (w *world) audit() *storev1.AuditResponse {
	w.Helper()
	return w.auditAs(&storev1.AuditRequest{})
}

func (w *world) auditAs(req *storev1.AuditRequest) *storev1.AuditResponse {
	w.Helper()
	r, err := w.part.queue.audit(w.ctx, req)
	if err != nil {
		w.Fatalf("audit: %v", err)
	}
	return r
}

func (w *world) wantAudit(want *storev1.AuditResponse) *storev1.AuditResponse {
	w.Helper()
	got := w.audit()
	bare := proto.Clone(got).(*storev1.AuditResponse)
	bare.Findings, bare.Frames, bare.Settled = nil, 0, 0
	if !proto.Equal(bare, want) {
		w.Errorf("audit: got %v, want %v", got, want)
	}
	return got
}

func TestConfigTellsAllFaults(t *testing.T) {
	var c LedgerConfig
	c.Default()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := LedgerConfig{SweepEvery: 1, SweepBatch: -1, OutboxBatch: 1 << 20, Lease: -time.Second}
	bad.Default()
	err := bad.Validate()
	for _, name := range []string{"sweep_every", "sweep_batch", "outbox_batch", "lease"} {
		if err == nil || !containsText(err.Error(), name+": ") {
			t.Errorf("got %v, want %s named", err, name)
		}
	}
}

func containsText(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

// fakeLeases is a table of leases with the bubble's clock.
type fakeLeases struct {
	mu    sync.Mutex
	rows  map[string]string
	until map[string]time.Time
	calls int
	fail  error
}

func newFakeLeases() *fakeLeases {
	return &fakeLeases{rows: map[string]string{}, until: map[string]time.Time{}}
}

func (l *fakeLeases) Acquire(_ context.Context, name, holder string, d time.Duration) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.fail != nil {
		return "", l.fail
	}
	if l.rows[name] == holder || !l.until[name].After(time.Now()) {
		l.rows[name], l.until[name] = holder, time.Now().Add(d)
	}
	return l.rows[name], nil
}

func (l *fakeLeases) Release(_ context.Context, name, holder string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows[name] == holder {
		delete(l.until, name)
	}
	return nil
}

func (l *fakeLeases) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// steal gives a lease to somebody else.
func (l *fakeLeases) steal(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[name], l.until[name] = "thief", time.Now().Add(time.Hour)
}

func testTask(l *fakeLeases, holder string, step func(context.Context) (bool, error)) *task {
	return &task{name: "t", every: time.Second, step: step, lease: 15 * time.Second, leases: l, holder: holder,
		log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
}

func TestOneProcessWorksAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := newFakeLeases()
		var mu sync.Mutex
		steps := map[string]int{}
		worker := func(name string) *task {
			return testTask(leases, name, func(context.Context) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				steps[name]++
				return false, nil
			})
		}
		count := func(name string) int {
			mu.Lock()
			defer mu.Unlock()
			return steps[name]
		}
		first, stopFirst := context.WithCancel(t.Context())
		second, stopSecond := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { worker("first").run(first) })
		synctest.Wait()
		wg.Go(func() { worker("second").run(second) })
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if a, b := count("first"), count("second"); a < 99 || b != 0 {
			t.Errorf("got %d and %d steps, want the first to do all", a, b)
		}
		if leases.calls > 100+25 {
			t.Errorf("%d calls for leases: the holder asks too often", leases.calls)
		}
		stopFirst()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if b := count("second"); b == 0 {
			t.Error("the lease was not given back")
		}
		stopSecond()
		wg.Wait()
	})
}

func TestLostLeaseEndsTheStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := newFakeLeases()
		var ended error
		w := testTask(leases, "me", func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			ended = ctx.Err()
			return false, ctx.Err()
		})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if ended != nil {
			t.Error("the step ended although its lease was renewed")
		}
		leases.steal("t")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if ended == nil {
			t.Error("the step went on without its lease")
		}
		stop()
		wg.Wait()
	})
}

func TestFailingWorkerWaitsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps, fail := 0, errAway
		w := testTask(newFakeLeases(), "me", func(context.Context) (bool, error) {
			steps++
			return true, fail
		})
		w.every = shortPause + 1
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if steps < 7 || steps > 10 {
			t.Errorf("got %d steps in 100 s, want the pause to grow to %v", steps, maxPause)
		}
		before := steps
		w.wakeUp()
		synctest.Wait()
		if steps != before+1 {
			t.Errorf("got %d steps after it was woken, want 1", steps-before)
		}
		stop()
		wg.Wait()
	})
}

func TestFrequentWorkerGoesOnSoonAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps atomic.Int64
		var well atomic.Bool
		w := testTask(newFakeLeases(), "me", func(context.Context) (bool, error) {
			steps.Add(1)
			if well.Load() {
				return false, nil
			}
			return false, errAway
		})
		w.every = time.Second
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := steps.Load(); n > 25 {
			t.Errorf("got %d steps in a minute, want the pause to grow to %v", n, shortPause)
		}
		before := steps.Load()
		well.Store(true)
		time.Sleep(shortPause)
		synctest.Wait()
		if steps.Load() == before {
			t.Errorf("no step within %v of the outage's end", shortPause)
		}
		stop()
		wg.Wait()
	})
}

func TestLeaseTableAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := newFakeLeases()
		leases.setFail(errAway)
		steps := 0
		w := testTask(leases, "me", func(context.Context) (bool, error) { steps++; return false, nil })
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if steps != 0 {
			t.Errorf("got %d steps without a lease", steps)
		}
		leases.setFail(nil)
		time.Sleep(maxPause)
		synctest.Wait()
		if steps == 0 {
			t.Error("no step although the lease is to be had")
		}
		stop()
		wg.Wait()
	})
}
