package sqlite_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
)

func openLedger(tb testing.TB, now func() time.Time) ledger.Ledger {
	tb.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(tb.TempDir(), "index.db"), sqlite.Options{Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db.Ledger()
}

func TestLedger(t *testing.T) { ledgertest.Run(t, openLedger) }

// TestUnsteadyLedger has calls given up after a moment.
func TestUnsteadyLedger(t *testing.T) {
	l := openLedger(t, time.Now)
	cancel := func() {}
	ledgertest.RunUnsteady(t, l, ledgertest.Trouble{
		Begin: func(ctx context.Context, r *rand.Rand) context.Context {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1500))*time.Microsecond)
			return ctx
		},
		End: func() { cancel() },
		// There is one writer, which works in turn.
		Settle: func(ctx context.Context) error { return l.DropWithheld(ctx, [][]byte{make([]byte, 16)}) },
	})
}
