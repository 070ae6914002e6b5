package postgres_test

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestServersClock puts the server's clock forward while that of the process goes on: leases and claims end, and what is due
// is swept.
func TestServersClock(t *testing.T) {
	pg := servers.Postgres(t)
	for _, q := range []string{
		"CREATE SCHEMA skewed AUTHORIZATION " + pg.Name(),
		"CREATE TABLE skewed.clock (by interval NOT NULL)",
		"INSERT INTO skewed.clock VALUES ('0')",
		"GRANT SELECT ON skewed.clock TO " + pg.Name(),
		`CREATE FUNCTION skewed.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
			'SELECT pg_catalog.statement_timestamp() + (SELECT by FROM skewed.clock)'`,
		"ALTER ROLE " + pg.Name() + " SET search_path = skewed, pg_catalog",
	} {
		pg.Admin(t, q)
	}
	d := connect(t, pg, postgres.Options{})
	ctx := t.Context()
	acquire := func(holder, want string) {
		t.Helper()
		if has, err := d.Leases().Acquire(ctx, "sweep", holder, time.Minute); err != nil || has != want {
			t.Errorf("%s acquires: %s has it, %v; want %s", holder, has, err, want)
		}
	}
	m := ledgertest.Message(time.Now(), 1, ledgertest.Remote("a@far.example"))
	recordAll(t, d.Ledger(), []*storev1.Routed{m})
	claim := func(owner string, want bool) {
		t.Helper()
		c, err := d.Ledger().Claim(ctx, &storev1.ClaimRequest{Owner: owner, LeaseMs: 60_000,
			Work: []*mailv1.RemoteWork{{QueueId: m.Message.QueueId, Group: "far.example"}}})
		if err != nil || c[0].Claimed != want {
			t.Errorf("%s claims: %v, %v; want %t", owner, c, err, want)
		}
	}
	sweep := func(want int) {
		t.Helper()
		if due, err := d.Ledger().Sweep(ctx, ledger.SweepAll, 10, time.Hour); err != nil || due.Rows != want {
			t.Errorf("%d rows are due, %v; want %d", due.Rows, err, want)
		}
	}
	acquire("one", "one")
	acquire("two", "one")
	claim("one", true)
	claim("two", false)
	sweep(0)
	pg.Admin(t, "UPDATE skewed.clock SET by = '61 s'")
	acquire("two", "two")
	acquire("one", "two")
	claim("two", true)
	pg.Admin(t, "UPDATE skewed.clock SET by = '122 s'")
	sweep(1)
}
