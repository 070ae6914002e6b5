package store

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// process makes a store process of its own over the world's database, blobs and bus.
func (w *world) process(name string) *ledgerPart {
	w.Helper()
	part, err := newLedgerPart(w.cfg, LedgerDeps{
		Ledger: w.db.Ledger(), Leases: w.db.Leases(), Blobs: w.blobs, Bus: w.bus, Log: slog.New(slog.DiscardHandler), Now: w.clock.Now, Holder: name,
	})
	if err != nil {
		w.Fatal(err)
	}
	return part
}

// recoverAll lets recovery of every process go on as far as its lease and the bus let it.
func (w *world) recoverAll(farm []*ledgerPart) {
	w.Helper()
	for _, p := range farm {
		for more := true; more; {
			var err error
			p.tasks[2].held = time.Time{} // by the clock of the test another may have the lease by now
			if more, err = p.tasks[2].underLease(w.ctx); err != nil {
				w.Fatalf("recovery of %s: %v", p.deps.Holder, err)
			}
		}
	}
}

// TestBacklogOfHoursIsNotRepublished stops the routers for twelve hours while mail arrives and store processes come and go,
// and counts what recovery publishes: nothing while they are stopped or behind, and afterwards what ingress lost, once.
func TestBacklogOfHoursIsNotRepublished(t *testing.T) {
	for _, row := range []struct {
		name      string
		judged    bool // in the dialogue: straight to mail.filtered
		filtering bool
	}{
		{"judged in the dialogue", true, false}, {"the filter stopped too", false, false}, {"the filter at work", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.cfg.RecoverBatch = 50 // the backlog is larger than what recovery looks at in one go
			published := map[string]int{}
			count := func() {
				t.Helper()
				clear(published)
				first := bus.Accepted
				if row.judged {
					first = bus.Filtered // mail.filtered is the filter's to publish else
				}
				for _, payload := range w.bus.streams[first] {
					var m mailv1.Accepted
					if err := proto.Unmarshal(payload, &m); err != nil {
						t.Fatal(err)
					}
					published[string(m.QueueId)]++
				}
			}
			var verdict *mailv1.Verdict
			if row.judged {
				verdict = accept(mailv1.Action_ACTION_ACCEPT)
			}
			started := 0
			start := func() *ledgerPart {
				started++
				return w.process(fmt.Sprint("store-", started))
			}
			farm := []*ledgerPart{start(), start(), start()}
			lost := map[string]bool{}
			const arrive = 20
			for hour := range 12 {
				for i := range arrive {
					m := w.frame(blob.Accepted, verdict, "a@example.org")
					if hour%5 == 1 && i == 7 {
						lost[string(m.QueueId)] = true // ingress died before its publish
						continue
					}
					w.publish(m)
				}
				if row.filtering {
					w.filter()
				}
				for range 6 {
					w.clock.Advance(10 * time.Minute)
					w.recoverAll(farm)
				}
				// One process dies with its lease, and a new one knows nothing.
				farm[hour%3] = start()
			}
			count()
			for id, n := range published {
				if n != 1 || lost[id] {
					t.Fatalf("with the routers stopped: message %x was published %d times, lost by ingress: %t", id, n, lost[id])
				}
			}
			if want := 12*arrive - len(lost); len(published) != want {
				t.Fatalf("got %d messages published, want those of ingress, %d", len(published), want)
			}
			// The routers are back, and behind: half of what waits is routed, and a process takes over once more.
			for !row.judged && w.bus.waits(bus.Accepted) > 0 {
				w.filter()
			}
			waiting := w.bus.streams[bus.Filtered][w.bus.floor[bus.Filtered]:]
			for _, payload := range waiting[:len(waiting)/2] {
				var m mailv1.Accepted
				if err := proto.Unmarshal(payload, &m); err != nil {
					t.Fatal(err)
				}
				w.record(&m)
				w.bus.floor[bus.Filtered]++
			}
			before := len(w.bus.streams[bus.Accepted]) + len(w.bus.streams[bus.Filtered])
			farm[0] = start()
			for range 6 {
				w.clock.Advance(time.Minute)
				w.recoverAll(farm)
			}
			if after := len(w.bus.streams[bus.Accepted]) + len(w.bus.streams[bus.Filtered]); after != before {
				t.Fatalf("%d messages were published while the routers were behind", after-before)
			}
			w.route()
			for range 20 {
				w.clock.Advance(time.Minute)
				w.recoverAll(farm)
				w.filter()
				w.route()
			}
			count()
			for id, n := range published {
				if n != 1 {
					t.Errorf("message %x was published %d times, lost by ingress: %t", id, n, lost[id])
				}
			}
			if len(published) != 12*arrive {
				t.Errorf("got %d messages published, want all %d", len(published), 12*arrive)
			}
			w.restart()
			w.wantAudit(&storev1.AuditResponse{Accepted: 12 * arrive, Queued: 12 * arrive})
		})
	}
}
