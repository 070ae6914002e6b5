package directory

import (
	"context"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// cache remembers look-ups, what was not found included, for as long as the store's version stands.
//
// Entries live in two generations: when the young one is half of the bound the old one is dropped, and what is still in
// use has moved over by then. So no clock hand, and floods of unknown addresses cost a bounded amount of memory.
type cache struct {
	store  account.Store
	max    int
	every  time.Duration
	now    func() time.Time
	missed func()

	checking sync.Mutex // held while the version is being read, so that one reads for all

	mu         sync.RWMutex
	epoch      uint64    // guarded by mu: grows when everything is dropped
	version    uint64    // guarded by mu: the store's when the entries were read, or older
	checked    time.Time // guarded by mu: when version was compared last
	young, old map[account.Key]account.Record
	byID       map[mailbox.AccountID]*account.Account
}

func newCache(store account.Store, entries int, every time.Duration, now func() time.Time) *cache {
	c := &cache{store: store, max: max(entries/2, 1), every: every, now: now, missed: func() {}}
	c.reset()
	return c
}

// reset needs mu.
func (c *cache) reset() {
	c.epoch++
	c.young, c.old = map[account.Key]account.Record{}, nil
	c.byID = map[mailbox.AccountID]*account.Account{}
}

// drop forgets everything: after a change of our own.
func (c *cache) drop() {
	c.mu.Lock()
	c.reset()
	c.mu.Unlock()
}

// fresh compares the version with the store's, when that is due, and returns the epoch.
func (c *cache) fresh(ctx context.Context) (uint64, error) {
	due := func() (uint64, bool) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		return c.epoch, c.checked.IsZero() || c.now().Sub(c.checked) >= c.every
	}
	epoch, stale := due()
	if !stale {
		return epoch, nil
	}
	c.checking.Lock()
	defer c.checking.Unlock()
	if epoch, stale = due(); !stale {
		return epoch, nil
	}
	begun := c.now()
	version, err := c.store.Version(ctx)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		c.reset()
		c.version = version
	}
	c.checked = begun
	return c.epoch, nil
}

// get finds a key without the store; known is false where the cache cannot tell.
func (c *cache) get(k account.Key) (r account.Record, known bool) {
	c.mu.RLock()
	r, known = c.young[k]
	if known {
		c.mu.RUnlock()
		return r, true
	}
	r, known = c.old[k]
	epoch := c.epoch
	c.mu.RUnlock()
	if known {
		c.put(epoch, k, r)
	}
	return r, known
}

// put remembers r unless everything was dropped since epoch.
func (c *cache) put(epoch uint64, k account.Key, r account.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.young) >= c.max {
		c.young, c.old = make(map[account.Key]account.Record, c.max/4), c.young
	}
	c.young[k] = r
}

// load asks the store for keys at once, remembers what it says, and adds it to found.
func (c *cache) load(ctx context.Context, epoch uint64, keys []account.Key, found map[account.Key]account.Record) error {
	c.missed()
	records, err := c.store.Lookup(ctx, keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		found[k] = records[i]
		c.put(epoch, k, records[i])
	}
	return nil
}

// lookup finds one key.
func (c *cache) lookup(ctx context.Context, k account.Key) (account.Record, error) {
	epoch, err := c.fresh(ctx)
	if err != nil {
		return account.Record{}, err
	}
	if r, known := c.get(k); known {
		return r, nil
	}
	found := make(map[account.Key]account.Record, 1)
	err = c.load(ctx, epoch, []account.Key{k}, found)
	return found[k], err
}

// account finds an account by id; nil where there is none.
func (c *cache) account(ctx context.Context, id mailbox.AccountID) (*account.Account, error) {
	epoch, err := c.fresh(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	a, known := c.byID[id]
	c.mu.RUnlock()
	if known {
		return a, nil
	}
	c.missed()
	as, err := c.store.Accounts(ctx, []mailbox.AccountID{id})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		if len(c.byID) >= c.max {
			clear(c.byID)
		}
		c.byID[id] = as[0]
	}
	return as[0], nil
}
