package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestLedgerIsFull records in a file that may not grow, and again where it may.
func TestLedgerIsFull(t *testing.T) {
	d := open(t, Options{})
	limit := func(pages int) {
		err := d.db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			var now int
			return tx.QueryRow(fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&now)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m := ledgertest.Message(time.Now(), 1, ledgertest.Local("a@example.org", 1))
	m.Message.Envelope.MessageId = string(bytes.Repeat([]byte("x"), 1<<20))
	limit(1)
	if _, err := d.Ledger().Record(t.Context(), []*storev1.Routed{m}); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	limit(1 << 30)
	if r, err := d.Ledger().Record(t.Context(), []*storev1.Routed{m}); err != nil || !r[0].Recorded {
		t.Errorf("with room again: %v, %v", r, err)
	}
}
