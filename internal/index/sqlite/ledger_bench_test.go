package sqlite_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// recordBatch is how many messages the router records at once under load.
const recordBatch = 64

func makeBatch(now time.Time, from uint32, n int, row func(i uint32) *storev1.RecipientRow) []*storev1.Routed {
	batch := make([]*storev1.Routed, n)
	for i := range batch {
		k := from + uint32(i)
		batch[i] = ledgertest.Message(now, k, row(k))
		batch[i].Message.Overlay = nil
	}
	return batch
}

func localRow(i uint32) *storev1.RecipientRow {
	return ledgertest.Local(fmt.Sprintf("user-%d@example.org", i%1000), uint64(i%1000)+1)
}

func fill(b *testing.B, l ledger.Ledger, now time.Time, n int, row func(i uint32) *storev1.RecipientRow) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		// Ids of real mail are spread over time.
		if _, err := l.Record(context.Background(), makeBatch(now.Add(time.Duration(i)*time.Millisecond), uint32(i), min(1000, n-i), row)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord enters batches of 64 messages of one local recipient: one operation is one message.
func BenchmarkRecord(b *testing.B) {
	l := openLedger(b, time.Now)
	b.ReportAllocs()
	for i := 0; i < b.N; i += recordBatch {
		b.StopTimer()
		batch := makeBatch(time.Now(), uint32(i), min(recordBatch, b.N-i), localRow)
		b.StartTimer()
		if _, err := l.Record(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReport enters one outcome per message in batches of 64: one operation is one recipient.
func BenchmarkReport(b *testing.B) {
	l := openLedger(b, time.Now)
	var ids [][]byte
	for i := 0; i < b.N; i += 1000 {
		batch := makeBatch(time.Now(), uint32(i), min(1000, b.N-i), localRow)
		for _, m := range batch {
			ids = append(ids, m.Message.QueueId)
		}
		if _, err := l.Record(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for len(ids) > 0 {
		var reports []*storev1.Report
		for _, id := range ids[:min(recordBatch, len(ids))] {
			reports = append(reports, &storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 5.1.1 no such user"}}})
		}
		ids = ids[len(reports):]
		results, err := l.Report(context.Background(), reports)
		if err != nil || !results[0].Accepted {
			b.Fatal(results, err)
		}
	}
}

// BenchmarkSweep takes 100,000 due recipients in batches of 1,000: one operation is all of them.
func BenchmarkSweep(b *testing.B) {
	const rows = 100_000
	clock := ledgertest.NewClock()
	l := openLedger(b, clock.Now)
	fill(b, l, clock.Now(), rows, localRow)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		clock.Advance(time.Hour)
		b.StartTimer()
		total := 0
		for {
			due, err := l.Sweep(context.Background(), 1000, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if total += due.Rows; due.Rows < 1000 {
				break
			}
		}
		if total != rows {
			b.Fatalf("swept %d", total)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkSearch passes 100,000 final messages for what none of them has.
func BenchmarkSearch(b *testing.B) {
	const rows = 100_000
	clock := ledgertest.NewClock()
	l := openLedger(b, clock.Now)
	fill(b, l, clock.Now(), rows, func(i uint32) *storev1.RecipientRow {
		r := localRow(i)
		r.State = storev1.State_STATE_DISCARDED
		return r
	})
	for name, q := range map[string]*storev1.QueueListRequest{
		"recipient":  {ForwardPath: "nobody@example.org"},
		"sender":     {ReversePath: "nobody@example.net"},
		"message-id": {MessageId: "<none@example.net>"},
		"since":      {SinceNs: clock.Now().Add(time.Hour).UnixNano()},
		"unfinished": {UnfinishedOnly: true},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if err := l.List(context.Background(), q, func([]*storev1.LedgerEntry) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkKnown looks up batches of 256 messages, as recovery does for every message: one operation is one message.
func BenchmarkKnown(b *testing.B) {
	l := openLedger(b, time.Now)
	batch := makeBatch(time.Now(), 0, 256, localRow)
	if _, err := l.Record(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
	ids := make([][]byte, len(batch))
	for i, m := range batch {
		ids[i] = m.Message.QueueId
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range (b.N + 255) / 256 {
		if _, err := l.Known(context.Background(), ids); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalk reads 10,000 messages as the auditor does: one operation is all of them.
func BenchmarkWalk(b *testing.B) {
	clock := ledgertest.NewClock()
	l := openLedger(b, clock.Now)
	fill(b, l, clock.Now(), 10_000, localRow)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		var after envelope.QueueID
		for {
			page, err := l.Walk(context.Background(), after, 512)
			if err != nil {
				b.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].ID
		}
	}
}
