package bus_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
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

func (x *external) Option() nats.Option {
	return func(o *nats.Options) error {
		o.Servers = []string{fmt.Sprintf("nats://127.0.0.1:%d", x.port)}
		return nil
	}
}

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

// inProcess is the embedded server.
type inProcess struct {
	dir string
	s   *embedded.Server
}

func startEmbedded(t *testing.T) bustest.Server {
	e := &inProcess{dir: t.TempDir()}
	e.Back(t)
	t.Cleanup(func() { e.s.Close() })
	return e
}

// Option looks the server up at each connection, as it may have been started anew.
func (e *inProcess) Option() nats.Option {
	return func(o *nats.Options) error {
		o.InProcessServer = e
		return nil
	}
}

// InProcessConn is what the client calls to connect.
func (e *inProcess) InProcessConn() (net.Conn, error) { return e.s.InProcessConn() }

func (e *inProcess) Away(t *testing.T) { e.s.Close() }

func (e *inProcess) Back(t *testing.T) {
	s, err := embedded.Start(e.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	e.s = s
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
	if err := e.s.Restart(); err != nil {
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
