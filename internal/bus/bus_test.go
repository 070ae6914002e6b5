package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/bustest"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
)

// external is a nats-server that is reached over TCP, as in a farm.
type external struct {
	dir  string
	port int
	s    *server.Server
}

func startExternal(t *testing.T) bustest.Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &external{dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
	l.Close()
	x.Back(t)
	t.Cleanup(func() { x.s.Shutdown(); x.s.WaitForShutdown() })
	return x
}

func (x *external) Option() nats.Option { return nil }

func (x *external) URLs() []string { return []string{fmt.Sprintf("nats://127.0.0.1:%d", x.port)} }

func (x *external) Away(t *testing.T) { x.s.Shutdown(); x.s.WaitForShutdown() }

func (x *external) Back(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: x.port, JetStream: true, StoreDir: x.dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server is not ready")
	}
	x.s = s
}

func (x *external) Wipe(t *testing.T) {
	x.Away(t)
	if err := os.RemoveAll(x.dir); err != nil {
		t.Fatal(err)
	}
	x.Back(t)
}

func TestExternal(t *testing.T) { bustest.Run(t, startExternal) }

// cluster is three nats-servers that keep everything thrice.
type cluster struct {
	dir           string
	ports, routes [3]int
	nodes         [3]*server.Server
}

// startCluster finds free ports, and others where somebody else has taken one before a node did.
func startCluster(t *testing.T) bustest.Server {
	for range 3 {
		x := &cluster{dir: t.TempDir()}
		x.findPorts(t)
		if x.begin(t) {
			t.Cleanup(func() { x.Away(t) })
			return x
		}
		x.Away(t)
	}
	t.Fatal("no cluster gets ready")
	return nil
}

func (x *cluster) findPorts(t *testing.T) {
	var held []net.Listener
	for _, ports := range []*[3]int{&x.ports, &x.routes} {
		for i := range ports {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, l)
			ports[i] = l.Addr().(*net.TCPAddr).Port
		}
	}
	for _, l := range held {
		l.Close()
	}
}

func (x *cluster) Option() nats.Option { return nil }

