package servers

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server, and can be made to do it badly.
type Proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	striking sync.Mutex // held while Strike is asked

	mu    sync.Mutex
	mode  Mode              // guarded by mu
	moved chan struct{}     // guarded by mu: closed when the mode changes
	conns map[net.Conn]bool // guarded by mu
}

// Mode is how a Proxy passes things on.
type Mode struct {
	// Refuse closes every connection, those that are there and those that come.
	Refuse bool
	// Stall passes nothing on, as a network that was cut: nobody is told.
	Stall bool
	// Delay is how long each piece that a client sends is held up.
	Delay time.Duration
	// CutAfter closes a connection once the client has sent so many octets on it since the mode began; 0: never.
	CutAfter int64
	// Strike, where it is set, is asked of each piece what befalls its connection; of one at a time.
	Strike func(piece []byte, fromClient bool) Blow
}

// Blow is what befalls a connection with a piece of what is sent on it.
type Blow int

const (
	// Pass passes the piece on.
	Pass Blow = iota
	// Lose closes the connection instead, and Halve with half of the piece passed on. Last passes all of it on, and nothing
	// that comes back.
	Lose
	Halve
	Last
)

// NewProxy listens on loopback for as long as the test runs.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{l: l, target: target, moved: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Set(Mode{Refuse: true})
		p.wg.Wait()
	})
	return p
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Set changes the mode, also for connections that are there. What Strike has decided has been done when it returns.
func (p *Proxy) Set(m Mode) {
	p.striking.Lock()
	defer p.striking.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.moved)
	p.moved = make(chan struct{})
	if m.Refuse {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *Proxy) now() (Mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.moved
}

// keep notes a connection, unless the mode is to refuse it.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode.Refuse {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			continue
		}
		p.wg.Go(func() {
			defer p.drop(c)
			s, err := net.Dial("tcp", p.target)
			if err != nil || !p.keep(s) {
				return
			}
			defer p.drop(s)
			p.wg.Go(func() {
				p.copy(s, c, true)
				s.Close()
			})
			p.copy(c, s, false)
		})
	}
}

// Ports are those from which the connections come to the server that are there.
func (p *Proxy) Ports() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports []int
	for c := range p.conns {
		if c.RemoteAddr().String() == p.target {
			ports = append(ports, c.LocalAddr().(*net.TCPAddr).Port)
		}
	}
	return ports
}

// strike asks what befalls a connection with a piece, and does it. It tells whether it was anything.
func (p *Proxy) strike(m Mode, to, from net.Conn, piece []byte, fromClient bool) bool {
	if m.Strike == nil {
		return false
	}
	p.striking.Lock()
	defer p.striking.Unlock()
	blow := m.Strike(piece, fromClient)
	switch blow {
	case Pass:
		return false
	case Lose:
		piece = nil
	case Halve:
		piece = piece[:len(piece)/2]
	}
	p.drop(from)
	to.Write(piece) // the connection ends in any case
	p.drop(to)
	return true
}

// copy passes on what comes from one side until it ends.
func (p *Proxy) copy(to, from net.Conn, fromClient bool) {
	buf := make([]byte, 32<<10)
	var sent int64
	var since <-chan struct{}
	for {
		n, err := from.Read(buf)
		m, moved := p.now()
		if moved != since {
			since, sent = moved, 0
		}
		for m.Stall {
			<-moved
			m, moved = p.now()
		}
		if fromClient {
			if m.Delay > 0 {
				select {
				case <-time.After(m.Delay):
				case <-moved:
				}
			}
			if sent += int64(n); m.CutAfter > 0 && sent > m.CutAfter {
				to.Write(buf[:n/2])
				from.Close()
				return
			}
		}
		if n > 0 {
			if p.strike(m, to, from, buf[:n], fromClient) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF && fromClient {
				to.(*net.TCPConn).CloseWrite()
			}
			return
		}
	}
}
