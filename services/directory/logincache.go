package directory

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
)

// loginCache remembers passwords that were right, as MACs under a key that only this process has and that dies with it.
//
// A MAC is bound to the account's version, so a changed credential makes it worthless at once. Two generations bound it,
// like the cache of look-ups.
type loginCache struct {
	key [sha256.Size]byte
	max int
	ttl time.Duration

	mu         sync.Mutex
	young, old map[[sha256.Size]byte]time.Time // guarded by mu: until when
}

func newLoginCache(entries int, ttl time.Duration) *loginCache {
	c := &loginCache{max: max(entries/2, 1), ttl: ttl, young: map[[sha256.Size]byte]time.Time{}}
	rand.Read(c.key[:])
	return c
}

func (c *loginCache) mac(a *account.Account, password string) [sha256.Size]byte {
	h := hmac.New(sha256.New, c.key[:])
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(a.ID))
	binary.BigEndian.PutUint64(b[8:], a.Version)
	h.Write(b[:])
	h.Write([]byte(password))
	return [sha256.Size]byte(h.Sum(nil))
}

// has tells whether password was right lately for a as it stands. Comparing MACs by a map leaks nothing: they cannot be
// steered without the key.
func (c *loginCache) has(a *account.Account, password string, now time.Time) bool {
	m := c.mac(a, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.young[m]
	if !ok {
		until, ok = c.old[m]
	}
	return ok && now.Before(until)
}

func (c *loginCache) add(a *account.Account, password string, now time.Time) {
	m := c.mac(a, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.max {
		c.young, c.old = make(map[[sha256.Size]byte]time.Time, c.max/4), c.young
	}
	c.young[m] = now.Add(c.ttl)
}
