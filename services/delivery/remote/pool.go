package remote

import (
	"sync"
	"time"
)

// pool keeps connections for the next message to the same host.
type pool struct {
	keep time.Duration

	mu     sync.Mutex
	idle   map[string][]*peer // guarded by mu, by address
	closed bool               // guarded by mu
}

func newPool(keep time.Duration) *pool { return &pool{keep: keep, idle: map[string][]*peer{}} }

// get gives a connection to address that waits, or nil.
func (p *pool) get(address string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[address]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	p.remove(c)
	return c
}

// remove takes c out; false where it was taken already. The caller holds mu.
func (p *pool) remove(c *peer) bool {
	conns := p.idle[c.address]
	for i, other := range conns {
		if other != c {
			continue
		}
		c.timer.Stop()
		conns = append(conns[:i], conns[i+1:]...)
		if len(conns) == 0 {
			delete(p.idle, c.address)
		} else {
			p.idle[c.address] = conns
		}
		return true
	}
	return false
}

// put lets c wait for the next message; after a while it says QUIT.
func (p *pool) put(c *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return
	}
	p.idle[c.address] = append(p.idle[c.address], c)
	c.timer = time.AfterFunc(p.keep, func() {
		p.mu.Lock()
		mine := p.remove(c)
		p.mu.Unlock()
		if mine {
			c.quit()
		}
	})
}

// close ends all waiting connections, and those that are put back later.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var wg sync.WaitGroup
	for _, conns := range p.idle {
		for _, c := range conns {
			c.timer.Stop()
			wg.Go(c.quit)
		}
	}
	clear(p.idle)
	wg.Wait()
}
