package postgres_test

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/reclaim/reclaimtest"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestReclaim(t *testing.T) {
	reclaimtest.Run(t, func(t testing.TB) reclaimtest.Subject {
		clock := ledgertest.NewClock()
		d := connect(t, servers.Postgres(t), postgres.Options{Now: clock.Now})
		return reclaimtest.Subject{Books: d.Books(), Mailboxes: d.Mailboxes(), Retention: d.Retention(), Ledger: d.Ledger(), Now: clock.Now, Slow: true,
			Advance: func(by time.Duration) { clock.Advance(by) }}
	})
}
