package limits

import (
	"sync"
	"time"
)

// table counts keys. Those with open connections stay; of the others, who was not seen for longest goes when there are more
// than max.
type table struct {
	limits [kinds]limit
	max    int
	expire time.Duration

	mu      sync.Mutex
	keys    map[key]*entry      // guarded by mu, like all below and what it points to
	idle    entry               // ring of the keys without open connections: next was seen last
	resting int                 // how many there are in the ring
	busy    map[*entry]struct{} // what others are told of
	growing []*entry            // what they should be told of soon
	evicted uint64
	peers   map[uint64]*peer // by their number

	hurry chan struct{} // holds one when growing is not empty
}

// entry is one key.
type entry struct {
	key     key
	open    uint32   // connections
	recent  window   // messages or recipients
	failed  attempts // logins
	others  []saying
	said    uint32 // what others were told last
	growing bool
	leave   func() // ends one connection; made once, so that a connection costs no memory of its own
	newer   *entry // in the ring, as older is; nil outside
	older   *entry
}

// saying is what another process told of a key.
type saying struct {
	by    *peer
	at    time.Duration
	count uint32
	marks []uint32 // of attempts
}

// peer is another process.
type peer struct {
	at   time.Duration // when it spoke last
	gone bool          // it said that it leaves
}

// maxPeers bounds how many processes are listened to.
const maxPeers = 4096

// peer needs mu: it finds or makes the peer of a number, as one that speaks now; nil where there are too many.
func (t *table) peer(number uint64, now time.Duration) *peer {
	p := t.peers[number]
	if p == nil {
		if len(t.peers) >= maxPeers {
			return nil
		}
		p = &peer{}
		t.peers[number] = p
	}
	p.at = now
	return p
}

// forgetPeers needs mu: it drops those that have not spoken for long.
func (t *table) forgetPeers(now time.Duration) {
	for number, p := range t.peers {
		if now-p.at >= t.expire {
			delete(t.peers, number)
		}
	}
}

// rank is how many processes come before this one in doing what any may do for owner: none before the owner itself, or, where
// that is gone, before the one with the lowest number.
func (t *table) rank(self, owner uint64, now time.Duration) (rank int) {
	if owner == self {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for number, p := range t.peers {
		if now-p.at < t.expire && (number == owner || number < self) {
			rank++
		}
	}
	return rank
}

func newTable(limits [kinds]limit, cfg *Config) *table {
	t := &table{
		limits: limits, max: cfg.MaxKeys, expire: cfg.Gossip.Expire,
		keys: map[key]*entry{}, busy: map[*entry]struct{}{}, peers: map[uint64]*peer{}, hurry: make(chan struct{}, 1),
	}
	t.idle.newer, t.idle.older = &t.idle, &t.idle
	return t
}

// get needs mu: it finds or makes the entry of a key, and marks it as seen.
func (t *table) get(k key) *entry {
	e := t.keys[k]
	if e == nil {
		e = &entry{key: k}
		if k.kind <= pop3 || k.kind == account {
			e.leave = func() { t.close(e) }
		}
		t.keys[k] = e
		t.rest(e)
		for t.resting > t.max {
			t.evict(t.idle.newer)
		}
		return e
	}
	if e.newer != nil {
		t.rouse(e)
		t.rest(e)
	}
	return e
}

// rest needs mu: it puts an entry into the ring as the one seen last.
func (t *table) rest(e *entry) {
	e.newer, e.older = &t.idle, t.idle.older
	e.older.newer, t.idle.older = e, e
	t.resting++
}

// rouse needs mu: it takes an entry out of the ring.
func (t *table) rouse(e *entry) {
	e.newer.older, e.older.newer = e.older, e.newer
	e.newer, e.older = nil, nil
	t.resting--
}

// evict needs mu: it forgets an entry of the ring.
func (t *table) evict(e *entry) {
	t.rouse(e)
	delete(t.keys, e.key)
	delete(t.busy, e)
	t.evicted++
}

// own needs mu: what this process counts of an entry.
func (t *table) own(e *entry, now time.Duration) int {
	switch l := t.limits[e.key.kind]; {
	case e.key.kind.attempts():
		return e.failed.live(now, l.window)
	case l.window > 0:
		return e.recent.at(now, l.window)
	default:
		return int(e.open)
	}
}

// total needs mu: what all processes count of an entry, as far as they told.
func (t *table) total(e *entry, now time.Duration) int {
	n := t.own(e, now)
	for i := range e.others {
		if o := &e.others[i]; t.holds(o, now) {
			n += int(o.count)
		}
	}
	return n
}

// holds tells whether what was told still does.
func (t *table) holds(o *saying, now time.Duration) bool { return !o.by.gone && now-o.at < t.expire }

// fits needs mu: how many of n more are within the limit of a kind.
func (t *table) fits(e *entry, n int, now time.Duration) int {
	l := t.limits[e.key.kind]
	if l.max < 1 {
		return n
	}
	return min(n, max(l.max-t.total(e, now), 0))
}

// count needs mu: it adds to a kind with a window. Its fits was called before.
func (t *table) count(e *entry, n int, now time.Duration) {
	e.recent.add(n)
	t.grown(e, now)
}

// enter opens a connection of a key, unless there are too many.
func (t *table) enter(k key, now time.Duration) (leave func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.get(k)
	if t.fits(e, 1, now) == 0 {
		return nothing, false
	}
	if e.open++; e.open == 1 {
		t.rouse(e)
	}
	t.grown(e, now)
	return e.leave, true
}

func (t *table) close(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.open--; e.open == 0 {
		t.rest(e)
		for t.resting > t.max {
			t.evict(t.idle.newer)
		}
	}
}

// nothing ends what was not begun.
func nothing() {}

// take counts n of each of two kinds of the same client or account, or as many as fit into both, and returns how many.
// With all it takes all or none.
func (t *table) take(a, b key, n int, all bool, now time.Duration) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	ea, eb := t.limited(a), t.limited(b)
	fit := n
	for _, e := range []*entry{ea, eb} {
		if e != nil {
			fit = t.fits(e, fit, now)
		}
	}
	if fit < n && all {
		return 0
	}
	for _, e := range []*entry{ea, eb} {
		if e != nil && fit > 0 {
			t.count(e, fit, now)
		}
	}
	return fit
}

