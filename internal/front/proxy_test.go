package front_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mailfarm/mailfarm/internal/front"
)

const (
	one   = "PROXY TCP4 192.0.2.1 198.51.100.1 54321 25\r\n"
	two   = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\xd4\x31\x00\x19"
	six   = "PROXY TCP6 2001:db8::1 2001:db8::9 54321 25\r\n"
	local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

	balancer = "10.1.2.3:7"
	stranger = "203.0.113.9:7"
)

var behind = front.Proxy{Trusted: []string{"10.0.0.0/8"}}

// say writes all of text, in one piece or octet by octet, while somebody reads.
func say(t *testing.T, c net.Conn, text string, pieces bool) {
	t.Helper()
	size := len(text)
	if pieces {
		size = 1
	}
	for p := range slices.Chunk([]byte(text), max(size, 1)) {
		if _, err := c.Write(p); err != nil {
			t.Errorf("write %q: %v", text, err)
			return
		}
	}
}

// hear wants text next.
func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); string(got) != text {
		t.Fatalf("got %q, %v; want %q", got[:n], err, text)
	}
}

func TestProxyTellsTheClient(t *testing.T) {
	for _, row := range []struct{ name, header, want string }{
		{"version 1", one, "192.0.2.1 false"}, {"version 2", two, "192.0.2.1 false"}, {"IPv6", six, "2001:db8::1 false"},
		{"LOCAL", local, "10.1.2.3 true"}, {"UNKNOWN", "PROXY UNKNOWN\r\n", "10.1.2.3 true"},
	} {
		for _, pieces := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, " ", pieces), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := startBehind(t, behind, nil)
					for _, l := range []*listener{w.plain, w.secure} { // before TLS, too
						c := l.dial(balancer)
						go say(t, c, row.header+"h", pieces) // the first octet of the dialogue comes with it
						hear(t, c, "h")
						time.Sleep(time.Hour) // the header's deadline is not the dialogue's
						live(t, c)
						c.Close()
						synctest.Wait()
					}
					for i, e := range w.begun {
						if got := fmt.Sprint(e.client, " ", e.local); got != row.want || e.tls != (i == 1) {
							t.Errorf("session %d is of %s, TLS %v; want %s", i, got, e.tls, row.want)
						}
					}
					w.stop(t)
				})
			})
		}
	}
}

func TestHeaderThatIsNone(t *testing.T) {
	for _, row := range []struct{ name, sends string }{
		{"garbage", "\x00\x01\x02garbage garbage"}, {"a command", "EHLO client.example\r\n"}, {"half a header", one[:20]},
		{"nothing", ""}, {"wrong address", "PROXY TCP4 here there 1 2\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				metrics := prometheus.NewRegistry()
				w := startBehind(t, behind, func(c *front.Config) { c.Metrics = metrics })
				c := w.plain.dial(balancer)
				go c.Write([]byte(row.sends))
				live(t, func() net.Conn { // others do not wait for it
					d := w.plain.dial(balancer)
					say(t, d, one, false)
					return d
				}())
				said(t, c, "")
				if n := len(w.begun); n != 1 {
					t.Errorf("%d sessions, want that of the other client alone", n)
				}
				const want = `
					# HELP mailfarm_front_refused_total Connections that were not let in, by limit.
					# TYPE mailfarm_front_refused_total counter
					mailfarm_front_refused_total{limit="address",service="echo"} 0
					mailfarm_front_refused_total{limit="connections",service="echo"} 0
					mailfarm_front_refused_total{limit="draining",service="echo"} 0
					mailfarm_front_refused_total{limit="proxy",service="echo"} 1
				`
				if err := testutil.GatherAndCompare(metrics, strings.NewReader(want)); err != nil {
					t.Error(err)
				}
				w.Close()
				w.stop(t)
			})
		})
	}
}

