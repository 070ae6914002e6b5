package postgres_test

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// BenchmarkIndex is that of index/sqlite, over a server that flushes; the CPU told is this process's, the server's own is apart.
func BenchmarkIndex(b *testing.B) {
	indextest.Bench(b, func(tb testing.TB) indextest.BenchSubject {
		pg := servers.OwnPostgres(tb)
		pool := side(tb, pg)
		return indextest.BenchSubject{
			Mailboxes: connect(tb, pg, postgres.Options{}).Mailboxes(),
			Route:     func(r ...indextest.Recipient) error { return route(pool, r...) },
			Settle:    func() { pg.Admin(tb, "ANALYZE") },
		}
	})
}
