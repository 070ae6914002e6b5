package directory

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// errSlowed is the refusal of a login for which there is no place to wait.
var errSlowed = errors.New("too many failed logins")

// errBusy is the refusal of a login because too many others wait for a core.
var errBusy = errors.New("too many logins at once")

// throttle slows down who guesses passwords, without locking out who knows theirs.
//
// Failures are counted per client and per account name, whether there is such an account or not. Beyond what is free, the
// passwords of a client or account are looked at one after another, with a pause that doubles from failure to failure, up to
// max_delay: the pause comes before the password is looked at, so hanging up early gains nothing, and asking on many
// connections at once only fills the few places to wait. How many are looked at at the same time is bounded by the cores, so
// a burst can run ahead of the counts by no more than that.
//
// The places to wait are few, slow.waiting, per client network and account, and slow.account_waiting per account. When a
// pause of an account ends, it is the turn of the network that has failed least often at this account, and of who came
// first among equals; where all places of an account are taken, a network that has failed less often takes the place of one
// that has more. So whoever guesses from a few addresses takes up only what the owner leaves: an owner at an address from
// which this account was not guessed at waits for the pause under way, max_delay at most, and is not refused. Only as many
// addresses as there are places, none of which has failed before, can keep him out, and each is such an address once. All of
// them together get one guess per pause, for a pause is the account's, not a network's.
//
// A client that has logged in to an account lately is not slowed by what others do to that account, only by its own failures.
type throttle struct {
	cfg   SlowConfig
	now   func() time.Time
	slots chan struct{} // a place per password that is being looked at

	mu      sync.Mutex
	queued  int                  // guarded by mu: waiting for a slot
	paused  int                  // guarded by mu: waiting for their pause
	arrived uint64               // guarded by mu: numbers those who wait
	young   map[string]*suspect  // guarded by mu, and what it points to
	old     map[string]*suspect  // guarded by mu
	trusted map[string]time.Time // guarded by mu: account and client, since when
}

// suspect is a client, an account name, or a client at an account name, with failures.
type suspect struct {
	failures int
	last     time.Time  // of the last failure
	next     time.Time  // when the next password may be looked at
	line     []*attempt // who waits, in no order; see line.go
}

func newThrottle(cfg SlowConfig, now func() time.Time) *throttle {
	return &throttle{
		cfg: cfg, now: now, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		young: map[string]*suspect{}, trusted: map[string]time.Time{},
	}
}

// clientNetwork is what failures of a client are counted by: its IPv4 address or IPv6 /64.
func clientNetwork(client string) string {
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// counted is one of the things that an attempt's failure counts for. Its key begins with its kind: c is a client, a an
// account, o an account as a client sees it that has logged in there.
type counted struct {
	key  string
	free int
}

// attempt is one password about to be looked at.
type attempt struct {
	t       *throttle
	name    string
	network string
	counts  []counted // the account last
	pair    string    // key of the network's failures at this account
	place   place
}

// begin returns once it is this attempt's turn; end it. name is the account's canonical address or what came instead,
// network is clientNetwork's. Errors: errSlowed, errBusy, ctx's.
func (t *throttle) begin(ctx context.Context, name, network string) (*attempt, error) {
	a := &attempt{t: t, name: name, network: network, pair: "p " + trustKey(name, network)}
	if network != "" {
		a.counts = append(a.counts, counted{"c " + network, t.cfg.ClientFree})
	}
	t.mu.Lock()
	since, known := t.trusted[trustKey(name, network)]
	t.mu.Unlock()
	if known && network != "" && t.now().Sub(since) < trustFor {
		a.counts = append(a.counts, counted{"o " + trustKey(name, network), t.cfg.AccountFree})
	} else {
		a.counts = append(a.counts, counted{"a " + name, t.cfg.AccountFree})
	}
	defer t.leave(a)
	for {
		if err := t.pause(ctx, a); err != nil {
			return nil, err
		}
		if err := t.takeSlot(ctx); err != nil {
			return nil, err
		}
		if t.takeTurn(a) {
			return a, nil
		}
		<-t.slots // somebody failed in between, or goes first
	}
}

// trustFor is how long a client stays known to an account.
const trustFor = 24 * time.Hour

func trustKey(name, network string) string { return name + "\x00" + network }

// wait needs mu: how long until no count forbids to go on.
func (t *throttle) wait(counts []counted) (wait time.Duration) {
	now := t.now()
	for _, c := range counts {
		if s := t.find(c.key); s != nil && t.slow(s, c) {
			wait = max(wait, s.next.Sub(now))
		}
	}
	return wait
}

// slow needs mu: whether a suspect has used up what is free.
func (t *throttle) slow(s *suspect, c counted) bool { return s.failures >= c.free }

func (t *throttle) takeSlot(ctx context.Context) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	t.mu.Lock()
	if t.queued >= t.cfg.Queue {
		t.mu.Unlock()
		return errBusy
	}
	t.queued++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.queued--
		t.mu.Unlock()
	}()
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeTurn makes others wait while this attempt is looked at; false where it must wait itself.
func (t *throttle) takeTurn(a *attempt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wait(a.counts) > 0 || !t.first(a) {
		return false
	}
	now := t.now()
	for _, c := range a.counts {
		if s := t.find(c.key); s != nil && t.slow(s, c) {
			s.next = now.Add(t.delay(s.failures - c.free))
		}
	}
	return true
}

