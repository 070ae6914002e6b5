package harness

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// policy is a policy server of Postfix (its SMTPD_POLICY_README): it answers by recipient.
type policy struct {
	addr string
	l    net.Listener
	wg   sync.WaitGroup

	mu      sync.Mutex
	actions map[string]string // guarded by mu
	count   map[string]int    // guarded by mu
	conns   map[net.Conn]bool // guarded by mu
}

func startPolicy(t testing.TB) *policy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &policy{addr: l.Addr().String(), l: l, actions: map[string]string{}, count: map[string]int{}, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *policy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *policy) stop() {
	err := p.l.Close()
	p.mu.Lock()
	for c := range p.conns {
		err = errors.Join(err, c.Close())
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// serve answers requests: lines of name=value up to an empty one.
func (p *policy) serve(c net.Conn) {
	lines := bufio.NewScanner(c)
	recipient := ""
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "recipient="); ok {
			recipient = v
		}
		if lines.Text() != "" {
			continue
		}
		if _, err := fmt.Fprintf(c, "action=%s\n\n", p.answer(recipient)); err != nil {
			return
		}
	}
}

func (p *policy) answer(recipient string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[recipient]++
	if a := p.actions[recipient]; a != "" {
		return a
	}
	return "DUNNO"
}

func (p *policy) set(recipient, action string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.actions[recipient] = action
}

func (p *policy) asked(recipient string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[recipient]
}
