package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// Deps are what a Resolver needs; the zero value will do.
type Deps struct {
	// Log may be nil.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
	// Now is the clock of the cache; nil is time.Now.
	Now func() time.Time
	// Shuffle orders MX hosts of equal preference; nil is rand.Shuffle.
	Shuffle func(n int, swap func(i, j int))
}

// Resolver asks the DNS. Its methods may be called at once from many goroutines.
type Resolver struct {
	cfg     Config
	deps    Deps
	servers []server
	cache   *cache
	metrics *metrics
	slots   chan struct{} // a token per question under way

	// preferred is the index of the server that answered last: the next question starts there.
	preferred atomic.Int32

	ctx   context.Context // ends with Close
	close context.CancelFunc

	mu      sync.Mutex
	flights map[key]*flight // guarded by mu
	closed  bool            // guarded by mu
	running sync.WaitGroup  // counts flights
}

// flight is a question under way; found is set when done is closed.
type flight struct {
	done  chan struct{}
	found *found
}

// New checks cfg and returns a resolver. It asks nothing yet. Close it.
func New(cfg Config, deps Deps) (*Resolver, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("resolver: %w", err)
	}
	servers, err := cfg.servers()
	if err != nil {
		return nil, fmt.Errorf("resolver: %w", err)
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Shuffle == nil {
		deps.Shuffle = rand.Shuffle
	}
	r := &Resolver{cfg: cfg, deps: deps, servers: servers, cache: newCache(cfg.CacheBytes),
		slots: make(chan struct{}, cfg.InFlight), flights: map[key]*flight{}}
	r.ctx, r.close = context.WithCancel(context.Background())
	r.metrics = newMetrics(r, deps.Metrics)
	return r, nil
}

// Close ends the questions under way, which then fail, and waits for them.
func (r *Resolver) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.close()
	r.running.Wait()
	return nil
}

type onlyCached struct{}

// OnlyCached makes look-ups answer from the cache or fail at once with ErrNotCached: who has all answers at hand needs no
// goroutine to wait for them.
func OnlyCached(ctx context.Context) context.Context {
	return context.WithValue(ctx, onlyCached{}, true)
}

// lookup answers a question from the cache, from a flight that asks it already, or from a new one.
//
// A flight outlives callers that leave before it ends: its answer is for the cache and whoever asks next.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) (*found, error) {
	n, err := Name(name)
	if err != nil {
		return nil, err
	}
	k := key{n, qtype}
	if f := r.cache.get(k, r.deps.Now()); f != nil {
		r.metrics.cached.Inc()
		return f, f.failure()
	}
	if ctx.Value(onlyCached{}) != nil {
		return nil, k.fail(ErrNotCached, "")
	}
	fl, err := r.join(ctx, k)
	if err != nil {
		return nil, err
	}
	select {
	case <-fl.done:
		return fl.found, fl.found.failure()
	case <-ctx.Done():
		return nil, k.fail(ErrTemporary, ctx.Err().Error())
	}
}

func (f *found) failure() error {
	if f.err != nil {
		return f.err
	}
	return nil
}

func (k key) fail(kind error, detail string) *Error {
	return &Error{Name: k.name, Type: dns.TypeToString[k.qtype], Kind: kind, Detail: detail}
}

// join finds the flight of a question or begins one, which needs a slot.
func (r *Resolver) join(ctx context.Context, k key) (*flight, error) {
	if fl, err := r.under(k, false); fl != nil || err != nil {
		return fl, err
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, k.fail(ErrTemporary, "too many questions under way: "+ctx.Err().Error())
	case <-r.ctx.Done():
		return nil, k.fail(ErrTemporary, ErrClosed.Error())
	}
	fl, err := r.under(k, true)
	if err != nil {
		<-r.slots
	}
	return fl, err
}

// under finds the flight of a question. With slot, which it then owns, it begins one where there is none.
func (r *Resolver) under(k key, slot bool) (*flight, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, k.fail(ErrTemporary, ErrClosed.Error())
	}
	if fl := r.flights[k]; fl != nil {
		if slot {
			<-r.slots
		}
		return fl, nil
	}
	if !slot {
		return nil, nil
	}
	fl := &flight{done: make(chan struct{})}
	r.flights[k] = fl
	r.running.Add(1)
	go r.fly(k, fl)
	return fl, nil
}

func (r *Resolver) fly(k key, fl *flight) {
	defer r.running.Done()
	defer func() {
		if p := recover(); p != nil { // a hostile answer must not end the process
			r.deps.Log.Error("look-up panicked", slog.String("name", k.name), obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
			fl.found = &found{err: k.fail(ErrTemporary, "internal fault")}
		}
		r.mu.Lock()
		delete(r.flights, k)
		r.mu.Unlock()
		close(fl.done)
		<-r.slots
	}()
	// Twice the time of all tries: an answer may need TCP after UDP.
	ctx, cancel := context.WithTimeout(r.ctx, 2*time.Duration(r.cfg.Attempts)*r.cfg.Timeout)
	defer cancel()
	fl.found = r.ask(ctx, k)
	if r.ctx.Err() == nil {
		r.cache.put(k, fl.found, r.deps.Now())
	}
	r.metrics.asked(fl.found)
}

// ask follows a CNAME chain that a server left to us, link by link.
func (r *Resolver) ask(ctx context.Context, k key) *found {
	chain := newChain(k)
	for {
		msg, srv, err := r.exchange(ctx, chain.key)
		if err != nil {
			return &found{err: k.fail(ErrTemporary, err.Error()), expires: r.deps.Now().Add(r.cfg.FailureTTL)}
		}
		f, err := chain.read(msg, srv.secure)
		if err != nil {
			return &found{err: k.fail(ErrTemporary, err.Error()), expires: r.deps.Now().Add(r.cfg.FailureTTL)}
		}
		if f == nil {
			continue
		}
		f.expires = r.deps.Now().Add(r.keep(f, chain.ttl))
		return f
	}
}

// keep is how long an answer is kept: what its records say, within our bounds.
func (r *Resolver) keep(f *found, ttl time.Duration) time.Duration {
	if f.err == nil {
		return min(max(ttl, r.cfg.MinTTL), r.cfg.MaxTTL)
	}
	if ttl <= 0 { // no SOA came with it: RFC 2308 §5 says not to keep it; as long as a failure, to spare the server
		return min(r.cfg.FailureTTL, r.cfg.NegativeTTL)
	}
	return min(max(ttl, r.cfg.MinTTL), r.cfg.NegativeTTL)
}

var errNoAnswer = errors.New("no server answered")
