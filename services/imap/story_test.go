package imap_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

var (
	storySeed  = flag.Int64("story.seed", -1, "play the random history of this seed alone")
	storySteps = flag.Int("story.steps", 0, "how many steps a random history has; 0: 500, or 200 with -short")
	storyCount = flag.Int("story.count", 0, "how many random histories are played on each database; 0: 200, or 1 with -short")
)

// inPostgres opens an empty database of the test's cluster.
func inPostgres(t testing.TB) database {
	t.Helper()
	cfg := pgdb.Config{URL: servers.Postgres(t).URL, MaxConns: 8}
	check(t, postgres.Migrate(context.Background(), cfg))
	db, err := postgres.Open(context.Background(), cfg, postgres.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return database{db.Mailboxes(), db.Annotations(), db.Leases(), db.Sharing(), db.Retention()}
}

// TestStories plays random histories of sessions of all kinds, at two processes, in one mailbox that is shared, with a quota,
// against a small model: after every command the session has been told what the model says it must have been, and no more than
// it may be. A history that fails is made small and printed; -story.seed plays it again.
func TestStories(t *testing.T) {
	count, first, length := *storyCount, int64(1), *storySteps
	if length == 0 {
		length = 500
		if testing.Short() {
			length = 200
		}
	}
	switch {
	case *storySeed >= 0:
		count, first = 1, *storySeed
	case count == 0 && testing.Short():
		count = 1
	case count == 0:
		count = 200
	}
	const together = 100 // histories after one another; several such rows are played at once
	for name, open := range map[string]func(testing.TB) database{"sqlite": inSQLite, "postgres": inPostgres} {
		for from := first; from < first+int64(count); from += together {
			to := min(from+together, first+int64(count)) - 1
			t.Run(fmt.Sprintf("%s/%d-%d", name, from, to), func(t *testing.T) {
				t.Parallel()
				playStories(t, open(t), from, to, length)
			})
		}
	}
}

// playStories plays the histories of some seeds.
func playStories(t *testing.T, db database, from, to int64, length int) {
	f := startFarmOn(t, db, nil)
	addrs := []string{f.addr, f.another(t)}
	total := 0
	for seed := from; seed <= to; seed++ {
		steps := story(seed, length)
		total += len(steps)
		fault := play(t, f, addrs, steps)
		if fault == "" {
			continue
		}
		steps, fault = shrink(steps, fault, func(s []step) string { return play(t, f, addrs, s) })
		t.Fatalf("seed %d (-story.seed %[1]d): %s\nafter:\n%s", seed, fault, strings.Join(texts(steps), "\n"))
	}
	t.Logf("%d steps", total)
}

// step is what one session does; its numbers are taken modulo what there is, so that a history stays one with steps left out.
type step struct{ who, op, a, b, c int }

// story is the history of a seed.
func story(seed int64, n int) []step {
	r := rand.New(rand.NewPCG(uint64(seed), 11))
	steps := make([]step, n)
	for i := range steps {
		steps[i] = step{r.IntN(len(cast)), r.IntN(weights()), r.IntN(1 << 16), r.IntN(1 << 16), r.IntN(1 << 16)}
	}
	return steps
}

func texts(steps []step) (all []string) {
	for _, s := range steps {
		all = append(all, fmt.Sprintf("%-10s %-12s %d %d %d", cast[s.who].name, deedOf(s.op).name, s.a, s.b, s.c))
	}
	return all
}

// shrink leaves out steps as long as what is left still fails. It gives up after a while: a small history helps, the smallest
// is not needed.
func shrink(steps []step, fault string, play func([]step) string) ([]step, string) {
	tries := 150
	for size := len(steps) / 2; size >= 1; {
		shorter := false
		for at := 0; at+size <= len(steps) && tries > 0; {
			less := slices.Concat(steps[:at], steps[at+size:])
			tries--
			if f := play(less); f != "" {
				steps, fault, shorter = less, f, true
				continue
			}
			at += size
		}
		if tries <= 0 {
			break
		}
		if !shorter || size > len(steps) {
			size /= 2
		}
	}
	return steps, fault
}

// TestShrink: what is left is what it takes to fail.
func TestShrink(t *testing.T) {
	steps := story(1, 200)
	bad := func(s []step) string {
		if i := slices.Index(s, steps[17]); i >= 0 && slices.Contains(s[i:], steps[150]) {
			return "both"
		}
		return ""
	}
	got, fault := shrink(steps, "both", bad)
	if fault != "both" || len(got) != 2 || got[0] != steps[17] || got[1] != steps[150] {
		t.Errorf("%d steps are left, %q", len(got), fault)
	}
}

// play plays a history with accounts and sessions of its own, and returns which rule was broken, or "".
func play(t *testing.T, f *farm, addrs []string, steps []step) (fault string) {
	p := newPlot(trial{t}, f)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case broken:
			fault = string(r)
		default:
			panic(r)
		}
		for _, v := range p.viewers {
			v.c.Close()
		}
		for _, w := range p.learners {
			w.c.Close()
		}
	}()
	p.begin(addrs)
	for i, s := range steps {
		p.at = fmt.Sprintf("step %d, %s %s", i, cast[s.who].name, deedOf(s.op).name)
		p.step(s)
	}
	p.end()
	return ""
}
