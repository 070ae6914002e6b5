package fault

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// twoOfEach is the least with which a role can be restarted without being missed.
var twoOfEach = map[string]int{
	"directory": 2, "store": 2, "filter": 2, "router": 2, "delivery-local": 2, "delivery-remote": 2, "ingress": 2, "submission": 2, "imap": 2, "pop3": 2,
}

// TestRolling restarts every process, one by one, under load: a client sees a 421 or a BYE and goes to another process, and
// no other error.
func TestRolling(t *testing.T) {
	w := newParts(t, twoOfEach)
	w.Start()
	w.prepare()
	w.roll(t, func(p *harness.Process) {})
}

// TestMixed rolls a farm from an older build, which MAILFARM_OLD_BIN names, to this one and back, under load.
// tests/mixed builds it and calls this.
func TestMixed(t *testing.T) {
	old := os.Getenv("MAILFARM_OLD_BIN")
	if old == "" {
		t.Skip("MAILFARM_OLD_BIN names no older build: use make mixed-test")
	}
	w := newParts(t, twoOfEach)
	for _, p := range w.Processes() {
		p.Use(old)
	}
	w.Start()
	w.prepare()
	w.roll(t, func(p *harness.Process) { p.Use("") })
	w.roll(t, func(p *harness.Process) { p.Use(old) })
}

// roll stops each process as an operator does, changes it, and starts it again, while letters go in and readers read.
func (w *parts) roll(t *testing.T, change func(*harness.Process)) {
	t.Helper()
	stop := make(chan struct{})
	var senders sync.WaitGroup
	var handed, elsewhere atomic.Int64
	for n := range 4 {
		senders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				l := w.letter("rolled")
				l.body = harness.Letter(l.name, "carol@sender.example", bob)
				tries, err := w.sendSomewhere(l, n+i)
				elsewhere.Add(int64(tries - 1))
				handed.Add(1)
				if err != nil {
					t.Errorf("%s: a client saw more than a 421: %v", l.name, err)
					return
				}
				w.mu.Lock()
				l.answered = true
				w.mu.Unlock()
			}
		})
	}
	readers := w.watch(t)
	for _, p := range w.Processes() {
		before := handed.Load()
		if err := p.Stop(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		change(p)
		p.Start()
		// Life goes on before the next one is stopped.
		harness.Eventually(t, "letters after the restart of "+p.Name, func() bool { return handed.Load() > before+8 || t.Failed() })
		if t.Failed() {
			break
		}
	}
	close(stop)
	senders.Wait()
	sessions := readers()
	w.check(t)
	s := w.look()
	for _, l := range w.letters {
		if l.kind == "rolled" && l.answered && s.count(bob, l.name) != 1 {
			t.Errorf("%s got a 250 and is %d times in the mailbox, want once", l.name, s.count(bob, l.name))
		}
	}
	t.Logf("%d processes restarted; %d letters, %d tries at another process; %d IMAP sessions", len(w.Processes()), handed.Load(), elsewhere.Load(), sessions)
}

// letter notes a letter that is about to be handed in.
func (w *world) letter(kind string) *letter {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	l := &letter{name: fmt.Sprintf("%s-%04d", kind, w.next), kind: kind}
	w.letters = append(w.letters, l)
	return l
}

// sendSomewhere hands a letter in as another server does: at the next process where one says 421 or does not answer.
func (w *parts) sendSomewhere(l *letter, first int) (tries int, err error) {
	for tries = 1; tries <= 20; tries++ {
		err = harness.Send(w.At(w.SMTP(), (first+tries)%twoOfEach["ingress"]), "carol@sender.example", []string{bob}, l.body)
		if err == nil || !goElsewhere(err) {
			return tries, err
		}
		<-time.After(20 * time.Millisecond)
	}
	return tries, err
}

// goElsewhere tells whether an error says that this process takes no more, and nothing of the letter.
func goElsewhere(err error) bool {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) {
		return reply.Code == 421
	}
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED)
}

// watch keeps IMAP sessions open, each at one process after another, until what it returns is called. A session may end by
// a BYE or find nobody; every other error is one.
func (w *parts) watch(t *testing.T) (stop func() int64) {
	t.Helper()
	var sessions atomic.Int64
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for n := i; ; n++ {
				sessions.Add(1)
				c, err := w.login(w.At(w.IMAPS(), n%twoOfEach["imap"]), bob)
				if err == nil {
					_, err = c.Select("INBOX", nil).Wait()
					for range 10 {
						if err == nil {
							err = c.Noop().Wait()
						}
						<-time.After(100 * time.Millisecond)
					}
					c.Close()
				}
				if err != nil && !byBye(err) {
					t.Errorf("an IMAP client saw more than a BYE: %v", err)
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	return func() int64 {
		close(ended)
		wg.Wait()
		return sessions.Load()
	}
}

// errNotLetIn is a session that never began: nobody listens, or a process that ends closes the connection before the
// handshake of TLS, where it could say nothing.
var errNotLetIn = errors.New("not let in")

// byBye tells whether a session ended because its process did.
func byBye(err error) bool {
	refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return errors.Is(err, errNotLetIn) && refused || harness.IsBye(err)
}
