package sqlite

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/reclaim/reclaimtest"
)

func TestReclaim(t *testing.T) {
	reclaimtest.Run(t, func(t testing.TB) reclaimtest.Subject {
		clock := ledgertest.NewClock()
		d := open(t, Options{Now: clock.Now})
		return reclaimtest.Subject{Books: d.Books(), Mailboxes: d.Mailboxes(), Retention: d.Retention(), Ledger: d.Ledger(), Now: clock.Now,
			Advance: func(by time.Duration) { clock.Advance(by) }}
	})
}