// delay is the pause after so many failures beyond what is free.
func (t *throttle) delay(beyond int) time.Duration {
	d := t.cfg.Delay
	for range beyond {
		if d *= 2; d >= t.cfg.MaxDelay {
			return t.cfg.MaxDelay
		}
	}
	return min(d, t.cfg.MaxDelay)
}

// end tells how the attempt went and gives its place back.
func (a *attempt) end(good bool) {
	t := a.t
	<-t.slots
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, c := range a.counts {
		if good {
			if s := t.find(c.key); s != nil {
				s.next = now // whoever waits behind a right password need not go on waiting
				s.wake()
				if c.key[0] != 'c' {
					s.failures = 0 // an account's owner was here; a client may be many people
				}
			}
			continue
		}
		s := t.suspect(c.key)
		s.failures++
		s.last = now
		if t.slow(s, c) {
			s.next = now.Add(t.delay(s.failures - c.free))
		}
	}
	switch s := t.find(a.pair); {
	case good && s != nil:
		s.failures = 0
	case !good:
		s = t.suspect(a.pair)
		s.failures++
		s.last = now
	}
	if good && a.network != "" {
		if len(t.trusted) >= t.cfg.Entries {
			clear(t.trusted)
		}
		t.trusted[trustKey(a.name, a.network)] = now
	}
}

// find needs mu.
func (t *throttle) find(key string) *suspect {
	s := t.young[key]
	if s == nil {
		if s = t.old[key]; s == nil {
			return nil
		}
		delete(t.old, key)
		t.add(key, s)
	}
	if len(s.line) == 0 && s.failures > 0 && t.now().Sub(s.last) >= t.cfg.Forget {
		*s = suspect{}
	}
	return s
}

// suspect needs mu: it finds or makes one.
func (t *throttle) suspect(key string) *suspect {
	s := t.find(key)
	if s == nil {
		s = &suspect{}
		t.add(key, s)
	}
	return s
}

// add needs mu.
func (t *throttle) add(key string, s *suspect) {
	if len(t.young) >= max(t.cfg.Entries/2, 1) {
		t.young, t.old = map[string]*suspect{}, t.young
	}
	t.young[key] = s
}

// waiting is how many attempts wait for whatever.
func (t *throttle) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.paused + t.queued
}

// tidy forgets what has become too old to matter.
func (t *throttle) tidy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, m := range []map[string]*suspect{t.young, t.old} {
		for key, s := range m {
			if len(s.line) == 0 && now.Sub(s.last) >= t.cfg.Forget && !now.Before(s.next) {
				delete(m, key)
			}
		}
	}
	for key, since := range t.trusted {
		if now.Sub(since) >= trustFor {
			delete(t.trusted, key)
		}
	}
}
