package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// client is the other end of a session.
type client struct {
	net.Conn
	t      *testing.T
	r      *bufio.Reader
	writes int // the server's
}

// connect begins a session with s over a pipe and reads the greeting.
func connect(t *testing.T, s *Service) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{Conn: ours, t: t, r: bufio.NewReader(ours)}
	s.front.Take(loopback{theirs, &c.writes}, &front.Socket{})
	c.want("+OK mailfarm POP3 ready")
	return c
}

func (c *client) say(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		c.t.Fatalf("send %q: %v", lines, err)
	}
}

func (c *client) want(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		got, err := c.r.ReadString('\n')
		if err != nil || got != want+"\r\n" {
			c.t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	if got, err := c.r.ReadString('\n'); err == nil || got != "" {
		c.t.Fatalf("got %q, want the connection to end", got)
	}
}

func (c *client) login() {
	c.t.Helper()
	c.say("USER alice")
	c.want("+OK and the password?")
	c.say("PASS pass word")
	if got, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(got, "+OK ") {
		c.t.Fatalf("login: got %q, %v", got, err)
	}
}

func twoMails() *fake {
	return &fake{bodies: []string{"Subject: a\r\n\r\nb\r\n", "Subject: c\r\n\r\nd\r\n"}}
}

func TestAutologout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoMails()
		s := role(t, f, nil)
		begun := time.Now()
		c := connect(t, s)
		c.want("-ERR timeout")
		c.wantEnd()
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("who does not log in was logged out after %v, want 1m", d)
		}
		c = connect(t, s)
		c.login()
		time.Sleep(9 * time.Minute)
		c.say("DELE 1")
		c.want("+OK marked")
		begun = time.Now()
		c.want("-ERR timeout")
		c.wantEnd()
		if d := time.Since(begun); d != 10*time.Minute {
			t.Errorf("logged out after %v, want 10m", d)
		}
		synctest.Wait()
		if f.expunged() != 0 {
			t.Error("autologout removed messages (RFC 1939 §3)")
		}
		if f.lockedBy() != "" {
			t.Error("autologout left the maildrop locked")
		}
		// A line that drips does not keep the session alive.
		begun = time.Now()
		c = connect(t, s)
		go io.Copy(io.Discard, c.r)
		for {
			if _, err := io.WriteString(c, "N"); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(begun); d > time.Minute+time.Second {
			t.Errorf("a dripping line kept the session alive for %v", d)
		}
		c.Close()
		s.front.Wait()
	})
}

func TestLockIsRenewedAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoMails()
		var asked atomic.Int64
		f.failBy(func(call string) error {
			if call == "Acquire" {
				asked.Add(1)
			}
			return nil
		})
		s := role(t, f, nil)
		c := connect(t, s)
		c.login()
		time.Sleep(5*time.Minute + time.Second)
		if want, asked := int64(1+15), asked.Load(); asked != want {
			t.Errorf("the lease was asked for %d times in 5 minutes, want %d", asked, want)
		}
		// Another session in vain, after waiting for a while.
		begun := time.Now()
		d := connect(t, s)
		d.say("USER alice")
		d.want("+OK and the password?")
		d.say("PASS pass word")
		d.want("-ERR [IN-USE] another session has this maildrop")
		if wait := time.Since(begun); wait != time.Second {
			t.Errorf("[IN-USE] came after %v, want 1s", wait)
		}
		// The first one dies without a word.
		c.Close()
		d.say("USER alice")
		d.want("+OK and the password?")
		d.say("PASS pass word")
		d.want("+OK 2 34 octets")
		d.say("QUIT")
		d.want("+OK bye")
		if f.lockedBy() != "" {
			t.Error("QUIT was answered with the maildrop locked")
		}
		d.wantEnd()
		s.front.Wait()
	})
}

func TestLostLockEndsTheSession(t *testing.T) {
	for _, row := range []struct {
		name string
		lose func(f *fake)
		want time.Duration
	}{
		{"taken by another", func(f *fake) {
			f.mu.Lock()
			f.holder = "another"
			f.mu.Unlock()
		}, 20 * time.Second},
		{"store away", func(f *fake) {
			f.failBy(func(call string) error {
				if call == "Acquire" {
					return status.Error(codes.Unavailable, "away")
				}
				return nil
			})
		}, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := twoMails()
				s := role(t, f, nil)
				c := connect(t, s)
				c.login()
				c.say("DELE 1")
				c.want("+OK marked")
				row.lose(f)
				begun := time.Now()
				c.wantEnd()
				if d := time.Since(begun); d != row.want {
					t.Errorf("the session ended after %v, want %v", d, row.want)
				}
				s.front.Wait()
				if f.expunged() != 0 {
					t.Error("messages were removed without the lock")
				}
			})
		})
	}
}

func TestQuitTellsWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoMails()
		f.failBy(func(call string) error {
			if call == "Expunge" {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		})
		s := role(t, f, nil)
		c := connect(t, s)
		c.login()
		c.say("DELE 1", "QUIT")
		c.want("+OK marked", "-ERR [SYS/TEMP] the marked messages were not removed, try again")
		c.wantEnd()
		f.failBy(nil)
		c = connect(t, s)
		c.login()
		c.say("RETR 1", "RETR 2", "DELE 2", "QUIT")
		c.want("+OK message follows", "Subject: a", "", "b", ".", "+OK message follows", "Subject: c", "", "d", ".", "+OK marked", "+OK bye")
		c.wantEnd()
		s.front.Wait()
		if want := (mailbox.UIDSet{{First: 20, Last: 20}}); !slices.Equal(f.removed, want) {
			t.Errorf("removed %v, want %v", f.removed, want)
		}
		if want := (mailbox.UIDSet{{First: 10, Last: 10}}); !slices.Equal(f.flagged, want) {
			t.Errorf("marked as seen %v, want %v: what was fetched and is still there", f.flagged, want)
		}
	})
}

func TestStoreTroubles(t *testing.T) {
	away := status.Error(codes.Unavailable, "secret host name is away")
	for _, row := range []struct {
		call   string
		err    error
		login  string
		retr   string
		ends   bool
		silent bool
	}{
		{call: "Login", err: away, login: "-ERR [SYS/TEMP] cannot check passwords right now, try again"},
		{call: "Login", err: status.Error(codes.ResourceExhausted, "slow"), login: "-ERR [SYS/TEMP] too many failed logins, try again later", ends: true},
		{call: "Acquire", err: away, login: "-ERR [SYS/TEMP] cannot open the maildrop right now, try again"},
		{call: "List", err: away, login: "-ERR [SYS/TEMP] cannot open the maildrop right now, try again"},
		{call: "Snapshot", err: away, login: "-ERR [SYS/TEMP] cannot open the maildrop right now, try again"},
		{call: "Emails", err: away, retr: "-ERR [SYS/TEMP] the message cannot be read right now, try again"},
		{call: "Open", err: away, retr: "-ERR [SYS/TEMP] the message cannot be read right now, try again"},
		{call: "Open", err: status.Error(codes.DataLoss, "broken"), retr: "-ERR [SYS/PERM] the message cannot be read"},
		{call: "Open end", err: away, retr: "+OK message follows", ends: true, silent: true},
	} {
		t.Run(fmt.Sprint(row.call, row.err), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := twoMails()
				f.failBy(func(call string) error {
					if call == row.call {
						return row.err
					}
					return nil
				})
				s := role(t, f, nil)
				c := connect(t, s)
				if row.login != "" {
					c.say("USER alice")
					c.want("+OK and the password?")
					c.say("PASS pass word")
					c.want(row.login)
					if f.lockedBy() != "" {
						t.Error("the maildrop stays locked after a failed login")
					}
				} else {
					c.login()
					c.say("RETR 1")
					c.want(row.retr)
				}
				if row.silent {
					// What came of the message is there, but not the dot that would make it look whole.
					rest, _ := io.ReadAll(c.r)
					if strings.Contains(string(rest), "\r\n.\r\n") {
						t.Errorf("a broken-off message looks whole: %q", rest)
					}
				} else if row.ends {
					c.wantEnd()
				} else {
					c.say("QUIT")
					c.want("+OK bye")
				}
				c.Close()
				s.front.Wait()
			})
		})
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoMails()
		f.failBy(func(call string) error {
			if call == "Open" {
				panic("boom")
			}
			return nil
		})
		s := role(t, f, nil)
		c := connect(t, s)
		c.login()
		c.say("NOOP", "RETR 1")
		c.want("+OK still here", "-ERR [SYS/TEMP] internal error")
		c.wantEnd()
		f.failBy(func(call string) error {
			if call == "Snapshot" {
				panic("boom")
			}
			return nil
		})
		c = connect(t, s)
		c.say("USER alice")
		c.want("+OK and the password?")
		c.say("PASS pass word")
		c.want("-ERR [SYS/TEMP] internal error")
		c.wantEnd()
		f.failBy(nil)
		// In the middle of a message there is nothing to say but to hang up.
		f.bodies = append(f.bodies, strings.Repeat("x\r\n", 100_000))
		f.failBy(nil)
		c = connect(t, s)
		c.login()
		f.failBy(func(call string) error {
			if call == "Open end" {
				return errPanics
			}
			return nil
		})
		c.say("RETR 3")
		rest, _ := io.ReadAll(c.r)
		if text := string(rest); !strings.HasPrefix(text, "+OK message follows\r\nx\r\n") || strings.Contains(text, "ERR") || strings.HasSuffix(text, "\r\n.\r\n") {
			t.Errorf("a message that breaks off by a panic ends in %q", rest[max(0, len(rest)-40):])
		}
		f.failBy(nil)
		c = connect(t, s)
		c.login() // the lock was given back in spite of the panic
		c.say("QUIT")
		c.want("+OK bye")
		s.front.Wait()
	})
}

func TestPipelinedRepliesLeaveInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := role(t, twoMails(), nil)
		c := connect(t, s)
		c.login()
		synctest.Wait()
		before := c.writes
		c.say("STAT", "LIST", "UIDL", "RETR 1", "TOP 2 0", "DELE 1", "NOOP")
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "+OK still here\r\n" {
				break
			}
		}
		if n := c.writes - before; n != 1 {
			t.Errorf("seven pipelined commands were answered in %d writes, want 1", n)
		}
		c.Close()
		s.front.Wait()
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoMails()
		s := role(t, f, func(c *Config, d *Deps) {
			d.Listen = func(string, string) (net.Listener, error) { return nil, errors.New("no listener is configured") }
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		waiting, deep := connect(t, s), connect(t, s)
		deep.login()
		deep.say("DELE 1")
		deep.want("+OK marked")
		synctest.Wait()
		cancel()
		waiting.want("-ERR [SYS/TEMP] server is stopping, nothing was removed")
		waiting.wantEnd()
		deep.want("-ERR [SYS/TEMP] server is stopping, nothing was removed")
		deep.wantEnd()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if f.expunged() != 0 || f.lockedBy() != "" {
			t.Errorf("after the drain: %d expunges, lock held by %q; want none", f.expunged(), f.lockedBy())
		}
	})
}

func TestDrainCutsWhoWillNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{bodies: []string{strings.Repeat("x\r\n", 100_000)}}
		s := role(t, f, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		c := connect(t, s)
		c.login()
		c.say("RETR 1") // and read nothing of it
		synctest.Wait()
		cancel()
		begun := time.Now()
		if err := <-done; err != nil || time.Since(begun) != 4*time.Second {
			t.Errorf("Run returned %v after %v, want 4s", err, time.Since(begun))
		}
		if f.lockedBy() != "" {
			t.Error("the maildrop stays locked")
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{bodies: []string{strings.Repeat("x\r\n", 100_000)}}
		s := role(t, f, nil)
		c := connect(t, s)
		c.login()
		begun := time.Now()
		c.say("RETR 1")
		s.front.Wait()
		if d := time.Since(begun); d != 2*time.Minute {
			t.Errorf("a client that reads nothing was cut after %v, want 2m", d)
		}
		if f.lockedBy() != "" {
			t.Error("the maildrop stays locked")
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := role(t, twoMails(), func(c *Config, _ *Deps) { c.MaxConnections, c.MaxPerAddress = 3, 2 })
		a, b := connect(t, s), connect(t, s)
		ours, theirs := net.Pipe()
		go s.front.Take(loopback{theirs, nil}, &front.Socket{})
		if got, err := io.ReadAll(ours); string(got) != "-ERR [SYS/TEMP] too many connections from your address\r\n" || err != nil {
			t.Errorf("third connection of one address: got %q, %v", got, err)
		}
		a.Close()
		synctest.Wait()
		c := connect(t, s)
		b.Close()
		c.Close()
		s.front.Wait()
		if n := s.front.Sessions(); n != 0 {
			t.Errorf("%d sessions are counted at the end, want none", n)
		}
	})
}

// TestPlaintextBehindSTLSIsDropped: commands sent in one packet with STLS must not run once TLS is on.
func TestPlaintextBehindSTLSIsDropped(t *testing.T) {
	cfg, err := testTLS()
	if err != nil {
		t.Fatal(err)
	}
	s := role(t, twoMails(), func(_ *Config, d *Deps) { d.TLS = cfg })
	c := connect(t, s)
	c.say("USER alice")
	c.want("+OK and the password?")
	c.say("STLS", "PASS pass word", "QUIT")
	c.want("+OK begin TLS now")
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	d := &client{Conn: tc, t: t, r: bufio.NewReader(tc)}
	d.say("PASS pass word")
	d.want("-ERR USER first")
	d.say("STLS")
	d.want("-ERR TLS is on already")
	d.login()
	d.say("STLS")
	d.want("-ERR not in this state")
	d.say("QUIT")
	d.want("+OK bye")
	c.Close()
	s.front.Wait()
}

func TestConfig(t *testing.T) {
	cfg := Config{Listeners: []front.Listener{{Address: "nonsense"}}, PlaintextNetworks: []string{"x"}, MaxPerAddress: -1, Lock: time.Second, IdleTimeout: -1}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("got no fault")
	}
	for _, key := range []string{"listeners[0].address", "plaintext_networks[0]", "max_per_address", "lock", "idle_timeout"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not among the faults: %v", key, err)
		}
	}
	var zero Config
	zero.Defaults()
	if err := zero.Validate(); err != nil {
		t.Errorf("the defaults have faults: %v", err)
	}
	f := &fake{}
	deps := Deps{Mailboxes: f, Bodies: f, Leases: f, Directory: f, Log: role(t, f, nil).log}
	if _, err := New(Config{Listeners: []front.Listener{{Address: ":0", ImplicitTLS: true}}}, deps); err == nil {
		t.Error("implicit TLS without a certificate: got no fault")
	}
}
