package smtpd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// countingConn counts writes, and says that it comes from addr.
type countingConn struct {
	net.Conn
	writes atomic.Int64
	addr   string
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func (c *countingConn) RemoteAddr() net.Addr {
	if c.addr == "" {
		return c.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(mustAddrPort(c.addr))
}

// pipe serves one end of a net.Pipe and gives the other.
func pipe(t *testing.T, s *smtpd.Server, addr string) (*client, *countingConn, <-chan struct{}) {
	t.Helper()
	ours, theirs := net.Pipe()
	counting := &countingConn{Conn: theirs, addr: addr}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(counting, false)
	}()
	return newClient(t, ours), counting, done
}

// client reads in the background, so that neither side of a pipe waits for the other.
type client struct {
	t     *testing.T
	conn  net.Conn
	lines chan string
}

func newClient(t *testing.T, conn net.Conn) *client {
	c := &client{t: t, conn: conn, lines: make(chan string, 1000)}
	go func() {
		defer close(c.lines)
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			c.lines <- strings.TrimRight(line, "\r\n")
		}
	}()
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
}

// expect reads whole replies and compares their last lines' beginnings.
func (c *client) expect(replies ...string) {
	c.t.Helper()
	for _, want := range replies {
		for {
			line, ok := <-c.lines
			if ok && len(line) > 3 && line[3] == '-' {
				continue
			}
			if !ok || !strings.HasPrefix(line, want) {
				c.t.Fatalf("got %q (open %v), want %q", line, ok, want)
			}
			break
		}
	}
}

func (c *client) closed() {
	c.t.Helper()
	if line, ok := <-c.lines; ok {
		c.t.Fatalf("got %q, want the end", line)
	}
}

func newServer(t *testing.T, cfg smtpd.Config, b smtpd.Backend) *smtpd.Server {
	t.Helper()
	cfg.Hostname = "mx.example.org"
	s, err := smtpd.New(cfg, b, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPipelinedBatchIsAnsweredInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		c, conn, done := pipe(t, newServer(t, smtpd.Config{}, b), "")
		c.expect("220")
		conn.writes.Store(0)
		var batch strings.Builder
		batch.WriteString("EHLO c\r\nMAIL FROM:<a@b>\r\n")
		for i := range 50 {
			fmt.Fprintf(&batch, "RCPT TO:<user%d@b>\r\n", i)
		}
		batch.WriteString("RCPT TO:<unknown@b>\r\nVRFY x\r\nDATA\r\n")
		c.send(batch.String())
		c.expect("250")
		for range 51 {
			c.expect("250 2.1")
		}
		c.expect("550", "252", "354")
		if n := conn.writes.Load(); n != 1 {
			t.Errorf("%d writes for one batch", n)
		}
		conn.writes.Store(0)
		c.send("x\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na\r\nBDAT 0 LAST\r\nQUIT\r\n")
		c.expect("250 2.0.0 stored", "250", "250", "250 2.0.0 chunk", "250 2.0.0 stored", "221")
		if n := conn.writes.Load(); n != 1 {
			t.Errorf("%d writes for the message and what was pipelined behind it", n)
		}
		c.closed()
		<-done
		// The buffer cuts the batch, but all that is buffered is asked in one call.
		if len(b.batches) > 4 {
			t.Errorf("52 pipelined RCPT were asked in calls of %v", b.batches)
		}
	})
}

func TestTimeouts(t *testing.T) {
	cfg := smtpd.Config{Timeouts: smtpd.Timeouts{Command: 5 * time.Minute, Data: 3 * time.Minute, Transaction: 10 * time.Minute}}
	const begin = "HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
	for _, row := range []struct {
		name  string
		play  func(c *client)
		after time.Duration
	}{
		{"silence", func(c *client) {}, 5 * time.Minute},
		{"a command octet by octet", func(c *client) {
			for range 10 {
				time.Sleep(29 * time.Second)
				c.send("N")
			}
		}, 5 * time.Minute},
		{"silence in DATA", func(c *client) { c.send(begin) }, 3 * time.Minute},
		{"DATA line by line", func(c *client) {
			c.send(begin)
			for range 4 {
				time.Sleep(2 * time.Minute)
				c.send("line\r\n")
			}
		}, 10 * time.Minute},
		{"silence in BDAT", func(c *client) {
			c.send(strings.Replace(begin, "DATA", "BDAT 10", 1))
		}, 3 * time.Minute},
		{"a transaction of RSET-less commands", func(c *client) {
			c.send("HELO c\r\nMAIL FROM:<a@b>\r\n")
			for range 4 {
				time.Sleep(2 * time.Minute)
				c.send("NOOP\r\n")
			}
		}, 10 * time.Minute},
		{"between two chunks", func(c *client) {
			c.send(strings.Replace(begin, "DATA", "BDAT 1\r\nx", 1))
		}, 5 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				start := time.Now()
				c, _, done := pipe(t, newServer(t, cfg, b), "")
				row.play(c)
				<-done
				if took := time.Since(start); took != row.after {
					t.Errorf("ended after %v, want %v", took, row.after)
				}
				last := ""
				for line := range c.lines {
					last = line
				}
				if !strings.HasPrefix(last, "421 4.4.2") {
					t.Errorf("last reply %q", last)
				}
				if len(b.messages) != 0 || b.closed != 1 {
					t.Errorf("%d messages, %d sessions closed", len(b.messages), b.closed)
				}
			})
		})
	}
}

func TestSlowReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		s := newServer(t, smtpd.Config{}, &backend{})
		start := time.Now()
		s.ServeConn(theirs, false) // Nobody reads the greeting.
		if took := time.Since(start); took != time.Minute {
			t.Errorf("ended after %v, want 1m", took)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		s := newServer(t, smtpd.Config{}, b)
		idle, _, idleDone := pipe(t, s, "")
		idle.expect("220")
		between, _, betweenDone := pipe(t, s, "")
		between.send("HELO c\r\nMAIL FROM:<a@b>\r\n")
		between.expect("220", "250", "250")
		busy, _, busyDone := pipe(t, s, "")
		busy.send("HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf")
		busy.expect("220", "250", "250", "250", "354")
		chunks, _, chunksDone := pipe(t, s, "")
		chunks.send("HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na\r\n")
		chunks.expect("220", "250", "250", "250", "250")
		synctest.Wait()

		stopped := make(chan error)
		go func() { stopped <- s.Shutdown(t.Context()) }()
		idle.expect("421 4.3.2")
		between.expect("421 4.3.2")
		<-idleDone
		<-betweenDone
		late, _, lateDone := pipe(t, s, "")
		late.expect("421 4.3.2")
		<-lateDone

		select {
		case <-busyDone:
			t.Fatal("a message in progress was cut off")
		case <-time.After(time.Minute):
		}
		busy.send(" and half\r\n.\r\nMAIL FROM:<too@late>\r\n")
		// What was pipelined behind it is still answered; then it is told.
		busy.expect("250 2.0.0 stored", "250 2.1.0", "421 4.3.2")
		<-busyDone
		chunks.send("BDAT 2 LAST\r\n\r\n")
		chunks.expect("250 2.0.0 stored", "421 4.3.2")
		<-chunksDone
		if err := <-stopped; err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if n := len(b.all()); n != 2 {
			t.Errorf("%d messages, want 2", n)
		}
	})
}

// TestDrainRunsOutOfPatience: a peer that stalls within a message is told 421 (RFC 5321 §3.8), one that does not read is cut.
func TestDrainRunsOutOfPatience(t *testing.T) {
	const head = "HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for _, row := range []struct{ name, sends, last string }{
		{"DATA", "DATA\r\nhalf", "354"},
		{"BDAT", "BDAT 3\r\na\r\nBDAT 10 LAST\r\nhalf", "250 2.0.0 chunk"},
		{"between chunks", "BDAT 3\r\na\r\n", "250 2.0.0 chunk"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				s := newServer(t, smtpd.Config{}, b)
				c, _, done := pipe(t, s, "")
				c.send(head + row.sends)
				c.expect("220", "250", "250", "250", row.last)
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("shutdown: %v", err)
				}
				<-done
				c.expect("421 4.3.2 mx.example.org")
				c.closed()
				if took := time.Since(begun); took > 8500*time.Millisecond {
					t.Errorf("ended after %v, want 8.5s at most", took)
				}
				if len(b.messages) != 0 || b.aborted != 1 || b.closed != 1 {
					t.Errorf("%d messages, %d aborted, %d closed", len(b.messages), b.aborted, b.closed)
				}
			})
		})
	}
	t.Run("does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, smtpd.Config{}, &backend{})
			ours, theirs := net.Pipe()
			defer ours.Close()
			done := make(chan struct{})
			go func() { s.ServeConn(theirs, false); close(done) }()
			synctest.Wait() // in the write of the greeting
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			s.Shutdown(ctx)
			<-done
			if took := time.Since(begun); took != 8500*time.Millisecond {
				t.Errorf("ended after %v, want 8.5s", took)
			}
		})
	})
}

