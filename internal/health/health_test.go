package health_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// site is a server and how to ask it.
type site struct {
	t    testing.TB
	s    *health.Server
	addr string
	stop func()
}

// serve starts a server on an address of this machine.
func serve(t *testing.T, address string, checks ...health.Check) *site {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_test_total", Help: "A test."})
	reg.MustRegister(counter)
	s := health.New(l, slog.New(slog.DiscardHandler), reg, checks)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(stop)
	return &site{t, s, l.Addr().String(), stop}
}

// get asks for a path; host is the Host field where it is not the address.
func (s *site) get(path, host string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// parts asks for readiness.
func (s *site) parts() (int, map[string]string) {
	s.t.Helper()
	code, body := s.get("/readyz", "")
	parts := map[string]string{}
	if err := json.Unmarshal([]byte(body), &parts); err != nil {
		s.t.Fatalf("%v in %s", err, body)
	}
	return code, parts
}

func always(err error) func(context.Context) error { return func(context.Context) error { return err } }

func TestPages(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	for path, want := range map[string]string{"/healthz": "alive", "/metrics": "mailfarm_test_total 0", "/": "/readyz", "/readyz": "{}", "/debug/pprof/": "goroutine"} {
		if code, body := s.get(path, ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := s.get("/else", ""); code != http.StatusNotFound {
		t.Errorf("/else: %d", code)
	}
}

// TestReadiness: ready only when all parts are, and it says which is not; alive in any case.
func TestReadiness(t *testing.T) {
	var bus atomic.Bool
	s := serve(t, "127.0.0.1:0",
		health.Check{Name: "bus", Ask: func(context.Context) error {
			if !bus.Load() {
				return errors.New("away: nats://secret@10.0.0.1")
			}
			return nil
		}},
		health.Check{Name: "store", Ask: always(nil)})
	code, parts := s.parts()
	if code != http.StatusServiceUnavailable || parts["bus"] != "away" || parts["store"] != "ready" || len(parts) != 2 {
		t.Errorf("%d %v", code, parts)
	}
	if code, _ := s.get("/healthz", ""); code != http.StatusOK {
		t.Errorf("alive: %d", code)
	}
	bus.Store(true)
	if code, parts := s.parts(); code != http.StatusOK || parts["bus"] != "ready" {
		t.Errorf("%d %v", code, parts)
	}
	s.s.Drain()
	if code, parts := s.parts(); code != http.StatusServiceUnavailable || parts["process"] != "draining" || parts["bus"] != "ready" {
		t.Errorf("draining: %d %v", code, parts)
	}
	if code, _ := s.get("/healthz", ""); code != http.StatusOK {
		t.Errorf("alive while draining: %d", code)
	}
}

// TestPanic of a part is that part's trouble.
func TestReadinessIsAMetric(t *testing.T) {
	var away atomic.Bool
	s := serve(t, "127.0.0.1:0",
		health.Check{Name: "store", Ask: func(context.Context) error { return nil }},
		health.Check{Name: "bus", Ask: func(context.Context) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}})
	want := func(process, store, bus int) {
		t.Helper()
		text := fmt.Sprintf(`# HELP mailfarm_ready 1 if a part that this process needs could serve now; part process is all of them, and not draining.
# TYPE mailfarm_ready gauge
mailfarm_ready{part="bus"} %d
mailfarm_ready{part="process"} %d
mailfarm_ready{part="store"} %d
`, bus, process, store)
		if err := testutil.CollectAndCompare(s.s, strings.NewReader(text)); err != nil {
			t.Error(err)
		}
	}
	want(1, 1, 1)
	away.Store(true)
	want(0, 1, 0)
	away.Store(false)
	s.s.Drain()
	want(0, 1, 1)
}

func TestPanic(t *testing.T) {
	s := serve(t, "127.0.0.1:0", health.Check{Name: "bad", Ask: func(context.Context) error { panic("oh") }}, health.Check{Name: "good", Ask: always(nil)})
	for range 2 {
		if code, parts := s.parts(); code != http.StatusServiceUnavailable || parts["bad"] != "away" || parts["good"] != "ready" {
			t.Errorf("%d %v", code, parts)
		}
	}
}

// TestSharedCheck: many who ask at once all hear a slow part's answer.
func TestSharedCheck(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{}, 100)
	s := serve(t, "127.0.0.1:0", health.Check{Name: "slow", Ask: func(context.Context) error {
		begun <- struct{}{}
		<-gate
		return nil
	}})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if code, parts := s.parts(); code != http.StatusOK {
				t.Errorf("%d %v", code, parts)
			}
		})
	}
	<-begun
	close(gate)
	wg.Wait()
}

