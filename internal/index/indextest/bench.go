package indextest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// benchSizes are the mailboxes of BenchWrites; INDEX_BENCH_SIZES names others, such as 1000,300000.
func benchSizes(b *testing.B) []int {
	names := os.Getenv("INDEX_BENCH_SIZES")
	if names == "" {
		names = "1000,100000"
	}
	var sizes []int
	for _, s := range strings.Split(names, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			b.Fatalf("INDEX_BENCH_SIZES: %q is no number of messages", s)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

// benchMessage is the i-th of a mailbox, as of a small multipart message that answers another.
func benchMessage(i int) index.Message {
	return index.Message{
		Blob:      blob.ID{Incarnation: 1, Segment: uint32(i), Length: 4096},
		Overlay:   &mailv1.Overlay{Prefix: bytes.Repeat([]byte("X"), 300)},
		PartIndex: bytes.Repeat([]byte{1, 40, 90, 12}, 200), Size: 4096, Received: time.Unix(1_800_000_000+int64(i), 0),
	}
}

// writes is a mailbox whose writes are timed.
type writes struct {
	m     index.Mailboxes
	inbox mailbox.ID
	// n is how many messages it began with, and made how many were appended.
	n, made int
	// target is where messages are copied, the last of so many folders; set are messages here and there.
	target  string
	folders int
	set     mailbox.UIDSet
}

func fillForWrites(b *testing.B, m index.Mailboxes, n int) *writes {
	w := &writes{m: m, n: n}
	for w.made < n {
		w.append(b, min(5000, n-w.made))
	}
	boxes, _, err := m.List(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	for _, box := range boxes {
		if box.Name == index.Inbox {
			w.inbox = box.ID
		}
	}
	return w
}

func (w *writes) append(b *testing.B, n int) {
	list := make([]index.Message, n)
	for i := range list {
		list[i] = benchMessage(w.made)
		w.made++
	}
	if _, err := w.m.Append(b.Context(), 1, index.Inbox, list); err != nil {
		b.Fatal(err)
	}
}

// flag sets \Flagged in even turns and takes it away in odd ones.
func (w *writes) flag(b *testing.B, i int, uids mailbox.UIDSet) {
	c := index.FlagChange{Account: 1, Mailbox: w.inbox, UIDs: uids, Mode: index.AddFlags + index.FlagMode(i%2), Flags: []string{`\Flagged`}}
	if _, err := w.m.Flag(b.Context(), c); err != nil {
		b.Fatal(err)
	}
}

// scatter chooses 100 messages here and there, of those that are left.
func (w *writes) scatter(b *testing.B, _ int) {
	var uids []mailbox.UID
	err := w.m.Snapshot(b.Context(), index.SnapshotQuery{Account: 1, Mailbox: w.inbox}, func(p *index.Page) error {
		for i := range p.Chunks {
			var err error
			if uids, err = mailbox.DecodeUIDs(uids, p.Chunks[i].UIDs, mailbox.ChunkSize); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	w.set = nil
	for i := range 100 {
		w.set = w.set.Add(uids[i*len(uids)/100])
	}
}

// BenchWrites times what is written for one command, in mailboxes of growing size: what concerns one message should cost the
// same in each. open gives an index without accounts.
func BenchWrites(b *testing.B, open func(testing.TB) index.Mailboxes) {
	for _, n := range benchSizes(b) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := fillForWrites(b, open(b), n)
			for _, op := range []struct {
				name string
				// before and after are not timed.
				before func(b *testing.B, i int)
				run    func(b *testing.B, i int)
				after  func(b *testing.B)
			}{
				{"StoreOne", nil, w.flagOne, nil},
				{"StoreAll", nil, func(b *testing.B, i int) { w.flag(b, i, all) }, nil},
				{"AppendOne", nil, func(b *testing.B, _ int) { w.append(b, 1) }, nil},
				{"Copy10000", w.makeTarget, w.copy, w.dropTarget},
				{"Expunge100", w.scatter, w.expunge, func(b *testing.B) { w.append(b, 100) }},
			} {
				b.Run(op.name, func(b *testing.B) {
					b.ReportAllocs()
					var used time.Duration
					for i := 0; b.Loop(); i++ {
						b.StopTimer()
						if op.before != nil {
							op.before(b, i)
						}
						b.StartTimer()
						start := cpu()
						op.run(b, i)
						used += cpu() - start
						b.StopTimer()
						if op.after != nil {
							op.after(b)
						}
						b.StartTimer()
					}
					b.ReportMetric(float64(used.Microseconds())/float64(b.N), "µs-cpu/op")
				})
			}
		})
	}
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// flagOne changes a message that the last ones were far from.
func (w *writes) flagOne(b *testing.B, i int) {
	const step = 10_007 // prime, so that all have their turn
	uid := mailbox.UID(1 + i*step%w.n)
	w.flag(b, i/w.n, mailbox.UIDSet{{First: uid, Last: uid}})
}

func (w *writes) makeTarget(b *testing.B, _ int) {
	w.folders++
	w.target = fmt.Sprintf("Copies %d", w.folders)
	if _, _, err := w.m.Create(b.Context(), 1, w.target, ""); err != nil {
		b.Fatal(err)
	}
}

// copy copies the first 10,000 messages, or as many as there are, to a folder that was just made.
func (w *writes) copy(b *testing.B, _ int) {
	uids := mailbox.UIDSet{{First: 1, Last: mailbox.UID(min(w.n, 10_000))}}
	if _, err := w.m.Copy(b.Context(), 1, w.inbox, uids, w.target); err != nil {
		b.Fatal(err)
	}
}

func (w *writes) dropTarget(b *testing.B) {
	if _, err := w.m.Delete(b.Context(), 1, w.target); err != nil {
		b.Fatal(err)
	}
}

func (w *writes) expunge(b *testing.B, _ int) {
	if r, err := w.m.Expunge(b.Context(), 1, w.inbox, w.set, true); err != nil || r.Expunged.Len() != 100 {
		b.Fatal(r, err)
	}
}
