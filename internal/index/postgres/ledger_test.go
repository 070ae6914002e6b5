package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// ledgerTables are all of the ledger's.
const ledgerTables = "message, payload, recipient, outbox, checkpoint, withheld, pruned, search, audit_hour, audit_stretch, audit_report"

// connect makes the schema in a database where it is not there yet, and opens it.
func connect(tb testing.TB, pg *servers.PG, opts postgres.Options) *postgres.DB {
	tb.Helper()
	cfg := pgdb.Config{URL: pg.URL, MaxConns: 8}
	if err := postgres.Migrate(context.Background(), cfg); err != nil {
		tb.Fatal(err)
	}
	db, err := postgres.Open(context.Background(), cfg, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// ledgers opens empty ledgers in one database, one after the other: a test that asks again gets its first one, emptied, with
// another clock.
type ledgers struct {
	pg   *servers.PG
	mu   sync.Mutex
	open map[testing.TB]*reusable // guarded by mu
}

type reusable struct {
	db  *postgres.DB
	mu  sync.Mutex
	now func() time.Time // guarded by mu
}

func (l *ledgers) Open(tb testing.TB, now func() time.Time) ledger.Ledger {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.open[tb]; r != nil {
		l.pg.Admin(tb, "TRUNCATE "+ledgerTables)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now = now
		return r.db.Ledger()
	}
	r := &reusable{now: now}
	r.db = connect(tb, l.pg, postgres.Options{Now: func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now()
	}})
	l.pg.Admin(tb, "TRUNCATE "+ledgerTables)
	l.open[tb] = r
	return r.db.Ledger()
}

func TestLedger(t *testing.T) {
	ledgertest.Run(t, (&ledgers{pg: servers.Postgres(t), open: map[testing.TB]*reusable{}}).Open)
}

func openLedger(tb testing.TB, now func() time.Time) ledger.Ledger {
	tb.Helper()
	return connect(tb, servers.Postgres(tb), postgres.Options{Now: now}).Ledger()
}