// TestHangingCheck does not hold the answer, and is not begun again and again.
func TestHangingCheck(t *testing.T) {
	var asked atomic.Int64
	gate := make(chan struct{})
	s := serve(t, "127.0.0.1:0", health.Check{Name: "hangs", Ask: func(context.Context) error {
		asked.Add(1)
		<-gate // whatever its context says
		return nil
	}}, health.Check{Name: "good", Ask: always(nil)})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			began := time.Now()
			code, parts := s.parts()
			if took := time.Since(began); code != http.StatusServiceUnavailable || parts["hangs"] != "away" || parts["good"] != "ready" || took > 5*time.Second {
				t.Errorf("after %v: %d %v", took, code, parts)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	close(gate)
	for code := 0; code != http.StatusOK; code, _ = s.parts() {
	}
}

// TestBounds: one who says nothing, or reads nothing, costs a connection for a while; there are only so many.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		s := health.New(l, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for _, tt := range []struct {
			name, says string
			reads      bool
			most       time.Duration
		}{
			{"silent", "", true, 10 * time.Second},
			{"half a request", "GET /healthz HTTP/1.1\r\nHost: x\r\n", true, 10 * time.Second},
			{"idle", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", true, 2 * time.Minute},
			{"reads nothing", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", false, 2 * time.Minute},
			{"much header", "GET / HTTP/1.1\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100), true, 10 * time.Second},
		} {
			began := time.Now()
			c := l.dial()
			go fmt.Fprint(c, tt.says)
			if tt.reads {
				io.Copy(io.Discard, c)
			} else {
				time.Sleep(tt.most)
				if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
					t.Errorf("%s: still served", tt.name)
				}
			}
			if took := time.Since(began); took > tt.most {
				t.Errorf("%s: the connection was open for %v", tt.name, took)
			}
			c.Close()
		}
		var held []net.Conn
		for range 64 {
			held = append(held, l.dial())
		}
		synctest.Wait()
		select {
		case l.conns <- nil:
			t.Error("more connections than the bound")
		default:
		}
		for _, c := range held {
			c.Close()
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// TestProfilesAreLocal: on a loopback address only, and for who asks for one.
func TestProfilesAreLocal(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	for host, want := range map[string]int{
		"localhost": 200, "localhost:2080": 200, "127.0.0.1:2080": 200, "[::1]:2080": 200, "[::1]": 200, "rebound.example": 403, "10.0.0.1:2080": 403, "localhost.example:80": 403,
	} {
		if code, _ := s.get("/debug/pprof/", host); code != want {
			t.Errorf("%s: %d, want %d", host, code, want)
		}
	}
	all := serve(t, "0.0.0.0:0")
	_, port, _ := net.SplitHostPort(all.addr)
	all.addr = "127.0.0.1:" + port
	if code, _ := all.get("/debug/pprof/", ""); code != http.StatusNotFound {
		t.Errorf("on all addresses: %d", code)
	}
}

// TestStop lets an answer under way be read, and does not wait long for it.
func TestStop(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{})
	s := serve(t, "127.0.0.1:0", health.Check{Name: "slow", Ask: func(context.Context) error {
		close(begun)
		<-gate
		return nil
	}})
	got := make(chan int, 1)
	go func() {
		code, _ := s.parts()
		got <- code
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	// The listener is closed first.
	for {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			break
		}
		c.Close()
	}
	close(gate)
	if code := <-got; code != http.StatusOK {
		t.Errorf("the answer under way: %d", code)
	}
	<-stopped
}
