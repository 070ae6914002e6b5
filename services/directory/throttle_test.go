package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func slowConfig() SlowConfig {
	var cfg Config
	cfg.Defaults()
	return cfg.Slow
}

// try is one attempt with a wrong or a right password; it tells how long it had to wait.
func try(t *testing.T, th *throttle, name, network string, good bool) (time.Duration, error) {
	t.Helper()
	begun := time.Now()
	a, err := th.begin(t.Context(), name, network)
	if err == nil {
		a.end(good)
	}
	return time.Since(begun), err
}

func TestGuessingIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(slowConfig(), time.Now)
		var waits []time.Duration
		for i := range 13 {
			// From ever new addresses: the account is what counts.
			wait, err := try(t, th, "alice@example.org", fmt.Sprintf("192.0.2.%d", i), false)
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, wait)
		}
		want := []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30}
		for i := range want {
			if waits[i] != want[i]*time.Second {
				t.Errorf("guess %d waited %v, want %v", i+1, waits[i], want[i]*time.Second)
			}
		}
		if wait, err := try(t, th, "bob@example.org", "192.0.2.1", false); wait != 0 || err != nil {
			t.Errorf("another account waited %v (%v), want 0", wait, err)
		}
		// The owner gets in after the pause, and then all is forgiven.
		if wait, err := try(t, th, "alice@example.org", "198.51.100.1", true); wait != 30*time.Second || err != nil {
			t.Errorf("the right password waited %v (%v), want 30s", wait, err)
		}
		if wait, err := try(t, th, "alice@example.org", "198.51.100.2", false); wait != 0 || err != nil {
			t.Errorf("after the right password: waited %v (%v), want 0", wait, err)
		}
	})
}

func TestClientIsSlowedOverManyAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(slowConfig(), time.Now)
		var total time.Duration
		for i := range 100 {
			wait, err := try(t, th, fmt.Sprintf("u%d@example.org", i), "192.0.2.1", false)
			if err != nil {
				t.Fatal(err)
			}
			total += wait
		}
		if total < 30*time.Minute {
			t.Errorf("100 accounts tried in %v, want more than 30m", total)
		}
		if wait, err := try(t, th, "u1@example.org", "192.0.2.2", true); wait != 0 || err != nil {
			t.Errorf("another client waited %v (%v), want 0", wait, err)
		}
	})
}

// TestOwnerIsNotLockedOut: from where the owner logged in before, others' guesses do not count.
func TestOwnerIsNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(slowConfig(), time.Now)
		if _, err := try(t, th, "alice@example.org", "203.0.113.5", true); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if _, err := try(t, th, "alice@example.org", fmt.Sprintf("192.0.2.%d", i), false); err != nil {
				t.Fatal(err)
			}
		}
		if wait, err := try(t, th, "alice@example.org", "203.0.113.5", true); wait != 0 || err != nil {
			t.Errorf("the owner waited %v (%v), want 0", wait, err)
		}
		// But who guesses from there is slowed as well.
		var last time.Duration
		for range 7 {
			last, _ = try(t, th, "alice@example.org", "203.0.113.5", false)
		}
		if last < time.Second {
			t.Errorf("guesses from the owner's address waited %v, want some seconds", last)
		}
	})
}

// guess keeps so many connections per network guessing until ctx ends, and counts the guesses that were looked at.
func guess(ctx context.Context, wg *sync.WaitGroup, th *throttle, name string, networks, each int) *atomic.Int64 {
	var looked atomic.Int64
	for i := range networks * each {
		wg.Go(func() {
			for ctx.Err() == nil {
				if a, err := th.begin(ctx, name, fmt.Sprintf("192.0.2.%d", i%networks)); err == nil {
					time.Sleep(2 * time.Millisecond)
					looked.Add(1)
					a.end(false)
					continue
				}
				time.Sleep(time.Second)
			}
		})
	}
	return &looked
}

// TestOwnerIsNotLockedOutElsewhere: while others guess, the owner at an address not seen before gets in after one pause.
func TestOwnerIsNotLockedOutElsewhere(t *testing.T) {
	for _, row := range []struct{ networks, each int }{{1, 20}, {3, 6}, {12, 4}} {
		t.Run(fmt.Sprintf("%d networks", row.networks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := slowConfig()
				th := newThrottle(cfg, time.Now)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				looked := guess(ctx, &wg, th, "alice@example.org", row.networks, row.each)
				const logins, between = 6, 2 * time.Minute
				for i := range logins {
					time.Sleep(between)
					wait, err := try(t, th, "alice@example.org", fmt.Sprintf("203.0.113.%d", i), true)
					// A guess that is being looked at when the pause begins puts it off by as long as that takes.
					if err != nil || wait > cfg.MaxDelay+10*time.Millisecond {
						t.Errorf("login %d of the owner waited %v (%v), want %v at most", i+1, wait, err, cfg.MaxDelay)
					}
				}
				cancel()
				wg.Wait()
				// Each login of the owner makes some guesses free again.
				free := int64(cfg.AccountFree + cap(th.slots) + 5)
				if n, most := looked.Load(), logins*(int64(between/cfg.MaxDelay)+1+free); n > most {
					t.Errorf("%d passwords were looked at within %v, want %d at most", n, logins*between, most)
				}
				if n := th.waiting(); n != 0 {
					t.Errorf("%d are still counted as waiting, want none", n)
				}
				for key, s := range th.young {
					if len(s.line) != 0 {
						t.Errorf("%d are still in line for %q", len(s.line), key)
					}
				}
			})
		})
	}
}

