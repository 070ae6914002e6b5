package indextest

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// BenchSubject is an index without accounts whose speed is measured.
type BenchSubject struct {
	Mailboxes index.Mailboxes
	// Route enters recipients in the ledger.
	Route func(...Recipient) error
	// Settle is called once there is mail, for what a database does with its tables then; nil where it does nothing.
	Settle func()
}

func (s BenchSubject) settle() {
	if s.Settle != nil {
		s.Settle()
	}
}

// Bench times deliveries, what is done with an INBOX of 100,000 messages, and what commands write (see benchWrites).
func Bench(b *testing.B, open func(testing.TB) BenchSubject) {
	for _, d := range []struct {
		name     string
		accounts int
	}{{"To64Accounts", 64}, {"To1000Accounts", 1000}, {"ToOneMailbox", 1}} {
		b.Run("Deliver/"+d.name, func(b *testing.B) { benchDeliver(b, open(b), d.accounts) })
	}
	b.Run("Large", func(b *testing.B) { benchLarge(b, open(b)) })
	b.Run("Writes", func(b *testing.B) { benchWrites(b, open) })
}

// benchPartIndex has 800 octets, as of a small multipart message.
var benchPartIndex = bytes.Repeat([]byte{1, 40, 90, 12}, 200)

// benchMessage is the i-th of a mailbox, as of a small multipart message that answers another.
func benchMessage(i int) index.Message {
	return index.Message{
		Blob:      blob.ID{Incarnation: 1, Segment: uint32(i), Length: 4096},
		Overlay:   &mailv1.Overlay{Prefix: bytes.Repeat([]byte("X"), 300)},
		PartIndex: benchPartIndex, Size: 4096, Received: time.Unix(1_800_000_000+int64(i), 0),
	}
}

// benchDeliver delivers batches of 64 messages, of so many accounts in turn.
func benchDeliver(b *testing.B, s BenchSubject, accounts int) {
	const batch = 64
	n := 0
	prepare := func() []index.Delivery {
		list := make([]index.Delivery, batch)
		rows := make([]Recipient, batch)
		for i := range list {
			n++
			list[i] = index.Delivery{QueueID: envelope.NewQueueID(time.Now()), Account: mailbox.AccountID(1 + n%accounts), Message: benchMessage(n)}
			rows[i] = Recipient{QueueID: list[i].QueueID, Account: list[i].Account, State: storev1.State_STATE_QUEUED}
		}
		if err := s.Route(rows...); err != nil {
			b.Fatal(err)
		}
		return list
	}
	for range max(10*accounts/batch, 10) { // the accounts exist and have some mail
		if _, err := s.Mailboxes.Deliver(b.Context(), prepare()); err != nil {
			b.Fatal(err)
		}
	}
	s.settle()
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		list := prepare()
		b.StartTimer()
		start := cpu()
		results, err := s.Mailboxes.Deliver(b.Context(), list)
		used += cpu() - start
		if err != nil || results[0].Status != index.Delivered {
			b.Fatal(results, err)
		}
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N*batch), "µs-cpu/message")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/message")
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filled is an account's INBOX, which had n messages when it was filled, and made of them since.
type filled struct {
	m       index.Mailboxes
	inbox   mailbox.ID
	n, made int
}

func fillInbox(b *testing.B, s BenchSubject, n int) *filled {
	f := &filled{m: s.Mailboxes, n: n}
	for f.made < n {
		f.append(b, min(5000, n-f.made))
	}
	boxes, _, err := f.m.List(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	for _, box := range boxes {
		if box.Name == index.Inbox {
			f.inbox = box.ID
		}
	}
	s.settle()
	return f
}

func (f *filled) append(b *testing.B, n int) {
	list := make([]index.Message, n)
	for i := range list {
		list[i] = benchMessage(f.made)
		f.made++
	}
	if _, err := f.m.Append(b.Context(), 1, index.Inbox, list); err != nil {
		b.Fatal(err)
	}
}

// flag sets \Flagged in even turns and takes it away in odd ones.
func (f *filled) flag(b *testing.B, i int, uids mailbox.UIDSet) {
	c := index.FlagChange{Account: 1, Mailbox: f.inbox, UIDs: uids, Mode: index.AddFlags + index.FlagMode(i%2), Flags: []string{`\Flagged`}}
	if _, err := f.m.Flag(b.Context(), c); err != nil {
		b.Fatal(err)
	}
}

// chunks has each chunk that changed since, and tells the mailbox's highest MODSEQ.
func (f *filled) chunks(b *testing.B, since mailbox.ModSeq, each func(*mailbox.Packed) error) (last mailbox.ModSeq) {
	err := f.m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: f.inbox, Since: since}, func(p *index.Page) error {
		if p.Mailbox != nil {
			last = p.Mailbox.HighestModSeq
		}
		for i := range p.Chunks {
			if err := each(&p.Chunks[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return last
}

// benchLarge reads and writes in a large mailbox.
func benchLarge(b *testing.B, s BenchSubject) {
	const n = 100_000
	f := fillInbox(b, s, n)
	count := func(b *testing.B, since mailbox.ModSeq) (chunks int, last mailbox.ModSeq) {
		last = f.chunks(b, since, func(*mailbox.Packed) error { chunks++; return nil })
		return chunks, last
	}
	var emails []mailbox.EmailID
	f.chunks(b, 0, func(p *mailbox.Packed) error {
		if len(emails) >= 64 {
			return nil
		}
		var c mailbox.Chunk
		if err := c.Unpack(p); err != nil {
			return err
		}
		emails = append(emails, c.Emails...)
		return nil
	})
	b.Run("Snapshot", func(b *testing.B) {
		for b.Loop() {
			if chunks, _ := count(b, 0); chunks < n/mailbox.ChunkSize {
				b.Fatal(chunks)
			}
		}
	})
	b.Run("SnapshotSince", func(b *testing.B) {
		f.flag(b, 0, mailbox.UIDSet{{First: 5, Last: 5}})
		_, last := count(b, 0)
		for b.Loop() {
			if chunks, _ := count(b, last-1); chunks != 1 {
				b.Fatal(chunks)
			}
		}
	})
	b.Run("Emails64", func(b *testing.B) {
		for b.Loop() {
			if list, err := f.m.Emails(b.Context(), 1, emails[:64], true); err != nil || len(list) != 64 {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("CopyAndExpunge10000", func(b *testing.B) {
		for b.Loop() {
			r, err := f.m.Copy(b.Context(), 1, f.inbox, mailbox.UIDSet{{First: 1, Last: 10_000}}, "Archive")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.m.Expunge(b.Context(), 1, r.Target, all, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
