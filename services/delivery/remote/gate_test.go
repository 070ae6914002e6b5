package remote

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

func gateJob(n int, to string) *job {
	return &job{id: envelope.QueueID{0: byte(n), 1: byte(n >> 8), 2: byte(n >> 16)}, to: to, work: &mailv1.RemoteWork{Group: to}}
}

// TestGateTakesTurns: destinations with room take turns, and one at its bound keeps nobody from his.
func TestGateTakesTurns(t *testing.T) {
	g := newGate(3, 2)
	var running []*job
	for i, to := range []string{"a", "a", "a", "a", "b", "b", "b", "c"} {
		j := gateJob(i, to)
		want := placeWait
		if i < 2 || i == 4 {
			want = placeRun
			running = append(running, j)
		}
		if got := g.enter(j); got != want {
			t.Errorf("job %d to %s: got %v, want %v", i, to, got, want)
		}
		if got := g.enter(gateJob(i, to)); got != placeTwice {
			t.Errorf("job %d again: got %v", i, got)
		}
	}
	var order []string
	for len(running) > 0 {
		j := running[0]
		running = running[1:]
		if next := g.leave(j); next != nil {
			order = append(order, next.to)
			running = append(running, next)
		}
	}
	if got := strings.Join(order, ""); got != "abcab" {
		t.Errorf("order %q, want abcab", got)
	}
	if r, w := g.counts(); r != 0 || w != 0 || len(g.dest) != 0 || len(g.known) != 0 || len(g.turns) != 0 {
		t.Errorf("left over: %d running, %d waiting, %v", r, w, g)
	}
}

func TestGateIsBounded(t *testing.T) {
	g := newGate(1, 1)
	if got := g.enter(gateJob(0, "a")); got != placeRun {
		t.Fatal(got)
	}
	for i := range waitPerDestination {
		if got := g.enter(gateJob(i+1, "a")); got != placeWait {
			t.Fatal(i, got)
		}
	}
	if got := g.enter(gateJob(waitPerDestination+1, "a")); got != placeFull {
		t.Error(got)
	}
	for i := range waitInAll - waitPerDestination {
		if got := g.enter(gateJob(waitPerDestination+2+i, fmt.Sprint(i/500))); got != placeWait {
			t.Fatal(i, got)
		}
	}
	if got := g.enter(gateJob(1<<20, "z")); got != placeFull {
		t.Error(got)
	}
	g.empty()
	if _, n := g.counts(); n != 0 || len(g.known) != 1 || len(g.dest) != 1 {
		t.Errorf("%d wait, %d are known", n, len(g.known))
	}
	g.close()
	if got := g.enter(gateJob(1<<20, "z")); got != placeClosed {
		t.Error(got)
	}
	if g.leave(gateJob(0, "a")) != nil {
		t.Error("a closed gate gave out a job")
	}
}

// TestGateHistories compares random histories with what must always hold.
func TestGateHistories(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		g := newGate(1+r.IntN(5), 1+r.IntN(3))
		var running []*job
		given, entered := map[envelope.QueueID]bool{}, 0
		begin := func(j *job) {
			if given[j.id] {
				t.Fatalf("seed %d: job %v began twice", seed, j.id)
			}
			given[j.id] = true
			running = append(running, j)
		}
		for n := range 500 {
			if r.IntN(2) == 0 {
				j := gateJob(n, string('a'+rune(r.IntN(4))))
				entered++
				if g.enter(j) == placeRun {
					begin(j)
				}
			} else if len(running) > 0 {
				i := r.IntN(len(running))
				j := running[i]
				running = slices.Delete(running, i, i+1)
				if next := g.leave(j); next != nil {
					begin(next)
				}
			}
			per := map[string]int{}
			for _, j := range running {
				per[j.to]++
				if per[j.to] > g.per || len(running) > g.all {
					t.Fatalf("seed %d: %d run in all, %d to %s; the bounds are %d and %d", seed, len(running), per[j.to], j.to, g.all, g.per)
				}
			}
			// Nobody waits while there is room for him.
			for _, d := range g.turns {
				if len(running) < g.all && per[d.name] < g.per {
					t.Fatalf("seed %d: %s waits although there is room", seed, d.name)
				}
			}
		}
		for len(running) > 0 {
			j := running[0]
			running = running[1:]
			if next := g.leave(j); next != nil {
				begin(next)
			}
		}
		if len(given) != entered {
			t.Errorf("seed %d: %d of %d jobs began", seed, len(given), entered)
		}
	}
}

// TestDestinationsShare: many messages for a slow destination are sent over few connections, all of them, without waiting
// for a sweep, and others are not kept waiting.
func TestDestinationsShare(t *testing.T) {
	w := newWorld(t, "fast.test. 60 IN MX 10 fast.fast.test.\nfast.fast.test. 60 IN A 192.0.2.9\n", func(w *world) {
		w.cfg.Connections, w.cfg.ConnectionsPerDestination = 5, 2
	})
	var open, most atomic.Int64
	gate := make(chan struct{})
	slow := newServer(t, false)
	w.net.at("192.0.2.1", func(c net.Conn) {
		for n := open.Add(1); ; {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		defer open.Add(-1)
		<-gate
		slow.serve(c)
	})
	fast := newServer(t, false)
	w.net.at("192.0.2.9", fast.serve)
	const messages = 150
	for range messages {
		w.send(letterTo("bob@example.net"), body)
	}
	for range 10 {
		w.send(letterTo("bob@fast.test"), body)
		if got := w.wait(1)[0]; !strings.HasPrefix(got, "relayed bob@fast.test ") {
			t.Fatal(got)
		}
	}
	close(gate)
	w.wait(messages)
	if got, _ := slow.took(); len(got) != messages {
		t.Errorf("%d of %d messages arrived", len(got), messages)
	}
	if n := most.Load(); n > 2 {
		t.Errorf("%d connections to one destination at once, want 2 at most", n)
	}
}

// TestParkedStaysInTheLedger: what finds no room here is sent when the sweep brings it back.
func TestParkedStaysInTheLedger(t *testing.T) {
	w := newWorld(t, "", nil)
	s := w.service
	// Fill the destination's places.
	for i := range s.cfg.ConnectionsPerDestination + waitPerDestination {
		s.gate.enter(gateJob(i+1, "example.net"))
	}
	w.net.at("192.0.2.1", newScript(t, hello+sends("MAIL", "RCPT")).serve)
	m := w.send(letterTo("bob@example.net"), body)
	w.look(1)
	w.want(m, "queued ")
	for i := range s.cfg.ConnectionsPerDestination {
		s.gate.empty()
		s.gate.leave(gateJob(i+1, "example.net"))
	}
	w.pass(2 * time.Minute)
	if n := w.sweep(); n != 1 {
		t.Fatalf("%d rows are due", n)
	}
	w.wait(1)
	w.want(m, "relayed 250 2.0.0 ok")
}
