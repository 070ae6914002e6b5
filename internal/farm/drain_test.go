package farm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/farm"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// errGoodbye is the end of a dialogue that the server has said good-bye in.
var errGoodbye = errors.New("good-bye")

// dialogue is a client that wants an answer to everything, or a good-bye.
type dialogue struct {
	net.Conn
	lines   *bufio.Reader
	goodbye string // how a line begins that is one
}

// converse connects; nil where nobody listens or greets any more.
func converse(port int, goodbye string) *dialogue {
	conn, err := net.Dial("tcp", at(port))
	if err != nil {
		return nil
	}
	conn.SetDeadline(time.Now().Add(patience))
	d := &dialogue{conn, bufio.NewReader(conn), goodbye}
	if _, err := d.line(); err != nil {
		conn.Close()
		return nil
	}
	return d
}

func (d *dialogue) line() (string, error) {
	line, err := d.lines.ReadString('\n')
	if err == nil && strings.HasPrefix(line, d.goodbye) {
		return line, errGoodbye
	}
	return line, err
}

// say sends text and returns the first line of the answer that begins as one of ends.
func (d *dialogue) say(text string, ends ...string) (string, error) {
	_, wrote := io.WriteString(d, text) // if that fails there is a good-bye to read
	for {
		line, err := d.line()
		if err != nil {
			if !errors.Is(err, errGoodbye) {
				err = fmt.Errorf("behind %q: %w (write: %v)", text, err, wrote)
			}
			return line, err
		}
		for _, e := range ends {
			if strings.HasPrefix(line, e) {
				return line, nil
			}
		}
	}
}

// TestDrainUnderLoad: with clients in the middle of everything each dialogue gets all its answers until a good-bye, what
// got a 250 is delivered and nothing else, and the process ends without an error.
func TestDrainUnderLoad(t *testing.T) {
	ports := freePorts(t)
	cfg := newConfig(t, ports, func(c *farm.Config) { c.Drain.Delay = 200 * time.Millisecond })
	r := start(t, cfg, ports)
	var accepted, goodbyes atomic.Int64
	var clients sync.WaitGroup
	ended := make(chan struct{})
	// each converses again and again, until the server says good-bye or cannot be reached.
	each := func(n, port int, goodbye string, dialogue func(d *dialogue) error) {
		for range n {
			clients.Go(func() {
				for {
					d := converse(port, goodbye)
					if d == nil {
						select {
						case <-ended:
							return
						default:
							continue // at a limit, or between greeting and drain
						}
					}
					err := dialogue(d)
					d.Close()
					switch {
					case errors.Is(err, errGoodbye):
						goodbyes.Add(1)
						return
					case err != nil:
						t.Errorf("a dialogue broke off: %v", err)
						return
					}
				}
			})
		}
	}
	each(12, ports.SMTP, "421", func(d *dialogue) error {
		if _, err := d.say("EHLO client.example\r\n", "250 "); err != nil {
			return err
		}
		for {
			for _, step := range []struct{ says, wants string }{
				{"MAIL FROM:<carol@sender.example>\r\n", "250"}, {"RCPT TO:<" + bob + ">\r\n", "250"}, {"DATA\r\n", "354"}, {letter, "250"},
			} {
				if _, err := d.say(step.says, step.wants); err != nil {
					return err
				}
			}
			accepted.Add(1)
		}
	})
	each(4, ports.SMTP, "421", func(d *dialogue) error { // who comes and goes
		_, err := d.say("EHLO client.example\r\nQUIT\r\n", "221")
		return err
	})
	login := "a LOGIN " + alice + " " + farm.DevPassword + "\r\n"
	each(6, ports.IMAP, "* BYE", func(d *dialogue) error {
		if _, err := d.say(login, "a OK"); err != nil {
			return err
		}
		for {
			for _, says := range []string{"b SELECT INBOX\r\n", "b NOOP\r\n", "b STATUS INBOX (MESSAGES)\r\n"} {
				if _, err := d.say(says, "b OK"); err != nil {
					return err
				}
			}
		}
	})
	each(6, ports.IMAP, "* BYE", func(d *dialogue) error {
		if _, err := d.say(login, "a OK"); err != nil {
			return err
		}
		_, err := d.say("b IDLE\r\n", "b OK") // which only a good-bye ends
		return err
	})
	each(1, ports.POP3, "-ERR [SYS/TEMP]", func(d *dialogue) error {
		for _, says := range []string{"USER " + alice + "\r\n", "PASS " + farm.DevPassword + "\r\n"} {
			if _, err := d.say(says, "+OK"); err != nil {
				return err
			}
		}
		for {
			if _, err := d.say("STAT\r\n", "+OK"); err != nil {
				return err
			}
		}
	})
	r.eventually("much is going on", func() bool { return accepted.Load() > 200 })

	conn, err := admin.Dial("", cfg.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := adminv1.NewAdminClient(conn).Drain(ctx, &adminv1.DrainRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.Drained || first.Sessions["imap"] < 6 {
		t.Errorf("first answer: %v, %v", first, err)
	}
	if code, parts := r.ready(); code != http.StatusServiceUnavailable || parts["process"] != "draining" {
		t.Errorf("readiness: %d, %v", code, parts)
	}
	for last := first; !last.GetDrained(); {
		if last, err = stream.Recv(); err != nil {
			t.Errorf("not told that it is drained: %v", err)
			break
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last answer: %v", err)
	}
	r.stop() // which wants no error of Run
	close(ended)
	clients.Wait()
	t.Logf("%d messages, %d dialogues ended by a good-bye", accepted.Load(), goodbyes.Load())
	if goodbyes.Load() < 20 {
		t.Errorf("%d dialogues were said good-bye to, of 29", goodbyes.Load())
	}
	start(t, cfg, ports).letters(bob, int(accepted.Load()))
}

// TestDrainDelay: a process that drains still serves until the delay is over.
func TestDrainDelay(t *testing.T) {
	ports := freePorts(t)
	cfg := newConfig(t, ports, func(c *farm.Config) { c.Drain.Delay = 3 * time.Second })
	r := start(t, cfg, ports)
	r.farm.Drain()
	r.eventually("not ready", func() bool { code, _ := r.ready(); return code == http.StatusServiceUnavailable })
	if err := r.send(ports.SMTP, "", "carol@sender.example", alice, letter); err != nil {
		t.Errorf("a message within the delay: %v", err)
	}
	r.eventually("drained", func() bool {
		select {
		case <-r.farm.Drained():
			return true
		default:
			return false
		}
	})
	if _, err := net.Dial("tcp", at(ports.SMTP)); err == nil {
		t.Error("still listens")
	}
}
