package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// echo is a session that sends back what it gets, octet by octet, and says how it ends.
type echo struct {
	nc     net.Conn
	client netip.Addr
	tls    bool
	local  bool
	drain  chan struct{}
	cut    sync.Once
}

func (e *echo) Serve() {
	defer e.nc.Close()
	octet := make([]byte, 1)
	for {
		if _, err := e.nc.Read(octet); err != nil {
			break
		}
		if _, err := e.nc.Write(octet); err != nil {
			return
		}
	}
	select {
	case <-e.drain:
		io.WriteString(e.nc, "bye\r\n")
	default:
	}
}

func (e *echo) Wake() {
	close(e.drain) // twice would panic
	e.nc.SetReadDeadline(time.Unix(1, 0))
}

func (e *echo) Cut() { e.cut.Do(func() { e.nc.Close() }) }

// from is an end of a pipe whose peer has an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func addr(ip string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ip)) }

// listener gives out what is sent to it: connections, or errors.
type listener struct {
	accepts chan any
	once    sync.Once
	closed  chan struct{}
}

func newListener() *listener { return &listener{accepts: make(chan any), closed: make(chan struct{})} }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepts:
		if err, ok := a.(error); ok {
			return nil, err
		}
		return a.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return addr("127.0.0.1:25") }

func (l *listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// dial connects as who has the address.
func (l *listener) dial(ip string) net.Conn {
	ours, theirs := net.Pipe()
	l.accepts <- from{theirs, addr(ip)}
	return ours
}

// world is a Server with two listeners, the second with implicit TLS.
type world struct {
	*front.Server
	plain, secure *listener
	cancel        context.CancelFunc
	done          chan error

	mu      sync.Mutex
	begun   []*echo
	refused []string
}

func start(t *testing.T, change func(*front.Config)) *world {
	return startBehind(t, front.Proxy{}, change)
}

// startBehind starts a server that is behind a proxy.
func startBehind(t *testing.T, proxy front.Proxy, change func(*front.Config)) *world {
	w := &world{plain: newListener(), secure: newListener(), done: make(chan error, 1)}
	cfg := front.Config{
		Service: "echo", MaxConnections: 3, MaxPerAddress: 2, Log: slog.New(slog.DiscardHandler),
		Begin: func(nc net.Conn, peer front.Peer) front.Session {
			w.mu.Lock()
			defer w.mu.Unlock()
			e := &echo{nc: nc, client: peer.Client, tls: peer.ImplicitTLS, local: peer.Local, drain: make(chan struct{})}
			w.begun = append(w.begun, e)
			return e
		},
		Refuse: func(limit front.Limit) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, string(limit))
			return "no: " + string(limit) + "\r\n"
		},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.Server, err = front.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	listeners := []front.Listener{{Address: "plain:1", Proxy: proxy}, {Address: "secure:1", ImplicitTLS: true, Proxy: proxy}}
	go func() {
		w.done <- w.Run(ctx, func(network, address string) (net.Listener, error) {
			if network != "tcp" {
				t.Errorf("network %q, want tcp", network)
			}
			return map[string]net.Listener{"plain:1": w.plain, "secure:1": w.secure}[address], nil
		}, listeners)
	}()
	<-w.Ready()
	return w
}

// stop drains and wants no error.
func (w *world) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if !w.plain.isClosed() || !w.secure.isClosed() || w.Sessions() != 0 {
		t.Errorf("at the end: listeners closed %v and %v, %d sessions", w.plain.isClosed(), w.secure.isClosed(), w.Sessions())
	}
}

// live wants an answer.
func live(t *testing.T, c net.Conn) {
	t.Helper()
	octet := []byte("x")
	if _, err := c.Write(octet); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := io.ReadFull(c, octet); err != nil {
		t.Fatalf("read: %v", err)
	}
}