// limited needs mu: the entry of a key whose kind has a limit; nil where it has none.
func (t *table) limited(k key) *entry {
	if t.limits[k.kind].max < 1 {
		return nil
	}
	return t.get(k)
}

// grown needs mu: it sees to it that the others hear of an entry that counts more than before.
func (t *table) grown(e *entry, now time.Duration) {
	l := t.limits[e.key.kind]
	n := t.own(e, now)
	if l.max < 1 || n < l.share && !t.heard(e, now) {
		return
	}
	t.busy[e] = struct{}{}
	if n-int(e.said) < l.share || e.growing {
		return
	}
	e.growing = true
	t.growing = append(t.growing, e)
	select {
	case t.hurry <- struct{}{}:
	default:
	}
}

// heard needs mu: whether others count the same key, so that every count of ours matters.
func (t *table) heard(e *entry, now time.Duration) bool {
	for i := range e.others {
		if t.holds(&e.others[i], now) {
			return true
		}
	}
	return false
}

// hear needs mu: it notes what another process told of a key.
func (t *table) hear(k key, by *peer, count uint32, marks []uint32, now time.Duration) *entry {
	e := t.keys[k]
	if e == nil && count == 0 {
		return nil
	}
	e = t.get(k)
	free := -1
	for i := range e.others {
		o := &e.others[i]
		if o.by == by {
			*o = saying{by, now, count, marks}
			return e
		}
		if !t.holds(o, now) {
			free = i
		}
	}
	if free >= 0 {
		e.others[free] = saying{by, now, count, marks}
	} else {
		e.others = append(e.others, saying{by, now, count, marks})
	}
	if t.own(e, now) > 0 {
		t.busy[e] = struct{}{}
	}
	return e
}

// distinct needs mu: how many different attempts all processes know of an entry.
func (t *table) distinct(e *entry, now time.Duration) int {
	own := t.own(e, now)
	if !t.heard(e, now) {
		return own
	}
	seen := make(map[uint32]struct{}, own)
	for _, x := range e.failed {
		seen[x.mark] = struct{}{}
	}
	for i := range e.others {
		if o := &e.others[i]; t.holds(o, now) {
			for _, m := range o.marks {
				seen[m] = struct{}{}
			}
		}
	}
	return len(seen)
}

// forgive forgets the failed attempts of a client, those that others told of too.
func (t *table) forgive(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.keys[k]; e != nil {
		e.failed, e.others = e.failed[:0], e.others[:0]
	}
}
