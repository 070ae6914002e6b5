package store

import (
	"sync"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
)

// emailCache keeps emails that were read with their part indexes: clients list the newest messages of a mailbox again and
// again. What an email tells never changes, but for a part index of an older version, which its reader makes anew, and one that a
// check made anew, which drops the email here; one that was removed meanwhile is of no mailbox, so that nobody asks for it. Two generations bound it: what is not asked for while one of
// them fills goes.
type emailCache struct {
	half int64 // octets of one generation; none is kept where it is 0

	mu         sync.Mutex
	young, old map[emailKey]index.Email // guarded by mu
	size       int64                    // of young, octets; guarded by mu
	drops      uint64                   // how often emails were dropped; guarded by mu
}

type emailKey struct {
	account mailbox.AccountID
	email   mailbox.EmailID
}

// emailCost is about what an email costs beside its part index and overlay, octets.
const emailCost = 300

// costOf is about what an email costs, octets.
func costOf(e *index.Email) int64 {
	return emailCost + int64(len(e.PartIndex)+len(e.Overlay.GetPrefix()))
}

func newEmailCache(octets int64) *emailCache {
	return &emailCache{half: max(octets, 0) / 2, young: map[emailKey]index.Email{}}
}

// get gives the emails that are kept, by their places in ids, and which of ids are not, with what add is told of when that was.
// The emails are shared: nobody changes what they point to.
func (c *emailCache) get(account mailbox.AccountID, ids []mailbox.EmailID, each func(i int, e index.Email)) (missing []mailbox.EmailID, drops uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, id := range ids {
		k := emailKey{account, id}
		e, ok := c.young[k]
		if !ok {
			if e, ok = c.old[k]; ok {
				delete(c.old, k)
				c.keep(k, e)
			}
		}
		if ok {
			each(i, e)
		} else {
			missing = append(missing, id)
		}
	}
	return missing, c.drops
}

// add keeps emails that were read with their part indexes after get told drops, but for those of another version: they are tried
// anew each time. None is kept where one was dropped meanwhile: they may have been read before it changed.
func (c *emailCache) add(account mailbox.AccountID, drops uint64, emails []index.Email) {
	if c.half == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops != drops {
		return
	}
	for _, e := range emails {
		if len(e.PartIndex) > 0 && e.PartIndex[0] == message.Version {
			c.keep(emailKey{account, e.ID}, e)
		}
	}
}

// drop lets go of an email whose part index was replaced.
func (c *emailCache) drop(account mailbox.AccountID, id mailbox.EmailID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	k := emailKey{account, id}
	if had, ok := c.young[k]; ok {
		c.size -= costOf(&had)
		delete(c.young, k)
	}
	delete(c.old, k)
}

// keep puts an email into the young generation; mu is held.
func (c *emailCache) keep(k emailKey, e index.Email) {
	cost := costOf(&e)
	if cost > c.half {
		return
	}
	if had, ok := c.young[k]; ok {
		c.size -= costOf(&had)
	}
	if c.size+cost > c.half {
		c.young, c.old, c.size = map[emailKey]index.Email{}, c.young, 0
	}
	c.young[k] = e
	c.size += cost
}
