package indextest

import (
	"testing"
	"time"
)

func leases(t *testing.T, s Subject) {
	ctx := t.Context()
	take := func(name, holder, want string) {
		t.Helper()
		got, err := s.Leases.Acquire(ctx, name, holder, time.Minute)
		if err != nil || got != want {
			t.Errorf("Acquire(%s, %s): %s, %v; want %s", name, holder, got, err, want)
		}
	}
	take("drop", "a", "a")
	take("drop", "b", "a")
	take("other", "b", "b")
	s.Advance(50 * time.Second)
	take("drop", "a", "a") // renewed
	s.Advance(50 * time.Second)
	take("drop", "b", "a")
	s.Advance(10 * time.Second)
	take("drop", "b", "b") // run out
	if err := s.Leases.Release(ctx, "drop", "a"); err != nil {
		t.Fatal(err)
	}
	take("drop", "a", "b") // what a released was not its own any more
	if err := s.Leases.Release(ctx, "drop", "b"); err != nil {
		t.Fatal(err)
	}
	take("drop", "a", "a")
}