// TestPlacesOfAnAccount: one network gets few, and who has failed more yields to who has failed less.
func TestPlacesOfAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slowConfig()
		cfg.AccountWaiting = 2 * cfg.Waiting
		th := newThrottle(cfg, time.Now)
		for i := range 9 { // 192.0.2.1 fails once more than 192.0.2.2
			if _, err := try(t, th, "alice@example.org", fmt.Sprintf("192.0.2.%d", 1+i%2), false); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		results := map[string]chan error{}
		begin := func(network string, n int) {
			results[network] = make(chan error, n)
			for range n {
				wg.Go(func() {
					a, err := th.begin(t.Context(), "alice@example.org", network)
					if err == nil {
						a.end(false)
					}
					results[network] <- err
				})
			}
			synctest.Wait()
		}
		begin("192.0.2.1", cfg.Waiting)
		begin("192.0.2.2", cfg.Waiting)
		if n := len(results["192.0.2.1"]) + len(results["192.0.2.2"]); n != 0 {
			t.Fatalf("%d are refused before all places are taken", n)
		}
		if _, err := th.begin(t.Context(), "alice@example.org", "192.0.2.2"); !errors.Is(err, errSlowed) {
			t.Errorf("one more of a network that has all its places: got %v, want errSlowed", err)
		}
		begin("192.0.2.3", 1)
		select {
		case err := <-results["192.0.2.1"]:
			if !errors.Is(err, errSlowed) {
				t.Errorf("who yields is told %v, want errSlowed", err)
			}
		default:
			t.Error("nobody yields to a network that has not failed")
		}
		if len(results["192.0.2.2"])+len(results["192.0.2.3"]) != 0 {
			t.Error("the wrong one yields")
		}
		wg.Wait()
	})
}

// TestGuessingAtOnce: many connections at once get no more guesses than one.
func TestGuessingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slowConfig()
		th := newThrottle(cfg, time.Now)
		var mu sync.Mutex
		looked, refused := 0, 0
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				a, err := th.begin(t.Context(), "alice@example.org", fmt.Sprintf("192.0.2.%d", i%250))
				if err == nil {
					time.Sleep(2 * time.Millisecond) // what it takes to look at a password
					a.end(false)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					looked++
				case errors.Is(err, errSlowed):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// Free ones, one more per core in flight at that moment, and those that found a place to wait.
		if bound := cfg.AccountFree + cap(th.slots) + cfg.Waiting; looked > bound+cap(th.slots) {
			t.Errorf("%d passwords were looked at within %v, want %d at most", looked, time.Since(begun), bound)
		}
		if looked+refused != 500 {
			t.Errorf("%d looked at and %d refused, want 500 in all", looked, refused)
		}
		if n := th.waiting(); n != 0 {
			t.Errorf("%d are still counted as waiting, want none", n)
		}
	})
}

// TestHangingUpGainsNothing: a client that gives up while it waits has not had its password looked at.
func TestHangingUpGainsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(slowConfig(), time.Now)
		for range 8 {
			if _, err := try(t, th, "alice@example.org", "192.0.2.1", false); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if a, err := th.begin(ctx, "alice@example.org", "192.0.2.1"); err == nil {
				a.end(false)
				t.Fatal("a password was looked at before its time")
			}
			cancel()
		}
		if n := th.waiting(); n != 0 {
			t.Errorf("%d are still counted as waiting, want none", n)
		}
	})
}

func TestFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slowConfig()
		th := newThrottle(cfg, time.Now)
		for range 8 {
			if _, err := try(t, th, "alice@example.org", "192.0.2.1", false); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(cfg.Forget)
		if wait, err := try(t, th, "alice@example.org", "192.0.2.1", false); wait != 0 || err != nil {
			t.Errorf("after %v: waited %v (%v), want 0", cfg.Forget, wait, err)
		}
		time.Sleep(trustFor)
		th.tidy()
		if n := len(th.young) + len(th.old) + len(th.trusted); n != 0 {
			t.Errorf("%d counts are kept for ever", n)
		}
	})
}

func TestCountsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slowConfig()
		cfg.Entries = 100
		th := newThrottle(cfg, time.Now)
		for i := range 5000 {
			if _, err := try(t, th, fmt.Sprintf("u%d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250), i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(th.young) + len(th.old); n > cfg.Entries {
			t.Errorf("%d suspects are kept, want %d at most", n, cfg.Entries)
		}
		if len(th.trusted) > cfg.Entries {
			t.Errorf("%d trusted clients are kept, want %d at most", len(th.trusted), cfg.Entries)
		}
	})
}

func TestQueueForCoresIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slowConfig()
		cfg.Queue = 3
		th := newThrottle(cfg, time.Now)
		var busy []*attempt
		for i := range cap(th.slots) {
			a, err := th.begin(t.Context(), fmt.Sprint("u", i), "")
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, a)
		}
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				a, err := th.begin(t.Context(), fmt.Sprint("w", i), "")
				if err != nil {
					t.Error(err)
					return
				}
				a.end(true)
			})
		}
		synctest.Wait()
		if _, err := th.begin(t.Context(), "one too many", ""); !errors.Is(err, errBusy) {
			t.Errorf("beyond the queue: got %v, want errBusy", err)
		}
		for _, a := range busy {
			a.end(true)
		}
		wg.Wait()
	})
}

func TestClientNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "local": "",
	} {
		if got := clientNetwork(in); got != want {
			t.Errorf("clientNetwork(%q) = %q, want %q", in, got, want)
		}
	}
}
