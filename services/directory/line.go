package directory

import (
	"context"
	"slices"
	"time"
)

// place is where an attempt waits: in the lines of all that it counts for. Guarded by throttle.mu, but for wake.
type place struct {
	lines   []*suspect // as attempt.counts, the account's last; empty while it does not wait
	number  uint64     // of arrival
	until   time.Time  // when its pause ends
	evicted bool       // somebody else has the place
	wake    chan struct{}
}

// pause waits until no count forbids to go on and nobody goes first. The attempt keeps its place until leave.
func (t *throttle) pause(ctx context.Context, a *attempt) error {
	t.mu.Lock()
	wait, first := t.wait(a.counts), t.first(a)
	if wait <= 0 && first {
		t.mu.Unlock()
		return nil
	}
	if err := t.join(a); err != nil {
		t.mu.Unlock()
		return err
	}
	t.paused++
	// What it found changed as it came to its turn: who stood behind it need not wait for it.
	a.place.until = t.now().Add(wait)
	a.wakeOthers()
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.paused--
		t.mu.Unlock()
	}()
	patience := t.now().Add(time.Duration(t.cfg.Waiting) * t.cfg.MaxDelay)
	for {
		left := patience.Sub(t.now())
		if left <= 0 {
			return errSlowed
		}
		if wait <= 0 {
			wait = left // until who goes first has gone
		}
		timer := time.NewTimer(min(wait, left))
		select {
		case <-timer.C:
		case <-a.place.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		t.mu.Lock()
		wait, first = t.wait(a.counts), t.first(a)
		a.place.until = t.now().Add(wait)
		evicted := a.place.evicted
		t.mu.Unlock()
		switch {
		case evicted:
			return errSlowed
		case wait <= 0 && first:
			return nil
		}
	}
}

// join needs mu: it gives the attempt its place, unless it has one. Error: errSlowed, all places are taken.
func (t *throttle) join(a *attempt) error {
	if a.place.lines != nil {
		return nil
	}
	var evicted *attempt
	for _, c := range a.counts {
		s := t.find(c.key)
		if s == nil || !t.slow(s, c) {
			continue
		}
		if s.of(a.network) >= t.cfg.Waiting {
			return errSlowed
		}
		if c.key[0] == 'a' && len(s.line) >= t.cfg.AccountWaiting {
			if evicted = slices.MaxFunc(s.line, t.compare); t.failures(evicted) <= t.failures(a) {
				return errSlowed
			}
		} else if c.key[0] != 'a' && len(s.line) >= t.cfg.Waiting {
			return errSlowed
		}
	}
	if evicted != nil {
		evicted.place.evicted = true
		evicted.forsake()
		evicted.nudge()
	}
	t.arrived++
	a.place.number = t.arrived
	a.place.wake = make(chan struct{}, 1)
	for _, c := range a.counts {
		s := t.suspect(c.key)
		s.line = append(s.line, a)
		a.place.lines = append(a.place.lines, s)
	}
	return nil
}

// leave gives the attempt's place back, if it has one.
func (t *throttle) leave(a *attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.wakeOthers()
	a.forsake()
}

// forsake needs mu: the attempt is in no line any more.
func (a *attempt) forsake() {
	for _, s := range a.place.lines {
		s.line = slices.DeleteFunc(s.line, func(other *attempt) bool { return other == a })
	}
	a.place.lines = nil
}

// wakeOthers needs mu: all who wait with the attempt for its account look again.
func (a *attempt) wakeOthers() {
	if n := len(a.place.lines); n > 0 {
		a.place.lines[n-1].wake() // the attempt itself as well, which does no harm
	}
}

// wake needs mu: all who wait in the line look again.
func (s *suspect) wake() {
	for _, a := range s.line {
		a.nudge()
	}
}

func (a *attempt) nudge() {
	select {
	case a.place.wake <- struct{}{}:
	default: // it is about to look
	}
}

// of needs mu: how many of a network are in the line.
func (s *suspect) of(network string) (n int) {
	for _, a := range s.line {
		if a.network == network {
			n++
		}
	}
	return n
}

// first needs mu: whether nobody in the account's line whose pause is over goes before the attempt.
func (t *throttle) first(a *attempt) bool {
	now := t.now()
	c := a.counts[len(a.counts)-1]
	s := t.find(c.key)
	return s == nil || !t.slow(s, c) || !slices.ContainsFunc(s.line, func(other *attempt) bool {
		return other != a && !now.Before(other.place.until) && t.compare(other, a) < 0
	})
}

// compare needs mu: whose turn comes first. Who has no place has come last.
func (t *throttle) compare(a, b *attempt) int {
	if d := t.failures(a) - t.failures(b); d != 0 {
		return d
	}
	switch x, y := a.place.number-1, b.place.number-1; { // 0, no place, becomes the highest
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// failures needs mu: how often the attempt's network has failed at its account.
func (t *throttle) failures(a *attempt) int {
	if s := t.find(a.pair); s != nil {
		return s.failures
	}
	return 0
}
