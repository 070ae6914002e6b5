package limits_test

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/limits"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// client is a client of a number.
func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }

// eventually asks again until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// network is a bus and a bucket in memory, for tests in which time is not real. Each process has a link of its own.
type network struct {
	mu      sync.Mutex
	links   map[*link]bool                // guarded by mu
	values  map[string]bus.BucketEntry    // guarded by mu
	watches map[chan bus.BucketEntry]bool // guarded by mu
	last    uint64                        // guarded by mu
	sizes   []int                         // guarded by mu: of what was told
}

func newNetwork() *network {
	return &network{links: map[*link]bool{}, values: map[string]bus.BucketEntry{}, watches: map[chan bus.BucketEntry]bool{}}
}

// link is a process's way to the bus; cut, nothing passes.
type link struct {
	n     *network
	cut   bool          // guarded by n.mu
	inbox chan [][]byte // guarded by n.mu: nil while nobody listens
}

func (n *network) link() *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &link{n: n}
	n.links[l] = true
	return l
}

// setCut cuts the link, or mends it.
func (l *link) setCut(cut bool) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.cut = cut
}

func (l *link) Notify(subject string, payload []byte) error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.cut {
		return bus.ErrAway
	}
	l.n.sizes = append(l.n.sizes, len(payload))
	for other := range l.n.links {
		if other.inbox != nil && !other.cut {
			other.inbox <- [][]byte{[]byte(subject), payload}
		}
	}
	return nil
}

func (l *link) Listen(_ string, f func(string, []byte)) (func(), error) {
	inbox := make(chan [][]byte, 10_000)
	l.n.mu.Lock()
	l.inbox = inbox
	l.n.mu.Unlock()
	go func() {
		for m := range inbox {
			f(string(m[0]), m[1])
		}
	}()
	return func() {
		l.n.mu.Lock()
		defer l.n.mu.Unlock()
		l.inbox = nil
		close(inbox)
	}, nil
}

func (l *link) Put(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	switch {
	case l.cut:
		return 0, bus.ErrAway
	case l.n.values[key].Revision != revision:
		return 0, bus.ErrChanged
	}
	l.n.last++
	e := bus.BucketEntry{Key: key, Value: value, Revision: l.n.last}
	l.n.values[key] = e
	for w := range l.n.watches {
		w <- e
	}
	return l.n.last, nil
}

func (l *link) Get(_ context.Context, key string) (bus.BucketEntry, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.cut {
		return bus.BucketEntry{}, bus.ErrAway
	}
	e := l.n.values[key]
	e.Key = key
	return e, nil
}

func (l *link) Forget(_ context.Context, key string, revision uint64) error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.n.values[key].Revision <= revision {
		delete(l.n.values, key)
	}
	return nil
}

func (l *link) Watch(ctx context.Context, changed func(bus.BucketEntry), loaded func()) error {
	l.n.mu.Lock()
	if l.cut {
		l.n.mu.Unlock()
		return bus.ErrAway
	}
	updates := make(chan bus.BucketEntry, 10_000)
	have := maps.Clone(l.n.values)
	l.n.watches[updates] = true
	l.n.mu.Unlock()
	defer func() {
		l.n.mu.Lock()
		defer l.n.mu.Unlock()
		delete(l.n.watches, updates)
	}()
	for _, e := range have {
		changed(e)
	}
	loaded()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-updates:
			changed(e)
		}
	}
}

// kept is how many entries the bucket has.
func (n *network) kept() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.values)
}

// process runs Limits on a link until stop or the end of the test.
func process(t *testing.T, cfg limits.Config, b limits.Bus, bans limits.Bucket) (l *limits.Limits, stop func()) {
	t.Helper()
	l, err := limits.New(cfg, limits.Deps{Bus: b, Bans: bans, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return l, stop
}

// natsServer is a server that can be away and wiped.
type natsServer struct {
	t    *testing.T
	dir  string
	port int
	s    *server.Server
}

func startNATS(t *testing.T) *natsServer {
	n := &natsServer{t: t, dir: t.TempDir(), port: server.RANDOM_PORT}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: n.port, JetStream: true, StoreDir: n.dir, NoSigs: true, NoLog: true})
	if err != nil {
		n.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		n.t.Fatal("nats-server is not ready")
	}
	n.s = s
	if u, err := netip.ParseAddrPort(s.Addr().String()); err == nil {
		n.port = int(u.Port())
	}
}

func (n *natsServer) stop() { n.s.Shutdown(); n.s.WaitForShutdown() }

// wipe removes all that the server kept.
func (n *natsServer) wipe() {
	n.stop()
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Fatal(err)
	}
	n.start()
}

// process runs Limits on a connection of its own.
func (n *natsServer) process(cfg limits.Config) (l *limits.Limits, stop func()) {
	n.t.Helper()
	conn, err := bus.Connect(n.t.Context(), bus.Config{Servers: []string{n.s.ClientURL()}, Partitions: 1}, slog.New(slog.DiscardHandler),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		n.t.Fatal(err)
	}
	l, end := process(n.t, cfg, conn, conn.Bucket(bus.Bans))
	stop = sync.OnceFunc(func() {
		end()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	})
	n.t.Cleanup(stop)
	return l, stop
}

// fail fails n different logins of a client.
func fail(l *limits.Limits, c netip.Addr, n int) {
	for i := range n {
		l.LoginFailed(c, "alice@example.org", uint32(i))
	}
}

// enters tells whether a client is let in now; it leaves at once.
func enters(l *limits.Limits, c netip.Addr) bool {
	limit, leave := l.Enter("imap", c)
	leave()
	return limit == ""
}

// told are the sizes of what was told.
func (n *network) told() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sizes
}

func benchmarked(b *testing.B, l *link) *limits.Limits {
	x, err := limits.New(limits.Config{}, limits.Deps{Bus: l, Bans: l, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// room is how many more connections of a client a process lets in; they leave at once.
func room(l *limits.Limits, c netip.Addr) int {
	var leaves []func()
	for limit, leave := l.Enter("smtp", c); limit == ""; limit, leave = l.Enter("smtp", c) {
		leaves = append(leaves, leave)
	}
	for _, leave := range leaves {
		leave()
	}
	return len(leaves)
}
