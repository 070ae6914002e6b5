package remote

import (
	"slices"
	"sync"

	"github.com/mailfarm/mailfarm/internal/envelope"
)

const (
	// waitPerDestination and waitInAll bound how many jobs are remembered that wait for a connection; more stay in the
	// ledger alone, which hints them again when they are due.
	waitPerDestination = 1000
	waitInAll          = 20_000
)

// workKey is what a hint names.
type workKey struct {
	id         envelope.QueueID
	group      string
	generation uint32
}

// place is what the gate says to a job.
type place int

const (
	// placeRun: begin now. The gate counts the job until leave.
	placeRun place = iota
	// placeWait: the gate remembers the job and gives it out by leave.
	placeWait
	// placeFull: as many wait as are remembered.
	placeFull
	// placeTwice: the same work runs or waits here already.
	placeTwice
	// placeClosed: nothing is begun any more.
	placeClosed
)

// gate bounds connections, in all and per destination. Whatever has to wait costs a few octets here and no goroutine;
// destinations with room take turns.
type gate struct {
	all, per int

	mu      sync.Mutex
	running int                     // guarded by mu
	waiting int                     // guarded by mu
	dest    map[string]*destination // guarded by mu: those with jobs
	turns   []*destination          // guarded by mu: those with waiting jobs, the next first
	known   map[workKey]struct{}    // guarded by mu: what runs or waits
	closed  bool                    // guarded by mu
}

type destination struct {
	name    string
	running int
	waiting []*job
}

func newGate(all, per int) *gate {
	return &gate{all: all, per: per, dest: map[string]*destination{}, known: map[workKey]struct{}{}}
}

// enter says what is to become of a job.
func (g *gate) enter(j *job) place {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return placeClosed
	}
	if _, ok := g.known[j.key()]; ok {
		return placeTwice
	}
	d := g.dest[j.to]
	if d == nil {
		d = &destination{name: j.to}
	}
	// Where others wait for the same destination already, this one comes behind them.
	run := g.running < g.all && d.running < g.per && len(d.waiting) == 0
	if !run && (g.waiting >= waitInAll || len(d.waiting) >= waitPerDestination) {
		return placeFull
	}
	g.dest[j.to] = d
	g.known[j.key()] = struct{}{}
	if run {
		g.running++
		d.running++
		return placeRun
	}
	if len(d.waiting) == 0 {
		g.turns = append(g.turns, d)
	}
	d.waiting = append(d.waiting, j)
	g.waiting++
	return placeWait
}

// leave ends a job that ran and gives the next one that may begin, which the gate counts from then on; nil for none.
func (g *gate) leave(j *job) *job {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.dest[j.to]
	g.running--
	d.running--
	delete(g.known, j.key())
	g.forget(d)
	return g.next()
}

// next takes a waiting job of the destination whose turn it is. Those at their bound are passed over: they are few, as each
// has its connections in use. The caller holds mu.
func (g *gate) next() *job {
	if g.running >= g.all {
		return nil
	}
	for i, d := range g.turns {
		if d.running >= g.per {
			continue
		}
		j := d.waiting[0]
		d.waiting[0] = nil
		d.waiting = d.waiting[1:]
		g.turns = slices.Delete(g.turns, i, i+1)
		if len(d.waiting) > 0 {
			g.turns = append(g.turns, d)
		}
		g.waiting--
		g.running++
		d.running++
		return j
	}
	return nil
}

// forget drops a destination without jobs. The caller holds mu.
func (g *gate) forget(d *destination) {
	if d.running == 0 && len(d.waiting) == 0 {
		delete(g.dest, d.name)
	}
}

// empty drops all that waits: the ledger has it.
func (g *gate) empty() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop()
}

// close drops all that waits and lets nothing begin any more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.drop()
}

// drop is empty; the caller holds mu.
func (g *gate) drop() {
	for _, d := range g.turns {
		for _, j := range d.waiting {
			delete(g.known, j.key())
		}
		d.waiting = nil
		g.forget(d)
	}
	g.turns, g.waiting = nil, 0
}

// counts tells how many jobs run and wait.
func (g *gate) counts() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.waiting
}
