package imap_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

func dialTLS(t testing.TB, addr string) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, clientTLS())
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestDrain: whoever waits is told BYE, a command in progress ends, and Run returns.
func TestDrain(t *testing.T) {
	f := startFarm(t, nil)
	user := f.user(t)
	idle := watch(t, f, user, "SELECT INBOX")
	fmt.Fprint(idle.c, "i IDLE\r\n")
	if line, err := idle.c.readLine(); err != nil || line != "+ idling" {
		t.Fatal(line, err)
	}
	waits := watch(t, f, user)
	appends := watch(t, f, user)
	message := numbered(0, 1)[0]
	fmt.Fprintf(appends.c, "a APPEND INBOX {%d}\r\n", len(message))
	if line, err := appends.c.readLine(); err != nil || !strings.HasPrefix(line, "+ ") {
		t.Fatal(line, err)
	}
	stopped := make(chan struct{})
	go func() { f.stop(); close(stopped) }()
	for _, c := range []*lineConn{idle.c, waits.c} {
		if line, err := c.readLine(); err != nil || line != "* BYE server shutting down" {
			t.Errorf("got %q, %v", line, err)
		}
		if _, err := c.readLine(); err != io.EOF {
			t.Errorf("the connection goes on: %v", err)
		}
	}
	fmt.Fprintf(appends.c, "%s\r\n", message)
	if line, err := appends.c.readLine(); err != nil || !strings.HasPrefix(line, "a OK [APPENDUID") {
		t.Errorf("got %q, %v", line, err)
	}
	if line, err := appends.c.readLine(); err != nil || !strings.HasPrefix(line, "* BYE") {
		t.Errorf("got %q, %v", line, err)
	}
	<-stopped
	if _, err := net.DialTimeout("tcp", f.addr, time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

// TestTimeouts: who does not log in and who says nothing is told BYE.
func TestTimeouts(t *testing.T) {
	f := startFarm(t, func(c *imapsvc.Config) {
		c.LoginTimeout = 300 * time.Millisecond
		c.IdleTimeout = 400 * time.Millisecond
		c.ReadTimeout = 200 * time.Millisecond
	})
	user := f.user(t)
	slow := dial(t, f.addr, false)
	idle := watch(t, f, user, "SELECT INBOX")
	fmt.Fprint(idle.c, "i IDLE\r\n")
	half := watch(t, f, user)
	fmt.Fprint(half.c, "a NO")
	for _, tc := range []struct {
		name string
		c    *lineConn
		want []string
	}{
		{"no login", slow, []string{"* OK ", "* BYE [UNAVAILABLE] login took too long"}},
		{"half a command", half.c, []string{"* BYE autologout"}},
		{"idle", idle.c, []string{"+ idling", "* BYE autologout"}},
	} {
		for _, want := range tc.want {
			if line, err := tc.c.readLine(); err != nil || !strings.HasPrefix(line, want) {
				t.Errorf("%s: got %q, %v, want %q", tc.name, line, err, want)
			}
		}
		if _, err := tc.c.readLine(); err != io.EOF {
			t.Errorf("%s: the connection goes on: %v", tc.name, err)
		}
	}
}

// TestLimits: connections beyond the limits are told so.
func TestLimits(t *testing.T) {
	f := startFarm(t, func(c *imapsvc.Config) { c.MaxPerAddress = 2 })
	first := dial(t, f.addr, false)
	second := dial(t, f.addr, false)
	for _, c := range []*lineConn{first, second} {
		if line, err := c.readLine(); err != nil || !strings.HasPrefix(line, "* OK ") {
			t.Fatal(line, err)
		}
	}
	third := dial(t, f.addr, false)
	if line, err := third.readLine(); err != nil || !strings.HasPrefix(line, "* BYE [LIMIT]") {
		t.Errorf("got %q, %v", line, err)
	}
	fmt.Fprint(first, "a LOGOUT\r\n")
	for range 2 {
		if _, err := first.readLine(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.readLine(); err != io.EOF {
		t.Fatal(err)
	}
	// The place is free once the session has ended, which is a moment after its connection has.
	deadline := time.Now().Add(5 * time.Second)
	for {
		c := dial(t, f.addr, false)
		line, err := c.readLine()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "* OK ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %q", line)
		}
		runtime.Gosched()
	}
}

// TestLostNotice: with the bus away an idle session is told all the same, a little later.
func TestLostNotice(t *testing.T) {
	f := startFarm(t, func(c *imapsvc.Config) { c.CompareEvery = 20 * time.Millisecond })
	user, account := f.account(t)
	f.notices.lost.Store(true)
	w := watch(t, f, user, "SELECT INBOX")
	fmt.Fprint(w.c, "i IDLE\r\n")
	if line, err := w.c.readLine(); err != nil || line != "+ idling" {
		t.Fatal(line, err)
	}
	for i := range 3 {
		f.fill(t, account, "INBOX", numbered(i, i+1)...)
		if line, err := w.c.readLine(); err != nil || line != fmt.Sprintf("* %d EXISTS", i+1) {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, err := w.c.readLine(); err != nil { // RECENT
			t.Fatal(err)
		}
	}
}

// TestIdleAtOnce measures how long an idle session waits to be told.
func TestIdleAtOnce(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	w := watch(t, f, user, "SELECT INBOX")
	fmt.Fprint(w.c, "i IDLE\r\n")
	if _, err := w.c.readLine(); err != nil {
		t.Fatal(err)
	}
	f.fill(t, account, "INBOX", numbered(0, 1)...)
	began := time.Now()
	if line, err := w.c.readLine(); err != nil || line != "* 1 EXISTS" {
		t.Fatal(line, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("told after %v", took)
	}
}

// TestIdleMemory: a TLS connection that idles takes little memory, the client's half of this process included.
func TestIdleMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures memory")
	}
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	const n = 400
	read := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	open := func(count int) []*tls.Conn {
		var conns []*tls.Conn
		for range count {
			c := dialTLS(t, f.secure)
			_, err := io.WriteString(c, "a LOGIN "+user+" "+quote(password)+"\r\nb SELECT INBOX\r\nc IDLE\r\n")
			check(t, err)
			var got []byte
			buf := make([]byte, 4096)
			for !strings.Contains(string(got), "+ idling") {
				k, err := c.Read(buf)
				check(t, err)
				got = append(got, buf[:k]...)
			}
			conns = append(conns, c)
		}
		return conns
	}
	keep := open(20) // what is shared
	before := read()
	keep = append(keep, open(n)...)
	after := read()
	each := (after - before) / n
	t.Logf("%d octets per connection, both ends", each)
	if each > 80<<10 {
		t.Errorf("%d octets per connection, both ends, want 80 KiB at most", each)
	}
	runtime.KeepAlive(keep)
}
