package imap

import (
	"errors"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// watchAll has a session watch a mailbox of each of n accounts, from 1.
func watchAll(svc *Service, n int) map[mailbox.AccountID]*session {
	all := make(map[mailbox.AccountID]*session, n)
	for i := range n {
		s := &session{conn: conn{svc: svc}}
		all[mailbox.AccountID(i+1)] = s
		svc.hub.add(s, mailbox.AccountID(i+1), 7)
	}
	return all
}

// notified are the accounts whose sessions were notified since the last call, in order.
func notified(all map[mailbox.AccountID]*session) (accounts []mailbox.AccountID) {
	for id, s := range all {
		if s.dirty.take() != 0 {
			accounts = append(accounts, id)
		}
	}
	slices.Sort(accounts)
	return accounts
}

// TestCompareInOneCall: the counters of as many accounts as a process has by default are compared in one call, and those
// sessions are notified whose account moved.
func TestCompareInOneCall(t *testing.T) {
	moved := map[uint64]uint64{}
	var calls []int
	store := newFakeStore()
	store.counters = func(ids []uint64) ([]uint64, error) {
		calls = append(calls, len(ids))
		seqs := make([]uint64, len(ids))
		for i, id := range ids {
			seqs[i] = 10 + moved[id]
		}
		return seqs, nil
	}
	svc := fakeService(t, store)
	n := svc.cfg.MaxConnections
	all := watchAll(svc, n)
	if err := svc.hub.compareOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	notified(all)
	moved[3], moved[uint64(n)] = 1, 2
	if err := svc.hub.compareOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := notified(all), []mailbox.AccountID{3, mailbox.AccountID(n)}; !slices.Equal(got, want) {
		t.Errorf("told the sessions of accounts %v, want %v", got, want)
	}
	if want := []int{n, n}; !slices.Equal(calls, want) {
		t.Errorf("two comparisons made calls with %v accounts, want %v", calls, want)
	}
	if err := svc.hub.compareOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := notified(all); len(got) != 0 {
		t.Errorf("nothing moved, and the sessions of accounts %v were told", got)
	}
}

// TestCompareGoesOn: beyond what one call may ask for there are as many calls as it takes, and one that fails does not keep
// the others from being made.
func TestCompareGoesOn(t *testing.T) {
	away := errors.New("store is away")
	var calls int
	store := newFakeStore()
	store.counters = func(ids []uint64) ([]uint64, error) {
		if len(ids) > accountsPerCall {
			t.Errorf("a call with %d accounts, want at most %d", len(ids), accountsPerCall)
		}
		if calls++; calls == 1 {
			return nil, away
		}
		return slices.Repeat([]uint64{10}, len(ids)), nil
	}
	svc := fakeService(t, store)
	const rest = 5
	all := watchAll(svc, accountsPerCall+rest)
	notified(all)
	if err := svc.hub.compareOnce(t.Context()); !errors.Is(err, away) {
		t.Errorf("got %v, want %v", err, away)
	}
	if got := len(notified(all)); calls != 2 || got != rest {
		t.Errorf("%d calls told %d sessions, want 2 and %d", calls, got, rest)
	}
	if err := svc.hub.compareOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(notified(all)); got != accountsPerCall {
		t.Errorf("the comparison after the failed one told %d sessions, want %d", got, accountsPerCall)
	}
}