// TestStrangersHeaderIsNotBelieved: who is not trusted is served as who it is, and hung up on when it sends a header.
func TestStrangersHeaderIsNotBelieved(t *testing.T) {
	for _, row := range []struct{ name, header string }{{"version 1", one}, {"version 2", two}, {"UNKNOWN", "PROXY UNKNOWN\r\n"}, {"LOCAL", local}} {
		for _, pieces := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, " ", pieces), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := startBehind(t, behind, nil)
					c := w.plain.dial(stranger)
					go func() {
						for p := range slices.Chunk([]byte(row.header), map[bool]int{false: len(row.header), true: 1}[pieces]) {
							if _, err := c.Write(p); err != nil {
								return
							}
						}
					}()
					echoed, _ := io.ReadAll(c)
					// What came before it was a header is the dialogue's, but nothing behind.
					if !strings.HasPrefix(row.header, string(echoed)) || len(echoed) > 12 {
						t.Errorf("got %q back", echoed)
					}
					for _, e := range w.begun {
						if e.client != netip.MustParseAddr("203.0.113.9") || e.local {
							t.Errorf("a session of %v, local %v", e.client, e.local)
						}
					}
					for _, fine := range []string{"PROXY LOGIN alice secret\r\n", "P", "\r\n\r\nEHLO x\r\n", "EHLO x\r\n"} {
						d := w.plain.dial(stranger)
						go say(t, d, fine, pieces)
						hear(t, d, fine)
						live(t, d)
						d.Close()
						synctest.Wait()
					}
					w.stop(t)
				})
			})
		}
	}
}

// TestOptionalHeader: a trusted peer may speak for itself, and loses no octet.
func TestOptionalHeader(t *testing.T) {
	for _, row := range []struct {
		name, sends, hears, client string
		waits                      time.Duration
	}{
		{"a header", one + "x", "x", "192.0.2.1", 0}, {"a command", "EHLO x", "EHLO x", "10.1.2.3", 0},
		{"nothing", "", "", "10.1.2.3", time.Second}, {"what begins like one", "PROXY LOGIN", "PROXY LOGIN", "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startBehind(t, front.Proxy{Trusted: []string{"10.0.0.0/8"}, Optional: true, Timeout: time.Second}, nil)
				begun := time.Now()
				c := w.plain.dial(balancer)
				go c.Write([]byte(row.sends))
				if row.client == "" {
					said(t, c, "")
					w.stop(t)
					return
				}
				hear(t, c, row.hears)
				if row.sends == "" {
					for w.Sessions() == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				live(t, c)
				if d := time.Since(begun).Truncate(10 * time.Millisecond); d != row.waits {
					t.Errorf("served after %v, want %v", d, row.waits)
				}
				if got := w.begun[0]; got.client.String() != row.client || got.local {
					t.Errorf("client %v, local %v; want %s", got.client, got.local, row.client)
				}
				c.Close()
				synctest.Wait()
				w.stop(t)
			})
		})
	}
}

// TestLimitsBehindAProxy: the client is counted, not its proxy; a proxy that looks whether the service lives is not counted.
func TestLimitsBehindAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startBehind(t, behind, func(c *front.Config) { c.MaxConnections, c.MaxPerAddress = 7, 1 })
		enter := func(header string) net.Conn {
			c := w.plain.dial(balancer)
			say(t, c, header, false)
			return c
		}
		live(t, enter(one))
		said(t, enter(two), "no: address\r\n")
		live(t, enter(six))
		said(t, enter("PROXY TCP6 2001:db8::2 2001:db8::9 54321 25\r\n"), "no: address\r\n")
		for range 2 {
			live(t, enter(local))
		}
		for range 3 { // which have not said who they speak for
			w.plain.dial(balancer)
		}
		synctest.Wait()
		said(t, w.plain.dial(balancer), "no: connections\r\n")
		w.Close()
		w.stop(t)
	})
}

// TestDrainWithAHeaderAwaited: who has connected through the proxy is told of the drain.
func TestDrainWithAHeaderAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startBehind(t, behind, nil)
		early, never := w.plain.dial(balancer), w.plain.dial(balancer)
		synctest.Wait()
		w.cancel()
		synctest.Wait()
		say(t, early, one, false)
		said(t, early, "no: draining\r\n")
		begun := time.Now()
		said(t, never, "")
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("a header was awaited for %v, want 5s", d)
		}
		w.stop(t)
	})
}

