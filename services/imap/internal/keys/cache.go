package keys

import (
	"container/list"
	"sync"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Run names a run of BlockSize UIDs of a mailbox. What a UID stands for never changes within one UIDVALIDITY.
type Run struct {
	Account     mailbox.AccountID
	Mailbox     mailbox.ID
	UIDValidity mailbox.UIDValidity
	Number      uint32 // UID / BlockSize
}

// NumberOf is the run that a UID lies in.
func NumberOf(uid mailbox.UID) uint32 { return uint32(uid) / BlockSize }

// Cache keeps blocks, the most recently used, up to a number of octets. It may be used by many goroutines.
type Cache struct {
	limit int64

	mu    sync.Mutex
	held  map[Run]*list.Element // guarded by mu
	order *list.List            // of *entry, the last used first; guarded by mu
	size  int64                 // guarded by mu
}

type entry struct {
	run   Run
	block *Block
	size  int64
}

// NewCache makes an empty cache for so many octets.
func NewCache(limit int64) *Cache {
	return &Cache{limit: limit, held: map[Run]*list.Element{}, order: list.New()}
}

// Get gives what is held of a run, nil for nothing.
func (c *Cache) Get(run Run) *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.held[run]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry).block
}

// Put keeps a block in the place of another of its run, and lets go of those not used for longest. Of two that were made at
// once from the same one, the one that comes last stays: what it lacks is made again when it is asked for.
func (c *Cache) Put(run Run, b *Block) {
	size := b.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.held[run]; e != nil {
		c.drop(e)
	}
	if size > c.limit {
		return
	}
	c.held[run] = c.order.PushFront(&entry{run, b, size})
	c.size += size
	for c.size > c.limit {
		c.drop(c.order.Back())
	}
}

// drop lets go of a block; mu is held.
func (c *Cache) drop(e *list.Element) {
	held := c.order.Remove(e).(*entry)
	delete(c.held, held.run)
	c.size -= held.size
}

// Size is how many octets are held.
func (c *Cache) Size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
