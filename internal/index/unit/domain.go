package unit

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
)

const (
	// sumAge is how old a domain's sum may be while there is room, and fullAge where there is little, so that it decides
	// whether anything fits. A sum that takes long to read may be sumCost or fullCost times as old as that took.
	sumAge   = time.Second
	sumCost  = 20
	fullAge  = 100 * time.Millisecond
	fullCost = 10
	// little is the share of a limit, one in so many, that is little room.
	little = 20
	// maxSums bounds the domains that are remembered.
	maxSums = 65536
)

// Domain is what an account's row tells of its domain.
type Domain struct {
	// Name is empty where the account was not placed.
	Name string
	// Limits hold for the sum over its accounts, and Each for accounts without limits of their own. 0 is none.
	Limits, Each index.Limits
}

func (d *Domain) limited() bool { return d.Name != "" && d.Limits != index.Limits{} }

// DomainSums are what the accounts of domains use in all, as far as one process knows: what it read some time ago, what it has
// written since, and what it is about to write. The zero value knows nothing.
type DomainSums struct {
	mu    sync.Mutex
	known map[string]*domainSum // guarded by mu
}

type domainSum struct {
	// read is when reading began, which took cost; the zero time where it was never read.
	read time.Time
	cost time.Duration
	// used is what was read, done what this process has ever added, and from what that was when reading began. pending is what
	// writes that have not ended asked room for.
	used, done, from, pending index.Limits
	// frees counts writes that removed something. loose tells that less may be used than it seems: something was removed since,
	// or is counted that ended while it was read. Nothing is refused by it.
	frees int
	loose bool
}

// all is what the domain's accounts use at most.
func (d *domainSum) all() index.Limits {
	since := index.Limits{Size: d.done.Size - d.from.Size, Messages: d.done.Messages - d.from.Messages}
	return plus(d.used, plus(since, d.pending))
}

func (s *DomainSums) of(domain string) *domainSum {
	d := s.known[domain]
	if d != nil {
		return d
	}
	if s.known == nil || len(s.known) >= maxSums {
		kept := map[string]*domainSum{}
		for name, d := range s.known {
			if d.pending != (index.Limits{}) {
				kept[name] = d
			}
		}
		s.known = kept
	}
	d = &domainSum{}
	s.known[domain] = d
	return d
}

// Reading is one of a domain's sum.
type Reading struct {
	sums  *DomainSums
	sum   *domainSum
	began time.Time
	from  index.Limits
	frees int
	loose bool
}

// Reading is called before a domain's sum is read, and its Set with what was read: what ends between is counted then, twice
// where the sum has it already, and never not at all.
func (s *DomainSums) Reading(domain string) Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(domain)
	return Reading{sums: s, sum: d, began: time.Now(), from: d.done, frees: d.frees, loose: d.pending != (index.Limits{})}
}

// Set takes over what the domain's accounts use.
func (r *Reading) Set(used index.Limits) {
	r.sums.mu.Lock()
	defer r.sums.mu.Unlock()
	if d := r.sum; d.read.Before(r.began) {
		d.read, d.cost, d.used, d.from = r.began, time.Since(r.began), used, r.from
		d.loose = r.loose || d.pending != (index.Limits{}) || d.done != r.from || d.frees != r.frees
	}
}

// Forget has a domain's sum read anew.
func (s *DomainSums) Forget(domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.known[domain]; d != nil {
		d.read = time.Time{}
	}
}

// take asks room for a write that began at a time. known is false where the sum must be read first.
func (s *DomainSums) take(d *Domain, need index.Limits, began time.Time) (fit, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.of(d.Name)
	would := plus(sum.all(), need)
	if sum.read.IsZero() || began.Sub(sum.read) > sum.mayBe(d.Limits, would) {
		return false, false
	}
	if fit = fits(d.Limits, would.Messages, would.Size); fit {
		sum.pending = plus(sum.pending, need)
	}
	return fit, fit || !sum.loose || !sum.read.Before(began)
}

// mayBe is how old the sum may be where so much would be used.
func (d *domainSum) mayBe(l, would index.Limits) time.Duration {
	if near := (index.Limits{Size: l.Size - l.Size/little, Messages: l.Messages - l.Messages/little}); !fits(near, would.Messages, would.Size) {
		return max(fullAge, fullCost*d.cost)
	}
	return max(sumAge, sumCost*d.cost)
}

// end takes back what was asked for, and counts what came of it.
func (s *DomainSums) end(domain string, asked, added index.Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(domain)
	d.pending = plus(d.pending, index.Limits{Size: -asked.Size, Messages: -asked.Messages})
	d.done = plus(d.done, index.Limits{Size: max(0, added.Size), Messages: max(0, added.Messages)})
	if min(added.Size, added.Messages) < 0 {
		// The sum may have been read after it was removed: it is not taken off, but read again before it is said to be full.
		d.frees++
		d.loose = true
	}
}

func plus(a, b index.Limits) index.Limits {
	return index.Limits{Size: a.Size + b.Size, Messages: a.Messages + b.Messages}
}

// staleSums are domains whose sums must be read before a write is tried again.
type staleSums struct{ domains []string }

func (e *staleSums) Error() string {
	return fmt.Sprintf("use of %d domains is not known", len(e.domains))
}

// Stale tells the domains whose sums are to be read (domainquota.Read) before a write that failed with err is tried again.
func Stale(err error) []string {
	var e *staleSums
	if errors.As(err, &e) {
		return e.domains
	}
	return nil
}

// roomInDomain tells whether messages may be added by the limits of the account's domain. Where its use is not known it lets
// them, and Flush fails.
func (u *Unit) roomInDomain(a *Account, messages, size int64) error {
	if !a.Domain.limited() {
		return nil
	}
	need := index.Limits{Size: size, Messages: messages}
	fit, known := u.Domains.take(&a.Domain, need, u.Began)
	switch {
	case !known:
		u.stale = append(u.stale, a.Domain.Name)
	case !fit:
		return index.ErrOverQuota
	default:
		a.asked = plus(a.asked, need)
	}
	return nil
}

// End counts what the unit has done once its transaction has ended. It is called once for every unit.
func (u *Unit) End(committed bool) {
	for _, a := range u.accounts {
		if !a.Domain.limited() {
			continue
		}
		var added index.Limits
		if committed {
			added = index.Limits{Size: a.Size - a.before.Size, Messages: a.Messages - a.before.Messages}
		}
		if a.asked != (index.Limits{}) || added != (index.Limits{}) {
			u.Domains.end(a.Domain.Name, a.asked, added)
		}
	}
}

// Place notes which domain an account belongs to, and tells whether that is new.
func (u *Unit) Place(a *Account, domain string) (was string, changed bool) {
	was = a.Domain.Name
	if was == domain {
		return was, false
	}
	a.Domain = Domain{Name: domain}
	a.dirty = true
	return was, true
}

// Tell files a message in INBOX whether or not there is room.
func (u *Unit) Tell(account *Account, m index.Message) (index.AppendResult, error) {
	b, err := u.inbox(account)
	if err != nil {
		return index.AppendResult{}, err
	}
	return u.append(b, []index.Message{m}, false)
}

// Used is what a domain's accounts use, as writes know it; known is false where it must be read first.
func (s *DomainSums) Used(domain string, l index.Limits) (used index.Limits, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(domain)
	used = d.all()
	return used, !d.read.IsZero() && time.Since(d.read) <= d.mayBe(l, used) && (!d.loose || !l.Full(used))
}