// gate lets in as many as it has room for.
type gate struct {
	mu      sync.Mutex
	room    int
	entered []string
	left    int
}

func (g *gate) Enter(service string, client netip.Addr) (front.Limit, func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered = append(g.entered, fmt.Sprint(service, " ", client))
	if g.room == 0 {
		return "banned", nil
	}
	g.room--
	return "", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.left++
	}
}

// TestGate is asked about the real client, refuses in the protocol's words, and hears of every end.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{room: 2}
		w := startBehind(t, behind, func(c *front.Config) { c.Gate, c.MaxConnections = g, 1 })
		enter := func(header string) net.Conn {
			c := w.plain.dial(balancer)
			say(t, c, header, false)
			return c
		}
		a := enter(one)
		live(t, a)
		b := w.plain.dial(stranger)
		said(t, b, "no: connections\r\n") // which the gate had let in
		if g.left != 1 {
			t.Errorf("%d left, want who was refused", g.left)
		}
		a.Close()
		synctest.Wait()
		if g.left != 2 {
			t.Errorf("%d left, want both", g.left)
		}
		said(t, enter(six), "no: banned\r\n")
		live(t, enter(local))
		if want := []string{"echo 192.0.2.1", "echo 203.0.113.9", "echo 2001:db8::1"}; !slices.Equal(g.entered, want) {
			t.Errorf("asked for %q, want %q", g.entered, want)
		}
		w.Close()
		w.stop(t)
	})
}

func TestDrainCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(c *front.Config) { c.Drain = 4 * time.Second })
		c := w.plain.dial("192.0.2.1:1")
		c.Write([]byte("x")) // and reads no answer
		w.cancel()
		begun := time.Now()
		w.stop(t)
		if d := time.Since(begun); d != 4*time.Second {
			t.Errorf("cut after %v, want 4s", d)
		}
	})
}

// TestLastAccepts: who has connected when the drain begins is told so, and not reset.
func TestLastAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := front.New(front.Config{
		MaxConnections: 100, MaxPerAddress: 100, Log: slog.New(slog.DiscardHandler),
		Begin:  func(net.Conn, front.Peer) front.Session { return &gone{} },
		Refuse: func(limit front.Limit) string { return string(limit) + "\r\n" },
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String()) // and nobody accepts yet
	if err != nil {
		t.Fatal(err)
	}
	s.Drain()
	ctx, cancel := contextEnded(t)
	defer cancel()
	if err := s.Serve(ctx, []front.Socket{{Listener: l}}); err != nil {
		t.Error(err)
	}
	said(t, c, "draining\r\n")
}

func TestPeerLog(t *testing.T) {
	for _, row := range []struct {
		local bool
		level slog.Level
		want  string
	}{
		{false, slog.LevelInfo, "INFO"}, {true, slog.LevelInfo, ""}, {true, slog.LevelWarn, "WARN"}, {true, slog.LevelError, "ERROR"},
	} {
		var b strings.Builder
		log := front.Peer{Local: row.local}.Log(slog.New(slog.NewTextHandler(&b, nil))).With("key", "value").WithGroup("g")
		log.Log(t.Context(), row.level, "happened", "a", 1)
		if got := b.String(); (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
			t.Errorf("local %v, %v: logged %q, want %q", row.local, row.level, got, row.want)
		}
	}
}

func TestProxyConfig(t *testing.T) {
	err := front.Validate("listeners", []front.Listener{
		{Address: ":25", Proxy: behind},
		{Address: ":25", Proxy: front.Proxy{Trusted: []string{"10.0.0.1", "::1/128"}, Timeout: -1}},
		{Address: ":25", Proxy: front.Proxy{Optional: true}},
	})
	for _, want := range []string{"listeners[1].proxy.trusted[0]: ", "listeners[1].proxy.timeout: ", "listeners[2].proxy.trusted: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("got %v, want three faults", err)
	}
}
