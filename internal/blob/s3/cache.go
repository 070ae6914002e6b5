package s3

import (
	"container/list"
	"sync"
)

// cacheKey names octets of a segment: those of a frame at offset, or all where offset is 0.
type cacheKey struct {
	incarnation uint64
	segment     uint32
	offset      uint32
}

// cache keeps the segments that this process wrote last and the frames that it read last. What it gives out is never
// changed.
type cache struct {
	max int64

	mu    sync.Mutex // guards what follows
	size  int64
	items map[cacheKey]*list.Element
	order *list.List // of *cached, the one used last in front
}

type cached struct {
	key  cacheKey
	data []byte
}

func newCache(max int64) *cache {
	return &cache{max: max, items: map[cacheKey]*list.Element{}, order: list.New()}
}

func (c *cache) get(key cacheKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).data
}

// put keeps the octets, which nobody may change from here on.
func (c *cache) put(key cacheKey, data []byte) {
	n := int64(len(data))
	if n > c.max {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[key] != nil {
		return
	}
	c.items[key] = c.order.PushFront(&cached{key: key, data: data})
	c.size += n
	for c.size > c.max {
		c.remove(c.order.Back())
	}
}

// remove forgets an entry. Called with mu held.
func (c *cache) remove(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.items, old.key)
	c.size -= int64(len(old.data))
}

// drop forgets a segment, and the frames of it that were read one by one.
func (c *cache) drop(segment cacheKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.items {
		if key.incarnation == segment.incarnation && key.segment == segment.segment {
			c.remove(e)
		}
	}
}
