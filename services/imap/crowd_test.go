package imap_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestCrowd: sessions at three processes change one mailbox at once, by number and by UID, and each is told what it takes to
// see in the end what a fresh SELECT sees.
func TestCrowd(t *testing.T) {
	rounds := 120
	if testing.Short() {
		rounds = 15
	}
	for name, open := range map[string]func(testing.TB) database{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFarmOn(t, open(t), nil)
			addrs := []string{f.addr, f.another(t), f.another(t)}
			user, account := f.account(t)
			f.fill(t, account, "INBOX", numbered(0, 60)...)
			var all []*watcher
			for i := range 9 {
				enable := []string{"ENABLE CONDSTORE", "ENABLE IMAP4rev2", "ENABLE QRESYNC"}[i/3]
				all = append(all, watchAt(t, addrs[i%3], user, enable, "SELECT INBOX", "FETCH 1:* (UID FLAGS)"))
			}
			faults := make(chan string, len(all))
			var wg sync.WaitGroup
			for i, w := range all {
				wg.Go(func() {
					defer func() {
						if r := recover(); r != nil {
							faults <- fmt.Sprintf("session %d: %v", i, r)
						}
					}()
					w.t = trial{t}
					w.mill(rand.New(rand.NewPCG(uint64(i), 3)), rounds)
					w.do("NOOP")
				})
			}
			wg.Wait()
			close(faults)
			for fault := range faults {
				t.Error(fault)
			}
			if !t.Failed() {
				compare(t, f, user, all, rounds)
			}
		})
	}
}

// mill runs random commands, of which those may be refused that name what is gone.
func (w *watcher) mill(r *rand.Rand, rounds int) {
	for range rounds {
		n := len(w.uids)
		if n == 0 {
			w.do("NOOP")
		}
		set, prefix := fmt.Sprintf("%d:%d", 1+r.IntN(max(n, 1)), 1+r.IntN(max(n, 1))), ""
		if r.IntN(2) == 0 || n == 0 {
			first := 1 + r.IntN(200)
			set, prefix = fmt.Sprintf("%d:%d", first, first+r.IntN(8)), "UID "
		}
		flag := []string{`\Seen`, `\Deleted`, `\Flagged`, "$One"}[r.IntN(4)]
		switch op := r.IntN(20); {
		case op < 7:
			w.try(fmt.Sprintf("%sSTORE %s %sFLAGS (%s)", prefix, set, []string{"+", "-", ""}[r.IntN(3)], flag))
		case op < 9:
			w.try(fmt.Sprintf("%sFETCH %s (UID FLAGS)", prefix, set))
		case op < 10:
			w.do("EXPUNGE")
		case op < 12:
			w.try(fmt.Sprintf("UID COPY %d:%d INBOX", n, n+3))
		case op < 13:
			w.try(fmt.Sprintf("UID MOVE %d INBOX", 1+r.IntN(100)))
		case op < 16:
			message := numbered(n, n+1)[0]
			w.do(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(message), message))
		default:
			w.do("NOOP")
		}
	}
}
