package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
)

// namedEmail is an email that names itself.
func namedEmail(account, id, octets int) index.Email {
	text := fmt.Sprintf("%c%d/%d ", message.Version, account, id)
	return index.Email{ID: mailbox.EmailID(id), PartIndex: append([]byte(text), make([]byte, octets)...)}
}

// TestEmailCache: what is found is what was put there, of that account, in the order asked for, and all is bounded, from many
// goroutines.
func TestEmailCache(t *testing.T) {
	const octets = 100_000
	c := newEmailCache(octets)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 7))
			hits := 0
			for range 5000 {
				account := 1 + r.IntN(3)
				ids := make([]mailbox.EmailID, 1+r.IntN(20))
				for i := range ids {
					ids[i] = mailbox.EmailID(1 + r.IntN(60)) // some twice
				}
				found := map[int]bool{}
				missing := c.get(mailbox.AccountID(account), ids, func(i int, e index.Email) {
					found[i] = true
					if want := namedEmail(account, int(ids[i]), 1000); e.ID != want.ID || !slices.Equal(e.PartIndex, want.PartIndex) {
						t.Errorf("account %d, email %d: got %.20q", account, ids[i], e.PartIndex)
					}
				})
				hits += len(found)
				var read []index.Email
				for i, id := range ids {
					if !found[i] {
						if missing[len(read)] != id {
							t.Errorf("missing %v of %v, found %v", missing, ids, found)
							return
						}
						read = append(read, namedEmail(account, int(id), 1000))
					}
				}
				if len(read) != len(missing) {
					t.Errorf("missing %v of %v, found %v", missing, ids, found)
					return
				}
				c.add(mailbox.AccountID(account), read)
			}
			if hits == 0 {
				t.Error("nothing was ever found")
			}
		})
	}
	wg.Wait()
	size := int64(0)
	for _, e := range c.young {
		size += emailCost + int64(len(e.PartIndex))
	}
	if size != c.size || size > octets/2 {
		t.Errorf("the young generation has %d octets, counted as %d, of %d", size, c.size, octets/2)
	}
	for _, e := range c.old {
		size += emailCost + int64(len(e.PartIndex))
	}
	if size > octets {
		t.Errorf("%d octets are held, more than %d", size, octets)
	}
}

// TestEmailCacheKeepsNot: what is too large, or of another version, is asked for each time; so is everything without a cache.
func TestEmailCacheKeepsNot(t *testing.T) {
	older := namedEmail(1, 2, 10)
	older.PartIndex[0] = message.Version - 1
	for _, tt := range []struct {
		name   string
		octets int64
		email  index.Email
		kept   bool
	}{
		{"small", 10_000, namedEmail(1, 2, 10), true},
		{"large", 10_000, namedEmail(1, 2, 6000), false},
		{"without an index", 10_000, index.Email{ID: 2}, false},
		{"an older index", 10_000, older, false},
		{"no memory", -1, namedEmail(1, 2, 10), false},
	} {
		c := newEmailCache(tt.octets)
		c.add(1, []index.Email{tt.email})
		missing := c.get(1, []mailbox.EmailID{2}, func(int, index.Email) {})
		if got := len(missing) == 0; got != tt.kept {
			t.Errorf("%s: kept %v, want %v", tt.name, got, tt.kept)
		}
	}
}