func (x *cluster) URLs() (all []string) {
	for _, p := range x.ports {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	return all
}

func (x *cluster) Away(t *testing.T) {
	for i := range x.nodes {
		x.stop(i)
	}
}

func (x *cluster) stop(i int) {
	if x.nodes[i] != nil {
		x.nodes[i].Shutdown()
		x.nodes[i].WaitForShutdown()
		x.nodes[i] = nil
	}
}

func (x *cluster) Back(t *testing.T) {
	if !x.begin(t) {
		t.Fatal("a node of the cluster is not ready")
	}
}

// begin starts the nodes and tells whether all of them serve.
func (x *cluster) begin(t *testing.T) bool {
	for i := range x.nodes {
		x.start(t, i)
	}
	for _, n := range x.nodes {
		if !n.ReadyForConnections(20 * time.Second) {
			return false
		}
	}
	return true
}

func (x *cluster) start(t *testing.T, i int) {
	routes := make([]*url.URL, 0, len(x.routes))
	for _, p := range x.routes {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	s, err := server.NewServer(&server.Options{
		ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: x.ports[i], JetStream: true, StoreDir: filepath.Join(x.dir, fmt.Sprint(i)),
		NoSigs: true, NoLog: true, Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: x.routes[i]}, Routes: routes,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	x.nodes[i] = s
}

func (x *cluster) Wipe(t *testing.T) {
	x.Away(t)
	if err := os.RemoveAll(x.dir); err != nil {
		t.Fatal(err)
	}
	x.Back(t)
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers for each of the contract's tests: in the long suite")
	}
	bustest.Run(t, startCluster)
}

// TestNodeLost: with one node of three gone work is published and taken as before.
func TestNodeLost(t *testing.T) {
	x := startCluster(t).(*cluster)
	c := bustest.Connect(t, x)
	got := make(chan string, 100)
	consuming(t, c, got)
	if err := c.Publish(t.Context(), bus.Filtered, 1, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if v := <-got; v != "first" {
		t.Errorf("got %q", v)
	}
	for i := range x.nodes {
		x.stop(i)
		payload := fmt.Sprintf("without %d", i)
		bustest.WaitFor(t, "a publish "+payload, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return c.Publish(ctx, bus.Filtered, uint64(i), []byte(payload)) == nil
		})
		bustest.WaitFor(t, "work "+payload, func() bool {
			select {
			case v := <-got:
				return v == payload
			default:
				return false
			}
		})
		x.start(t, i)
		bustest.WaitFor(t, "the node's return", func() bool { return x.nodes[i].JetStreamIsCurrent() })
	}
}

// lastNode is the cluster by its last node only: the connection outlives the others.
type lastNode struct{ *cluster }

func (x lastNode) URLs() []string { return x.cluster.URLs()[2:] }

// TestMajorityLost: nodes that are no majority answer, but take no work. Who only waits for work learns of it too.
func TestMajorityLost(t *testing.T) {
	x := startCluster(t).(*cluster)
	c := bustest.Connect(t, lastNode{x})
	got := make(chan string, 100)
	consuming(t, c, got)
	if err := c.Publish(t.Context(), bus.Filtered, 1, []byte("first")); err != nil {
		t.Fatal(err)
	}
	<-got
	x.stop(0)
	x.stop(1)
	bustest.WaitFor(t, "the bus is not ready", func() bool { return c.Ready() != nil })
	x.start(t, 0)
	x.start(t, 1)
	bustest.WaitFor(t, "the bus is ready again", func() bool { return c.Ready() == nil })
}

// TestPartitionsChange: processes with other numbers in their configuration go by the streams', also while they run.
func TestPartitionsChange(t *testing.T) {
	x := startExternal(t)
	cfg := bustest.Config()
	cfg.Servers = x.URLs()
	cfg.Partitions = 2
	ctx, stop := context.WithCancel(t.Context())
	first := connectPlain(t, cfg)
	bustest.WaitFor(t, "the set-up", func() bool { return first.Maintain(ctx) == nil })
	old := connectPlain(t, cfg) // nobody starts it anew
	got := make(chan string, 1000)
	consuming(t, old, got)
	for n := range 40 {
		if err := old.Publish(ctx, bus.Filtered, uint64(n), []byte("two")); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, got, "two", 40)
	for _, partitions := range []int{7, 3} {
		cfg.Partitions = partitions
		changer := connectPlain(t, cfg)
		bustest.WaitFor(t, "the change", func() bool { return changer.Maintain(ctx) == nil })
		payload := fmt.Sprint(partitions)
		// One that has just learned it and one that may not have yet publish alike; the old one takes all of it.
		for n := range 40 {
			for _, c := range []*bus.Conn{changer, old} {
				if err := c.Publish(ctx, bus.Filtered, uint64(n), []byte(payload)); err != nil {
					t.Fatal(err)
				}
			}
		}
		collect(t, got, payload, 80)
		if n, err := changer.Backlog(ctx, bus.Filtered); n != 0 || err != nil {
			bustest.WaitFor(t, "all to be acknowledged", func() bool {
				n, err := changer.Backlog(ctx, bus.Filtered)
				return n == 0 && err == nil
			})
		}
	}
	stop()
}

func connectPlain(t *testing.T, cfg bus.Config) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

func consuming(t *testing.T, c *bus.Conn, got chan<- string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(ctx, bus.Consumer{Subject: bus.Filtered}, func(_ context.Context, batch []*bus.Work) {
			for _, w := range batch {
				got <- string(w.Data())
				w.Ack()
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("consume: %v", err)
		}
	})
}

func collect(t *testing.T, got <-chan string, want string, n int) {
	t.Helper()
	limit := time.After(bustest.Limit)
	for range n {
		select {
		case v := <-got:
			if v != want {
				t.Errorf("got %q, want %q", v, want)
			}
		case <-limit:
			t.Fatalf("%q did not all come", want)
		}
	}
}

// inProcess is the embedded server.
type inProcess struct {
	dir string
	s   atomic.Pointer[embedded.Server] // clients that come back look while it is started anew
}

func startEmbedded(t *testing.T) bustest.Server {
	e := &inProcess{dir: t.TempDir()}
	e.Back(t)
	t.Cleanup(func() { e.s.Load().Close() })
	return e
}

func (e *inProcess) URLs() []string { return nil }

// Option looks the server up at each connection, as it may have been started anew.
func (e *inProcess) Option() nats.Option {
	return func(o *nats.Options) error {
		o.InProcessServer = e
		return nil
	}
}

// InProcessConn is what the client calls to connect.
func (e *inProcess) InProcessConn() (net.Conn, error) { return e.s.Load().InProcessConn() }

func (e *inProcess) Away(t *testing.T) { e.s.Load().Close() }

func (e *inProcess) Back(t *testing.T) {
	s, err := embedded.Start(e.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	e.s.Store(s)
}

func (e *inProcess) Wipe(t *testing.T) {
	e.Away(t)
	if err := os.RemoveAll(e.dir); err != nil {
		t.Fatal(err)
	}
	e.Back(t)
}

func TestEmbedded(t *testing.T) { bustest.Run(t, startEmbedded) }

func TestEmbeddedListensOnLoopbackOnly(t *testing.T) {
	if _, err := embedded.Start(t.TempDir(), "0.0.0.0:0"); err == nil {
		t.Error("it listened on all addresses without a password")
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	c := bus.Config{Partitions: 1000, Replicas: 2, AckWait: time.Millisecond, PoisonLimit: -1}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, key := range []string{"partitions", "replicas", "ack_wait", "poison_limit"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not named in: %v", key, err)
		}
	}
}

// TestRestart: a server that is started anew keeps its clients and its work.
func TestRestart(t *testing.T) {
	e := startEmbedded(t).(*inProcess)
	c := bustest.Connect(t, e)
	if err := c.Publish(t.Context(), bus.Filtered, 1, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := e.s.Load().Restart(); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(ctx, bus.Consumer{Subject: bus.Filtered}, func(_ context.Context, batch []*bus.Work) {
			got <- string(batch[0].Data())
			batch[0].Ack()
		})
	}()
	select {
	case v := <-got:
		if v != "kept" {
			t.Errorf("got %q", v)
		}
	case <-time.After(bustest.Limit):
		t.Error("the work did not come")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
