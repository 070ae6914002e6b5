package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	if len(points) < 90 {
		t.Fatalf("only %d crash points found: %v", len(points), points)
	}
	harness.Binary(t)
	for _, point := range points {
		if !inOneProcess(point) || isOffThePath(point) {
			continue
		}
		t.Run(point.Name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			if ofRoom(point.Name) {
				crashMakingRoom(t, point.Name)
			} else {
				crashAt(t, point.Name)
			}
		})
	}
}

// inOneProcess tells whether a point is passed in one process with a directory; TestCrashPointsOfAFarm tries the others.
func inOneProcess(p Point) bool { return !p.onlyIn("internal/blob/s3") && p.Name != gapPoint }

// offThePath are the beginnings of points that no letter passes: what an operator asks for, removed accounts, a copy, and the letter
// about a full mailbox. TestCrashPointsOffThePath dies there.
var offThePath = []string{"restore.", "mend.", "drop.", "store.quota-", "import.", "backup.", "copy."}

func isOffThePath(p Point) bool {
	return slices.ContainsFunc(offThePath, func(prefix string) bool { return strings.HasPrefix(p.Name, prefix) })
}

// ofRoom tells whether a point is passed only where room is given back.
func ofRoom(point string) bool {
	return strings.HasPrefix(point, "reclaim.") || strings.HasPrefix(point, "purge.") || strings.HasPrefix(point, "remove.")
}

// crashMakingRoom is crashAt for a point that is passed when messages were expunged and their room is given back.
func crashMakingRoom(t *testing.T, point string) {
	percent := 95 // segments go
	if strings.Contains(point, "bodies") || point == "reclaim.after-freed" {
		percent = 1 // bodies go out of segments that stay
	}
	w := newWorld(t, fmt.Sprintf(roomSettings, percent))
	w.Start()
	w.prepare()
	w.fill()
	w.Settle()
	w.expungeGoing()
	if err := w.Stop(); err != nil { // so that the segment is no longer written to
		t.Fatalf("stop: %v", err)
	}
	w.Launch("MAILFARM_CRASH_AT=" + point)
	if !w.makeRoomUntil(w.Ended) {
		t.Fatalf("the point %s was never passed: is it on the path?", point)
	}
	w.Start()
	w.handAll() // life goes on
	w.check(t)
	w.gaveBack(t)
	w.check(t)
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
