package fault

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// roomSettings give room back as soon as it can be: what was expunged a second ago goes. They lack reclaim.live_below.
const roomSettings = `
store: {expunged_retention: 1s}
reclaim: {every: 1s, wait: 1s, restore_window: 1s, live_below: %d}
`

// The letters of which room is made: those that stay, and those that are expunged. A few of the small among many that go
// are copied; many of the middle size keep their segment, out of which only the bodies of the large ones go.
var (
	staying      = kind{"staying", toMX(bob, 0), inMailboxes(bob)}
	stayingMiddy = kind{"staying-middle", toMX(bob, 20<<10), inMailboxes(bob)}
	going        = kind{"going", toMX(bob, 5<<10), inMailboxes(bob)}
	goingLarge   = kind{"going-large", toMX(bob, 300<<10), inMailboxes(bob)}
	// huge is sent to an S3 server in parts.
	huge = kind{"huge", toMX(bob, 6<<20), inMailboxes(bob)}
)

var roomKinds = []kind{staying, stayingMiddy, going, goingLarge, huge}

// fill hands in letters of which room can be made: a segment that dies, and one of which only bodies go.
func (w *world) fill() {
	for _, mix := range [][]kind{{going, going, going, staying}, {stayingMiddy, goingLarge, stayingMiddy}} {
		var wg sync.WaitGroup
		for range 3 {
			for _, k := range mix {
				wg.Go(func() { w.hand(k) })
			}
		}
		wg.Wait()
	}
}

// expungeGoing expunges the letters that are to go as far as they are there. The farm may die meanwhile.
func (w *world) expungeGoing() {
	w.mu.Lock()
	var names []string
	for _, l := range w.letters {
		if l.kind == going.name || l.kind == goingLarge.name {
			l.expunged = true
			names = append(names, l.name)
		}
	}
	w.mu.Unlock()
	w.expunge(bob, func(subject string) bool { return slices.Contains(names, subject) })
}

// forget expunges all but the letters that stay, and looks after none of those any more.
func (w *world) forget(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	w.letters = slices.DeleteFunc(w.letters, func(l *letter) bool { return !strings.HasPrefix(l.kind, "staying") })
	var names []string
	for _, l := range w.letters {
		names = append(names, l.name)
	}
	w.mu.Unlock()
	for _, user := range []string{alice, bob} {
		if err := w.expunge(user, func(subject string) bool { return !slices.Contains(names, subject) }); err != nil {
			t.Fatalf("expunge of %s: %v", user, err)
		}
	}
}

// expunge removes messages by their Subjects from an INBOX.
func (w *world) expunge(user string, which func(subject string) bool) error {
	c, err := imapclient.DialTLS(w.IMAPS(), &imapclient.Options{TLSConfig: w.TLS()})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Login(user, harness.DevPassword).Wait(); err != nil {
		return err
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	all := imap.UIDSet{}
	all.AddRange(1, 0)
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Envelope: true}).Collect()
	if err != nil {
		return err
	}
	gone := imap.UIDSet{}
	for _, m := range got {
		if which(m.Envelope.Subject) {
			gone.AddNum(m.UID)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	deleted := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := c.Store(gone, deleted, nil).Close(); err != nil {
		return err
	}
	return c.UIDExpunge(gone).Close()
}

// space is what `mailfarm blob stat` and `mailfarm blob reclaim --dry-run` tell.
type space struct {
	Dying  int64 `json:"dying_segments"`
	Bodies int64 `json:"dead_bodies"`
	WaitB  int64 `json:"segments_waiting_bodies"`
	WaitD  int64 `json:"segments_waiting_dead"`
	WaitE  int64 `json:"segments_waiting_empty"`
	Stuck  int64 `json:"segments_stuck"`
	Gaps   int64 `json:"gaps"`
}

// ask asks for room to be given back. The farm may die meanwhile.
func (w *world) ask() { w.CLIStatus("blob", "reclaim") }

// gaveBack waits until there is no room left to be given back.
func (w *world) gaveBack(t *testing.T) {
	t.Helper()
	var s space
	harness.Eventually(t, "all room to be given back", func() bool {
		w.ask()
		s = space{}
		for _, verb := range [][]string{{"blob", "stat", "--json"}, {"blob", "reclaim", "--dry-run", "--json"}} {
			if err := json.Unmarshal([]byte(w.CLI(verb...)), &s); err != nil {
				t.Fatalf("%v: %v", verb, err)
			}
		}
		return s.Dying+s.Bodies+s.WaitB+s.WaitD+s.WaitE+s.Gaps == 0
	})
	if s.Stuck > 0 {
		t.Errorf("%d segments cannot be given back", s.Stuck)
	}
}

// makeRoomUntil makes room again and again until ended says that the process has died.
func (w *world) makeRoomUntil(ended func(time.Duration) bool) bool {
	for i := range 100 {
		if i%10 == 0 {
			w.fill()
			w.expungeGoing()
		}
		w.ask()
		if ended(300 * time.Millisecond) {
			return true
		}
	}
	return false
}
