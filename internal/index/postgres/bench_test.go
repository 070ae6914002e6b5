package postgres_test

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// These are the benchmarks of index/sqlite, over a server that flushes.

// cpu is what this process has used; the server's own is apart.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var benchIndex = bytes.Repeat([]byte{1, 40, 90, 12}, 200) // 800 octets, as of a small multipart message

func benchMessage(i int) index.Message {
	return index.Message{
		Blob:      blob.ID{Incarnation: 1, Segment: uint32(i), Length: 4096},
		Overlay:   &mailv1.Overlay{Prefix: bytes.Repeat([]byte("X"), 300)},
		PartIndex: benchIndex, Size: 4096, Received: time.Unix(1_800_000_000+int64(i), 0),
	}
}

func benchmarkDeliver(b *testing.B, accounts int) {
	pg := servers.OwnPostgres(b)
	m := connect(b, pg, postgres.Options{}).Mailboxes()
	pool := side(b, pg)
	const batch = 64
	n := 0
	prepare := func() []index.Delivery {
		list := make([]index.Delivery, batch)
		rows := make([]indextest.Recipient, batch)
		for i := range list {
			n++
			list[i] = index.Delivery{QueueID: envelope.NewQueueID(time.Now()), Account: mailbox.AccountID(1 + n%accounts), Message: benchMessage(n)}
			rows[i] = indextest.Recipient{QueueID: list[i].QueueID, Account: list[i].Account, State: storev1.State_STATE_QUEUED}
		}
		if err := route(pool, rows...); err != nil {
			b.Fatal(err)
		}
		return list
	}
	for range max(10*accounts/batch, 10) { // the accounts exist and have some mail
		if _, err := m.Deliver(b.Context(), prepare()); err != nil {
			b.Fatal(err)
		}
	}
	pg.Admin(b, "ANALYZE")
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		list := prepare()
		b.StartTimer()
		start := cpu()
		results, err := m.Deliver(b.Context(), list)
		used += cpu() - start
		if err != nil || results[0].Status != index.Delivered {
			b.Fatal(results, err)
		}
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N*batch), "µs-cpu/message")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/message")
}

func BenchmarkDeliverTo64Accounts(b *testing.B)   { benchmarkDeliver(b, 64) }
func BenchmarkDeliverTo1000Accounts(b *testing.B) { benchmarkDeliver(b, 1000) }
func BenchmarkDeliverToOneMailbox(b *testing.B)   { benchmarkDeliver(b, 1) }

// filled has an account 1 with messages in its INBOX.
func filled(b testing.TB, messages int) (*postgres.Mailboxes, mailbox.ID) {
	pg := servers.OwnPostgres(b)
	m := connect(b, pg, postgres.Options{}).Mailboxes()
	var list []index.Message
	for i := range messages {
		list = append(list, benchMessage(i))
		if len(list) == 5000 || i == messages-1 {
			if _, err := m.Append(b.Context(), 1, index.Inbox, list); err != nil {
				b.Fatal(err)
			}
			list = list[:0]
		}
	}
	pg.Admin(b, "ANALYZE")
	boxes, _, err := m.List(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	return m, boxes[0].ID
}

func BenchmarkFlag(b *testing.B) {
	m, inbox := filled(b, 100_000)
	for _, tt := range []struct {
		name string
		uids mailbox.UIDSet
	}{{"AllOf100000", whole}, {"OneOf100000", mailbox.UIDSet{{First: 50_000, Last: 50_000}}}} {
		b.Run(tt.name, func(b *testing.B) {
			mode := index.RemoveFlags
			for b.Loop() {
				mode = index.AddFlags + index.RemoveFlags - mode
				if _, err := m.Flag(b.Context(), index.FlagChange{Account: 1, Mailbox: inbox, UIDs: tt.uids, Mode: mode, Flags: []string{`\Flagged`}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	m, inbox := filled(b, 100_000)
	var ids []mailbox.EmailID
	var last mailbox.ModSeq
	read := func(since mailbox.ModSeq) (chunks int) {
		err := m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: inbox, Since: since}, func(p *index.Page) error {
			chunks += len(p.Chunks)
			if p.Mailbox != nil {
				last = p.Mailbox.HighestModSeq
			}
			if len(ids) < 1064 {
				for i := range p.Chunks {
					var c mailbox.Chunk
					if err := c.Unpack(&p.Chunks[i]); err != nil {
						return err
					}
					ids = append(ids, c.Emails...)
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return chunks
	}
	b.Run("SnapshotOf100000", func(b *testing.B) {
		for b.Loop() {
			if n := read(0); n < 100_000/mailbox.ChunkSize {
				b.Fatal(n)
			}
		}
	})
	read(0)
	b.Run("SnapshotSince", func(b *testing.B) {
		for b.Loop() {
			if n := read(last - 1); n == 0 || n > 21 {
				b.Fatal(n)
			}
		}
	})
	b.Run("Emails64", func(b *testing.B) {
		for b.Loop() {
			if list, err := m.Emails(b.Context(), 1, ids[1000:1064], true); err != nil || len(list) != 64 {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("Append", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			if _, err := m.Append(b.Context(), 1, index.Inbox, []index.Message{benchMessage(i)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("CopyAndExpunge10000", func(b *testing.B) {
		for b.Loop() {
			r, err := m.Copy(b.Context(), 1, inbox, mailbox.UIDSet{{First: 1, Last: 10_000}}, "Archive")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := m.Expunge(b.Context(), 1, r.Target, whole, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWrites(b *testing.B) {
	indextest.BenchWrites(b, func(tb testing.TB) index.Mailboxes {
		return connect(tb, servers.OwnPostgres(tb), postgres.Options{}).Mailboxes()
	})
}
