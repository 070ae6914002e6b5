package ledgertest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// benchBatch is how many messages router and delivery write at once under load.
const benchBatch = 64

// benchMessages is how many messages a large ledger has: 100,000, or as many as MAILFARM_BENCH_MESSAGES tells.
func benchMessages(b *testing.B) int {
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

// Bench times what is done with a ledger: one small, or one of benchMessages for sweeps and searches.
func Bench(b *testing.B, open Open) {
	for _, size := range []int{benchBatch, 1} {
		b.Run(fmt.Sprintf("Record/batch-%d", size), func(b *testing.B) { benchRecord(b, open, size) })
	}
	b.Run("Report", func(b *testing.B) { benchReport(b, open) })
	b.Run("Claim", func(b *testing.B) { benchClaim(b, open) })
	n := benchMessages(b)
	for _, due := range []int{n, n / 10} {
		b.Run(fmt.Sprintf("Sweep/%d-of-%d", due, n), func(b *testing.B) { benchSweep(b, open, n, due) })
	}
	for _, size := range []int{benchBatch, 1} { // recorded in batches, as under load, and one by one
		b.Run(fmt.Sprintf("Search/batch-%d", size), func(b *testing.B) { benchSearch(b, open, n, size) })
	}
	b.Run("Known", func(b *testing.B) { benchKnown(b, open) })
	b.Run("Walk", func(b *testing.B) { benchWalk(b, open) })
}

func makeBatch(now time.Time, from uint32, n int, row func(i uint32) *storev1.RecipientRow) []*storev1.Routed {
	batch := make([]*storev1.Routed, n)
	for i := range batch {
		k := from + uint32(i)
		batch[i] = Message(now, k, row(k))
	}
	return batch
}

func localRow(i uint32) *storev1.RecipientRow {
	return Local(fmt.Sprintf("user-%d@example.org", i%1000), uint64(i%1000)+1)
}

func remoteRow(i uint32) *storev1.RecipientRow { return Remote(fmt.Sprintf("user-%d@far.example", i)) }

func fill(b *testing.B, l ledger.Ledger, now time.Time, n int, row func(i uint32) *storev1.RecipientRow) (ids [][]byte) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		// Ids of real mail are spread over time.
		batch := makeBatch(now.Add(time.Duration(i)*time.Millisecond), uint32(i), min(1000, n-i), row)
		if _, err := l.Record(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		for _, m := range batch {
			ids = append(ids, m.Message.QueueId)
		}
	}
	return ids
}

// benchRecord enters batches of size messages of one local recipient: one operation is one message.
func benchRecord(b *testing.B, open Open, size int) {
	l := open(b, time.Now)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += size {
		b.StopTimer()
		batch := makeBatch(time.Now(), uint32(i), min(size, b.N-i), localRow)
		b.StartTimer()
		if _, err := l.Record(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// benchReport enters one outcome per message in batches: one operation is one recipient.
func benchReport(b *testing.B, open Open) {
	l := open(b, time.Now)
	ids := fill(b, l, time.Now(), b.N, localRow)
	b.ReportAllocs()
	b.ResetTimer()
	for len(ids) > 0 {
		var reports []*storev1.Report
		for _, id := range ids[:min(benchBatch, len(ids))] {
			reports = append(reports, &storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 5.1.1 no such user"}}})
		}
		ids = ids[len(reports):]
		results, err := l.Report(context.Background(), reports)
		if err != nil || !results[0].Accepted {
			b.Fatal(results, err)
		}
	}
}

// benchClaim claims remote work in batches: one operation is one message.
func benchClaim(b *testing.B, open Open) {
	l := open(b, time.Now)
	ids := fill(b, l, time.Now(), b.N, remoteRow)
	b.ReportAllocs()
	b.ResetTimer()
	for len(ids) > 0 {
		req := &storev1.ClaimRequest{Owner: "one", LeaseMs: 60_000}
		for _, id := range ids[:min(benchBatch, len(ids))] {
			req.Work = append(req.Work, &mailv1.RemoteWork{QueueId: id, Group: "far.example"})
		}
		ids = ids[len(req.Work):]
		claims, err := l.Claim(context.Background(), req)
		if err != nil || !claims[0].Claimed {
			b.Fatal(claims, err)
		}
	}
}

// benchSweep takes due recipients in batches of 1,000 from among n in all, the others final: one operation is all of them.
func benchSweep(b *testing.B, open Open, n, due int) {
	clock := NewClock()
	l := open(b, clock.Now)
	fill(b, l, clock.Now(), n, func(i uint32) *storev1.RecipientRow {
		r := localRow(i)
		if int(i)%(n/due) != 0 {
			r.State = storev1.State_STATE_DISCARDED
		}
		return r
	})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		clock.Advance(time.Hour)
		b.StartTimer()
		total := 0
		for {
			swept, err := l.Sweep(context.Background(), ledger.SweepAll, 1000, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if total += swept.Rows; swept.Rows < 1000 {
				break
			}
		}
		if total != due {
			b.Fatalf("swept %d", total)
		}
	}
	b.ReportMetric(float64(due)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// benchKnown looks up batches of 256 messages, as recovery does for every message: one operation is one message.
func benchKnown(b *testing.B, open Open) {
	l := open(b, time.Now)
	ids := fill(b, l, time.Now(), 256, localRow)
	b.ReportAllocs()
	b.ResetTimer()
	for range (b.N + 255) / 256 {
		if _, err := l.Known(context.Background(), ids); err != nil {
			b.Fatal(err)
		}
	}
}

// benchWalk reads 10,000 messages as the auditor does: one operation is all of them.
func benchWalk(b *testing.B, open Open) {
	clock := NewClock()
	l := open(b, clock.Now)
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