// said wants all that a connection still says.
func said(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got, err := io.ReadAll(c); string(got) != want || err != nil {
		t.Errorf("got %q, %v; want %q and the end", got, err, want)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		a := w.plain.dial("[2001:db8::1]:1")
		live(t, a) // before the next, so that they begin in this order
		b := w.secure.dial("[2001:db8::2]:1")
		live(t, b)
		said(t, w.plain.dial("[2001:db8::3]:1"), "no: address\r\n")
		said(t, w.secure.dial("[2001:db8::3]:1"), "") // where a handshake is awaited
		c := w.plain.dial("[::ffff:192.0.2.1]:1")
		live(t, c)
		said(t, w.plain.dial("192.0.2.2:1"), "no: connections\r\n")
		a.Close()
		synctest.Wait()
		d := w.plain.dial("[2001:db8::4%eth0]:1") // the place is free again
		live(t, d)
		if n := w.Sessions(); n != 3 {
			t.Errorf("%d sessions, want 3", n)
		}
		if want := []string{"address", "address", "connections"}; !slices.Equal(w.refused, want) {
			t.Errorf("refused %q, want %q", w.refused, want)
		}
		var begun []string
		for _, e := range w.begun {
			begun = append(begun, fmt.Sprint(e.client, " ", e.tls))
		}
		if want := []string{"2001:db8::1 false", "2001:db8::2 true", "192.0.2.1 false", "2001:db8::4 false"}; !slices.Equal(begun, want) {
			t.Errorf("sessions began as %q, want %q", begun, want)
		}
		for _, c := range []net.Conn{b, c, d} {
			c.Close()
		}
		synctest.Wait()
		for range 2 { // nothing is left of earlier counts
			live(t, w.plain.dial("[2001:db8::1]:1"))
		}
		w.Close()
		w.stop(t)
	})
}

func TestRefusalDoesNotWaitForTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *front.Config) { c.MaxPerAddress = 1 })
		live(t, w.plain.dial("192.0.2.1:1"))
		begun := time.Now()
		w.plain.dial("192.0.2.1:1") // and read nothing of what it says
		live(t, w.plain.dial("192.0.2.2:1"))
		if d := time.Since(begun); d > 100*time.Millisecond {
			t.Errorf("a refused client held up another for %v, want at most 100ms", d)
		}
		w.Close()
		w.stop(t)
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		a, b := w.plain.dial("192.0.2.1:1"), w.plain.dial("192.0.2.2:1")
		live(t, a)
		live(t, b)
		if w.Draining() {
			t.Error("draining before the end of the context")
		}
		w.cancel()
		synctest.Wait()
		if !w.Draining() || !w.plain.isClosed() || !w.secure.isClosed() {
			t.Error("the end of the context does not close the listeners")
		}
		select {
		case err := <-w.done:
			t.Fatalf("Run returned %v before the sessions had ended", err)
		default:
		}
		ours, theirs := net.Pipe()
		go w.Take(from{theirs, addr("192.0.2.3:1")}, &front.Socket{})
		said(t, ours, "no: draining\r\n")
		said(t, a, "bye\r\n")
		said(t, b, "bye\r\n")
		w.stop(t)
	})
}

func TestCloseCutsWhoWillNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		c := w.plain.dial("192.0.2.1:1")
		if _, err := c.Write([]byte("x")); err != nil { // and read no answer
			t.Fatal(err)
		}
		w.cancel()
		synctest.Wait()
		select {
		case err := <-w.done:
			t.Fatalf("Run returned %v with a session in a write", err)
		default:
		}
		w.Close()
		w.Close()
		w.stop(t)
	})
}

func TestFailingAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		failure := errors.New("too many open files")
		var pauses []time.Duration
		series := func(n int) {
			pauses = pauses[:0]
			w.plain.accepts <- failure
			for range n {
				begun := time.Now()
				w.plain.accepts <- failure // taken once the pause is over
				pauses = append(pauses, time.Since(begun))
			}
		}
		ms := time.Millisecond
		series(9)
		if want := []time.Duration{5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, time.Second}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		begun := time.Now()
		live(t, w.secure.dial("192.0.2.1:1"))
		if d := time.Since(begun); d != 0 {
			t.Errorf("one listener's trouble holds up the other for %v", d)
		}
		live(t, w.plain.dial("192.0.2.2:1"))
		series(1)
		if want := []time.Duration{5 * ms}; !slices.Equal(pauses, want) {
			t.Errorf("pauses behind a connection %v, want %v", pauses, want)
		}
		w.Close()
		begun = time.Now()
		w.stop(t)
		if d := time.Since(begun); d != 0 {
			t.Errorf("a pause holds up the end for %v", d)
		}
	})
}

func TestClosedListenerIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil)
		c := w.plain.dial("192.0.2.1:1")
		live(t, c)
		w.secure.Close()
		said(t, c, "bye\r\n")
		if err := <-w.done; !errors.Is(err, net.ErrClosed) || !w.plain.isClosed() {
			t.Errorf("got %v, the other listener closed: %v; want net.ErrClosed", err, w.plain.isClosed())
		}
	})
}

func TestOpenOpensAllOrNone(t *testing.T) {
	first, taken := newListener(), errors.New("address in use")
	listen := func(_, address string) (net.Listener, error) {
		if address == "a:1" {
			return first, nil
		}
		return nil, taken
	}
	s, _ := front.New(front.Config{Log: slog.New(slog.DiscardHandler)})
	err := s.Run(t.Context(), listen, []front.Listener{{Address: "a:1"}, {Address: "b:1"}, {Address: "c:1"}})
	if !errors.Is(err, taken) || err.Error() != "listen on b:1: address in use" || !first.isClosed() {
		t.Errorf("got %v, the first listener closed: %v", err, first.isClosed())
	}
	select {
	case <-s.Ready():
		t.Error("ready without its listeners")
	default:
	}
}

// TestManyAtOnce lets real connections come and go while the server drains.
func TestManyAtOnce(t *testing.T) {
	var sockets []front.Socket
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, front.Socket{Listener: l})
	}
	s, _ := front.New(front.Config{
		MaxConnections: 8, MaxPerAddress: 8, Log: slog.New(slog.DiscardHandler),
		Begin: func(nc net.Conn, peer front.Peer) front.Session {
			return &echo{nc: nc, client: peer.Client, drain: make(chan struct{})}
		},
		Refuse: func(front.Limit) string { return "\r\n" },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, sockets) }()
	var clients sync.WaitGroup
	served := make(chan struct{}, 1000)
	for i := range 16 {
		clients.Go(func() {
			for {
				c, err := net.Dial("tcp", sockets[i%2].Addr().String())
				if err != nil {
					return // the listener is closed
				}
				octet := []byte("x")
				c.Write(octet)
				if n, _ := c.Read(octet); n == 1 && octet[0] == 'x' {
					select {
					case served <- struct{}{}:
					default:
					}
				}
				c.Close()
				if n := s.Sessions(); n > 8 {
					t.Errorf("%d sessions, want at most 8", n)
				}
			}
		})
	}
	for range 200 {
		<-served
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	clients.Wait()
	if n := s.Sessions(); n != 0 {
		t.Errorf("%d sessions at the end", n)
	}
}

// BenchmarkTake is what a connection costs to be let in and forgotten.
func BenchmarkTake(b *testing.B) {
	s, _ := front.New(front.Config{
		MaxConnections: math.MaxInt, MaxPerAddress: math.MaxInt, Log: slog.New(slog.DiscardHandler),
		Begin: func(net.Conn, front.Peer) front.Session { return &gone{} },
	})
	nc, l := from{nil, addr("192.0.2.1:1")}, &front.Socket{}
	b.ReportAllocs()
	for b.Loop() {
		s.Take(nc, l)
	}
	s.Wait()
}

// gone is a session whose client has left already.
type gone struct{ _ byte }

func (*gone) Serve() {}
func (*gone) Wake()  {}
func (*gone) Cut()   {}

// contextEnded is a context that has ended.
func contextEnded(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}
