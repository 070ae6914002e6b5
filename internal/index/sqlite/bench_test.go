package sqlite

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/indextest"
)

func BenchmarkIndex(b *testing.B) {
	indextest.Bench(b, func(tb testing.TB) indextest.BenchSubject {
		d := open(tb, Options{})
		return indextest.BenchSubject{Mailboxes: d.Mailboxes(), Route: d.route}
	})
}
