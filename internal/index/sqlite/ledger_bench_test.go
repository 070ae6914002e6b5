package sqlite_test

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
)

func BenchmarkLedger(b *testing.B) { ledgertest.Bench(b, openLedger) }
