package remote

import "sync"

// gate bounds connections, in all and per destination.
type gate struct {
	all chan struct{}
	per int

	mu   sync.Mutex
	dest map[string]*destination // guarded by mu
}

type destination struct {
	slots   chan struct{}
	present int // guarded by gate.mu: jobs that entered and did not leave
}

func newGate(all, per int) *gate {
	return &gate{all: make(chan struct{}, all), per: per, dest: map[string]*destination{}}
}

// enter admits a job that will run, or wait a little, for a destination; false where enough wait already.
func (g *gate) enter(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.dest[name]
	if d == nil {
		d = &destination{slots: make(chan struct{}, g.per)}
		g.dest[name] = d
	}
	if d.present >= g.per*(1+waiting) {
		return false
	}
	d.present++
	return true
}

// leave ends what enter admitted.
func (g *gate) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.dest[name]
	if d.present--; d.present == 0 {
		delete(g.dest, name)
	}
}

// wait blocks until a connection to the destination is allowed: first its own bound, so that a slow destination holds
// none of the places that all share.
func (g *gate) wait(name string) {
	g.slots(name) <- struct{}{}
	g.all <- struct{}{}
}

// done gives the place back.
func (g *gate) done(name string) {
	<-g.all
	<-g.slots(name)
}

func (g *gate) slots(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dest[name].slots
}
