package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// dialogue is a connection on which a test says what it wants.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialLines(t *testing.T, addr string) *dialogue {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(harness.Limit)); err != nil {
		t.Fatal(err)
	}
	return &dialogue{t, c, bufio.NewReader(c)}
}

// tlsLines is dialLines with implicit TLS.
func tlsLines(t *testing.T, f *harness.Farm, addr string) *dialogue {
	t.Helper()
	c, err := tls.Dial("tcp", addr, f.TLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(harness.Limit)); err != nil {
		t.Fatal(err)
	}
	return &dialogue{t, c, bufio.NewReader(c)}
}

// any reads one line.
func (d *dialogue) any() string {
	d.t.Helper()
	line, err := d.r.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	return line
}

// send says something without waiting for an answer.
func (d *dialogue) send(text string) {
	d.t.Helper()
	if _, err := d.conn.Write([]byte(text)); err != nil {
		d.t.Fatal(err)
	}
}

// want reads the lines of one reply and checks how its last begins.
func (d *dialogue) want(begin string) string {
	d.t.Helper()
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			d.t.Fatalf("waiting for %q: %v", begin, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, begin) {
			d.t.Fatalf("got %q, want %q", line, begin)
		}
		return line
	}
}

// say sends something and wants an answer.
func (d *dialogue) say(text, begin string) string {
	d.t.Helper()
	d.send(text)
	return d.want(begin)
}

// gone wants the other side to have hung up, whatever it said before.
func (d *dialogue) gone() {
	d.t.Helper()
	if _, err := io.Copy(io.Discard, d.r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		d.t.Errorf("the connection is not closed: %v", err)
	}
}