// TestCutOffIsHeard: a peer that is cut off within a message reads 421, over TCP and over TLS.
func TestCutOffIsHeard(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		cfg := smtpd.Config{TLS: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
		s, addr := listen(t, cfg, &backend{}, implicit)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if implicit {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		c := newClient(t, conn)
		c.send("HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf\r\n")
		c.expect("220", "250", "250", "250", "354")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.Shutdown(ctx)
		c.expect("421 4.3.2")
		c.closed()
	}
}

func TestConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, smtpd.Config{Limits: smtpd.Limits{Connections: 4, ConnectionsPerAddress: 2}}, &backend{})
		dial := func(addr, want string) *client {
			t.Helper()
			c, _, _ := pipe(t, s, addr)
			c.expect(want)
			return c
		}
		first := dial("192.0.2.1:1", "220")
		dial("192.0.2.1:2", "220")
		dial("192.0.2.1:3", "421 4.7.0")
		dial("[2001:db8::1]:1", "220")
		dial("[2001:db8::2]:1", "220") // Of one network.
		dial("[2001:db8::3]:1", "421")
		dial("192.0.2.9:1", "421 4.3.2")
		first.send("QUIT\r\n")
		first.expect("221")
		first.closed()
		synctest.Wait()
		dial("192.0.2.1:4", "220")
		if st := s.Stats(); st.Open != 4 || st.TurnedAway != 3 || st.Connections != 5 {
			t.Errorf("stats %+v", st)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.Shutdown(ctx)
	})
}

func TestBackendRefusesConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, smtpd.Config{}, refuseAll{})
		c, _, done := pipe(t, s, "")
		c.expect("554 5.7.1 not from there")
		c.closed()
		<-done
	})
}

type refuseAll struct{}

func (refuseAll) NewSession(context.Context, *smtpd.Conn) (smtpd.Session, error) {
	return nil, reply.Permanent(554, "5.7.1", "not from there")
}

func TestLMTPRepliesPerRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{each: smtpd.Replies{nil, reply.Transient(452, "4.2.2", "mailbox full")}}
		c, _, done := pipe(t, newServer(t, smtpd.Config{LMTP: true}, b), "")
		c.send("LHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\nQUIT\r\n")
		c.expect("220", "250", "250", "250", "250", "354", "250 2.0.0 stored", "452 4.2.2 mailbox full", "221")
		<-done
	})
}

func TestImplicitTLS(t *testing.T) {
	b := &backend{}
	cfg := smtpd.Config{TLS: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	_, addr := listen(t, cfg, b, true)
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newClient(t, conn)
	c.send("EHLO c\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n")
	c.expect("220", "250", "235", "250", "250", "354", "250", "221")
	c.closed()
	if got := b.all()[0].protocol; got != "ESMTPSA" {
		t.Errorf("protocol %q", got)
	}
}

func TestPanicIsLoggedWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuilder
		s, err := smtpd.New(smtpd.Config{Hostname: "mx.example.org"}, &backend{}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		c, _, done := pipe(t, s, "")
		c.send("HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<panic@b>\r\n")
		c.expect("220", "250", "250", "421 4.3.0")
		<-done
		if text := log.String(); !strings.Contains(text, "a fault of ours") || !strings.Contains(text, "backend_test.go") {
			t.Errorf("log %s", text)
		}
		if s.Stats().Panics != 1 || s.Stats().Open != 0 {
			t.Errorf("stats %+v", s.Stats())
		}
	})
}

func TestTraceMasksCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuilder
		handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
		s, err := smtpd.New(smtpd.Config{Hostname: "mx.example.org"}, &backend{}, slog.New(handler))
		if err != nil {
			t.Fatal(err)
		}
		c, _, done := pipe(t, s, "")
		c.send("EHLO c\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\nauth plain\tAGFsaWNlAHdyb25n\r\nAUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n" +
			"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: private\r\n.\r\nQUIT\r\n")
		c.expect("220", "250", "535", "500", "334", "334", "235", "250", "250", "354", "250", "221")
		<-done
		text := log.String()
		for _, secret := range []string{"AGFsaWNlAHdyb25n", "c2VjcmV0", "YWxpY2U", "private"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the log:\n%s", secret, text)
			}
		}
		for _, line := range []string{"AUTH PLAIN ***", "MAIL FROM:<a@b>", "354 end with"} {
			if !strings.Contains(text, line) {
				t.Errorf("%q is not in the log:\n%s", line, text)
			}
		}
	})
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestConfigNamesFaults(t *testing.T) {
	_, err := smtpd.New(smtpd.Config{
		Hostname: "x", Limits: smtpd.Limits{Recipients: -1}, Timeouts: smtpd.Timeouts{Data: -1},
	}, &backend{}, quiet())
	if err == nil || !strings.Contains(err.Error(), "limits.recipients") || !strings.Contains(err.Error(), "timeouts.data") {
		t.Errorf("got %v", err)
	}
	if _, err := smtpd.New(smtpd.Config{}, &backend{}, quiet()); err == nil {
		t.Error("an empty hostname is accepted")
	}
}
