package reclaimtest

import (
	"context"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// churn fills mailboxes for some weeks, expunges most of what is young and some of what is old, as people do, and tells what
// was given back and what was copied for it.
func churn(t *testing.T, s Subject) {
	w := newWorld(t, s, 11)
	days, appends := 20, 25
	if testing.Short() || s.Slow {
		days = 8
	}
	written := int64(0)
	for range days {
		for range appends {
			w.appendOne()
		}
		for account := mailbox.AccountID(1); account <= 3; account++ {
			list, _, err := s.Mailboxes.List(context.Background(), account)
			w.must("List", err)
			for _, box := range list {
				var gone mailbox.UIDSet
				for uid := mailbox.UID(1); uid < box.UIDNext; uid++ {
					young := int(box.UIDNext-uid) < 12
					if odds := w.r.IntN(100); young && odds < 55 || !young && odds < 6 {
						gone = append(gone, mailbox.UIDRange{First: uid, Last: uid})
					}
				}
				_, err := s.Mailboxes.Expunge(context.Background(), account, box.ID, gone, true)
				w.must("Expunge", err)
			}
		}
		w.open() // a new segment each day
		w.rest(retention)
	}
	for _, m := range w.frames {
		written += int64(len(m.Body))
	}
	w.settle()
	w.check("after some weeks")
	stat, err := w.worker.Stat(context.Background())
	w.must("Stat", err)
	survey, err := w.worker.Survey(context.Background())
	w.must("Survey", err)
	stored, bodies := w.stored()
	live := survey.Live + survey.LiveBodies
	t.Logf("%d octets came, %d live, %d are stored (%.2f of what lives); %d given back, %d copied for it (%.2f)",
		written, live, stored+bodies, float64(stored+bodies)/float64(live), stat.Ever.Freed, stat.Ever.Rewritten,
		float64(stat.Ever.Rewritten)/float64(stat.Ever.Freed))
	// A segment that goes lived to less than LiveBelow percent, and only that was copied.
	if stat.Ever.Rewritten*100 > stat.Ever.Freed*int64(config.LiveBelow) {
		t.Errorf("copied %d octets to give back %d", stat.Ever.Rewritten, stat.Ever.Freed)
	}
	if (stored+bodies)*int64(config.LiveBelow) > live*100 {
		t.Errorf("%d octets are stored for %d that live", stored+bodies, live)
	}
}
