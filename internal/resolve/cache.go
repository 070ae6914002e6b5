package resolve

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// key is a question.
type key struct {
	name  string
	qtype uint16
}

// found is what a question brought; exactly one of the slices or err is set. It is shared and never changed.
type found struct {
	texts   []string
	mxs     []MX
	addrs   []netip.Addr
	names   []string
	err     *Error
	secure  bool
	expires time.Time
}

// entryCost is what an entry costs beside its strings, roughly: map slot, list element, slices.
const entryCost = 320

func (f *found) cost(k key) int {
	n := entryCost + len(k.name) + 24*len(f.addrs)
	for _, t := range f.texts {
		n += 16 + len(t)
	}
	for _, m := range f.mxs {
		n += 24 + len(m.Host)
	}
	for _, s := range f.names {
		n += 16 + len(s)
	}
	return n
}

// cache keeps answers until they expire; when it is full the least recently used go. Safe for many goroutines.
type cache struct {
	limit int

	mu    sync.Mutex
	byKey map[key]*list.Element // guarded by mu
	used  *list.List            // guarded by mu; of *entry, the most recently used first
	size  int                   // guarded by mu
}

type entry struct {
	key   key
	found *found
	cost  int
}

func newCache(limit int) *cache {
	return &cache{limit: limit, byKey: map[key]*list.Element{}, used: list.New()}
}

func (c *cache) get(k key, now time.Time) *found {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[k]
	if el == nil {
		return nil
	}
	e := el.Value.(*entry)
	if !now.Before(e.found.expires) {
		c.remove(el)
		return nil
	}
	c.used.MoveToFront(el)
	return e.found
}

func (c *cache) put(k key, f *found, now time.Time) {
	if !now.Before(f.expires) {
		return
	}
	e := &entry{key: k, found: f, cost: f.cost(k)}
	if e.cost > c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byKey[k]; old != nil {
		c.remove(old)
	}
	c.byKey[k] = c.used.PushFront(e)
	for c.size += e.cost; c.size > c.limit; {
		c.remove(c.used.Back())
	}
}

// remove needs mu.
func (c *cache) remove(el *list.Element) {
	e := c.used.Remove(el).(*entry)
	delete(c.byKey, e.key)
	c.size -= e.cost
}

func (c *cache) bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
