package remote

import (
	"sync"
	"time"
)

// pool keeps connections for the next message to the same host.
type pool struct {
	keep time.Duration
	max  int
	run  func(what string, f func())

	mu       sync.Mutex
	idle     map[host][]*peer // guarded by mu
	count    int              // guarded by mu
	closed   bool             // guarded by mu
	quitting sync.WaitGroup
}

// newPool keeps at most max connections, each for a while. run runs what may panic.
func newPool(keep time.Duration, max int, run func(what string, f func())) *pool {
	return &pool{keep: keep, max: max, run: run, idle: map[host][]*peer{}}
}

// get gives a connection to h that waits, the one that waited least, or nil.
func (p *pool) get(h host) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[h]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	p.remove(c)
	return c
}

// remove takes c out; false where it was taken already. The caller holds mu.
func (p *pool) remove(c *peer) bool {
	conns := p.idle[c.host]
	for i, other := range conns {
		if other != c {
			continue
		}
		c.timer.Stop()
		p.count--
		conns = append(conns[:i], conns[i+1:]...)
		if len(conns) == 0 {
			delete(p.idle, c.host)
		} else {
			p.idle[c.host] = conns
		}
		return true
	}
	return false
}

// put lets c wait for the next message; after a while, or where enough wait, it says QUIT.
func (p *pool) put(c *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= p.max || p.keep <= 0 {
		p.quit(c)
		return
	}
	p.count++
	p.idle[c.host] = append(p.idle[c.host], c)
	c.timer = time.AfterFunc(p.keep, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.remove(c) {
			p.quit(c)
		}
	})
}

// drop ends a connection that is not to be used again, without waiting for it.
func (p *pool) drop(c *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quit(c)
}

// quit says QUIT beside the caller, who holds mu. Once the pool is closed nobody waits for that any more.
func (p *pool) quit(c *peer) {
	if p.closed {
		c.raw.Close()
		return
	}
	p.quitting.Go(func() { p.run("QUIT", c.quit) })
}

// close ends all waiting connections, and those that are put back later, and waits for what says QUIT.
func (p *pool) close() {
	p.mu.Lock()
	for _, conns := range p.idle {
		for _, c := range conns {
			c.timer.Stop()
			p.quit(c)
		}
	}
	clear(p.idle)
	p.count, p.closed = 0, true
	p.mu.Unlock()
	p.quitting.Wait()
}
