package sqlite

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// cpu is what the process has used.
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
	d := open(b, Options{})
	m := d.Mailboxes()
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
		if err := d.route(rows...); err != nil {
			b.Fatal(err)
		}
		return list
	}
	for range 10 * accounts / batch { // the accounts exist and have some mail
		if _, err := m.Deliver(b.Context(), prepare()); err != nil {
			b.Fatal(err)
		}
	}
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		list := prepare()
		b.StartTimer()
		start := cpu()
		results, err := m.Deliver(b.Context(), list)
		used += cpu() - start
		if err != nil || results[0].Status != index.Delivered {
			b.Fatal(results[0], err)
		}
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N*batch), "µs-cpu/message")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/message")
}

func BenchmarkDeliverTo64Accounts(b *testing.B)   { benchmarkDeliver(b, 64) }
func BenchmarkDeliverTo1000Accounts(b *testing.B) { benchmarkDeliver(b, 1000) }
func BenchmarkDeliverToOneMailbox(b *testing.B)   { benchmarkDeliver(b, 1) }

// filled has an account 1 with messages in its INBOX.
func filled(b testing.TB, messages int) (*Mailboxes, mailbox.ID) {
	m := open(b, Options{}).Mailboxes()
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
	boxes, _, err := m.List(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	return m, boxes[0].ID
}

var wholeFolder = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

func BenchmarkFlagAllOf100000(b *testing.B) {
	m, inbox := filled(b, 100_000)
	mode := index.RemoveFlags
	for b.Loop() {
		mode = index.AddFlags + index.RemoveFlags - mode
		r, err := m.Flag(b.Context(), index.FlagChange{Account: 1, Mailbox: inbox, UIDs: wholeFolder, Mode: mode, Flags: []string{`\Flagged`}})
		if err != nil || !r.Changed {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkFlagOneOf100000(b *testing.B) {
	m, inbox := filled(b, 100_000)
	mode := index.RemoveFlags
	for b.Loop() {
		mode = index.AddFlags + index.RemoveFlags - mode
		if _, err := m.Flag(b.Context(), index.FlagChange{Account: 1, Mailbox: inbox, UIDs: mailbox.UIDSet{{First: 50_000, Last: 50_000}},
			Mode: mode, Flags: []string{`\Flagged`}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotOf100000(b *testing.B) {
	m, inbox := filled(b, 100_000)
	for b.Loop() {
		chunks := 0
		err := m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: inbox}, func(p *index.Page) error {
			chunks += len(p.Chunks)
			return nil
		})
		if err != nil || chunks < 100_000/mailbox.ChunkSize {
			b.Fatal(chunks, err)
		}
	}
}

func BenchmarkSnapshotSince(b *testing.B) {
	m, inbox := filled(b, 100_000)
	r, err := m.Flag(b.Context(), index.FlagChange{Account: 1, Mailbox: inbox, UIDs: mailbox.UIDSet{{First: 5, Last: 5}}, Mode: index.AddFlags, Flags: []string{`\Seen`}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		chunks := 0
		err := m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: inbox, Since: r.ModSeq - 1}, func(p *index.Page) error {
			chunks += len(p.Chunks)
			return nil
		})
		if err != nil || chunks != 1 {
			b.Fatal(chunks, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := open(b, Options{}).Mailboxes()
	i := 0
	for b.Loop() {
		i++
		if _, err := m.Append(b.Context(), 1, index.Inbox, []index.Message{benchMessage(i)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCopyAndExpunge10000(b *testing.B) {
	m, inbox := filled(b, 10_000)
	for b.Loop() {
		r, err := m.Copy(b.Context(), 1, inbox, wholeFolder, "Archive")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.Expunge(b.Context(), 1, r.Target, wholeFolder, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEmails64(b *testing.B) {
	m, inbox := filled(b, 5_000)
	var ids []mailbox.EmailID
	err := m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: inbox}, func(p *index.Page) error {
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			ids = append(ids, c.Emails...)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if list, err := m.Emails(b.Context(), 1, ids[1000:1064], true); err != nil || len(list) != 64 {
			b.Fatal(len(list), err)
		}
	}
}

func BenchmarkWrites(b *testing.B) {
	indextest.BenchWrites(b, func(tb testing.TB) index.Mailboxes { return open(tb, Options{}).Mailboxes() })
}
