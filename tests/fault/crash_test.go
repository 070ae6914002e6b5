package fault

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// rounds is how often the letters of all kinds are handed in before a point must have been passed.
const rounds = 6

// TestCrashPoints lets the process die between every two steps of the path, starts it again, and looks whether each message
// that got a 250 is where it belongs exactly once, each child exists once, and what got a 5xx is nowhere.
func TestCrashPoints(t *testing.T) {
	points, err := Points("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(points) < 25 {
		t.Fatalf("only %d crash points found: %v", len(points), points)
	}
	harness.Binary(t)
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			crashAt(t, point)
		})
	}
}

func crashAt(t *testing.T, point string) {
	more := ""
	if strings.HasPrefix(point, "filter.") {
		more = lateFilter
	}
	w := newWorld(t, more)
	w.Start()
	w.prepare()
	if err := w.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if strings.HasPrefix(point, "store.recovery-") {
		w.leaveUnpublished(t)
	}
	w.Launch("MAILFARM_CRASH_AT=" + point)
	if !w.handUntilDead() {
		t.Fatalf("the point %s was never passed: is it on the path?", point)
	}
	w.Start()
	w.handAll() // life goes on
	w.check(t)
}

// handUntilDead hands in letters until the process has died, or should have.
func (w *world) handUntilDead() bool {
	for range rounds {
		w.handAll()
		if w.Ended(300 * time.Millisecond) {
			return true
		}
	}
	return w.Ended(5 * time.Second)
}

// leaveUnpublished leaves messages that are durable and that the bus never saw, for recovery to find: the process dies
// between the two several times, too soon after each start for recovery.
func (w *world) leaveUnpublished(t *testing.T) {
	for range 3 {
		w.Launch("MAILFARM_CRASH_AT=ingress.after-commit")
		if !w.handUntilDead() {
			t.Fatal("the process did not die behind a commit")
		}
	}
}

// handAll hands in one letter of each kind, all at once.
func (w *world) handAll() {
	var wg sync.WaitGroup
	for _, k := range kinds {
		wg.Go(func() { w.hand(k) })
	}
	wg.Wait()
}

// TestKillAtRandom kills the process at random moments of a steady load: 30 times, or MAILFARM_KILLS times, every 100 letters.
func TestKillAtRandom(t *testing.T) {
	kills := 30
	if n, err := strconv.Atoi(os.Getenv("MAILFARM_KILLS")); err == nil {
		kills = n
	}
	killRounds(t, kills, 100, nil)
}

// TestKillAndWipeBus also deletes everything the bus kept, between kill and start.
func TestKillAndWipeBus(t *testing.T) {
	killRounds(t, 3, 100, func(w *world) error { return os.RemoveAll(filepath.Join(w.Data, "bus")) })
}
