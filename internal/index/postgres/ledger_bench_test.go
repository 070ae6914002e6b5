package postgres_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
)

// recordBatch is how many messages the router records at once under load.
const recordBatch = 64

// benchMessages is how many messages a large ledger has: 100,000, or as many as MAILFARM_BENCH_MESSAGES tells.
func benchMessages(b *testing.B) int {
	b.Helper()
	s := os.Getenv("MAILFARM_BENCH_MESSAGES")
	if s == "" {
		return 100_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func BenchmarkRecord(b *testing.B) {
	for _, size := range []int{recordBatch, 1} {
		b.Run(fmt.Sprintf("batch-%d", size), func(b *testing.B) { ledgertest.BenchmarkRecord(b, openLedger, size) })
	}
}

func BenchmarkReport(b *testing.B) { ledgertest.BenchmarkReport(b, openLedger) }

func BenchmarkClaim(b *testing.B) { ledgertest.BenchmarkClaim(b, openLedger) }

// BenchmarkSweep sweeps a large ledger of which all is due, or one message in ten.
func BenchmarkSweep(b *testing.B) {
	n := benchMessages(b)
	for _, due := range []int{n, n / 10} {
		b.Run(fmt.Sprintf("%d-of-%d", due, n), func(b *testing.B) { ledgertest.BenchmarkSweep(b, openLedger, n, due) })
	}
}

// BenchmarkSearch finds messages in a large ledger: recorded in batches, as under load, and one by one.
func BenchmarkSearch(b *testing.B) {
	n := benchMessages(b)
	for _, size := range []int{recordBatch, 1} {
		b.Run(fmt.Sprintf("batch-%d", size), func(b *testing.B) { ledgertest.BenchmarkSearch(b, openLedger, n, size) })
	}
}

func BenchmarkKnown(b *testing.B) { ledgertest.BenchmarkKnown(b, openLedger) }

func BenchmarkWalk(b *testing.B) { ledgertest.BenchmarkWalk(b, openLedger) }
