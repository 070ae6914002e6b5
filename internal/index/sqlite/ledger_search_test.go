package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestSearchOfAnOlderFile takes the search rows away, as a file of an older schema has none: everything is found before they
// are made, while they are, and afterwards.
func TestSearchOfAnOlderFile(t *testing.T) {
	clock := ledgertest.NewClock()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l := db.Ledger()
	const n = 25
	for i := range uint32(n) {
		if _, err := l.Record(t.Context(), []*storev1.Routed{ledgertest.Message(clock.Now(), i, ledgertest.Settled("a@example.org", storev1.State_STATE_BOUNCED))}); err != nil {
			t.Fatal(err)
		}
	}
	err = db.db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("DELETE FROM search"); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO search_old (id, done) VALUES (1, zeroblob(16))")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := func(step string) {
		t.Helper()
		for _, q := range []*storev1.QueueListRequest{{ForwardPath: "a@example.org"}, {Domain: "example.net"}, {Reply: "settled"}} {
			found := 0
			if err := l.List(t.Context(), q, func(page []*storev1.LedgerEntry) error { found += len(page); return nil }); err != nil {
				t.Fatal(err)
			}
			if found != n {
				t.Errorf("%s: %v: found %d of %d", step, q, found, n)
			}
		}
	}
	want("without search rows")
	steps := 0
	for more := true; more; steps++ {
		if more, err = l.FillSearch(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		want("while they are made")
	}
	if whole, err := l.searchable(t.Context()); err != nil || !whole || steps < 3 {
		t.Errorf("after %d steps: every message has its row: %t, %v", steps, whole, err)
	}
	want("with search rows")
}
