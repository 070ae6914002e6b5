package indextest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// benchSizes are the mailboxes of benchWrites; INDEX_BENCH_SIZES names others, such as 1000,300000.
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

// writes is a mailbox whose writes are timed.
type writes struct {
	*filled
	// target is where messages are copied, the last of so many folders; set are messages here and there.
	target  string
	folders int
	set     mailbox.UIDSet
}

// scatter chooses 100 messages here and there, of those that are left.
func (w *writes) scatter(b *testing.B, _ int) {
	var uids []mailbox.UID
	w.chunks(b, 0, func(p *mailbox.Packed) (err error) {
		uids, err = mailbox.DecodeUIDs(uids, p.UIDs, mailbox.ChunkSize)
		return err
	})
	w.set = nil
	for i := range 100 {
		w.set = w.set.Add(uids[i*len(uids)/100])
	}
}

// benchWrites times what is written for one command, in mailboxes of growing size: what concerns one message should cost the
// same in each.
func benchWrites(b *testing.B, open func(testing.TB) BenchSubject) {
	for _, n := range benchSizes(b) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := &writes{filled: fillInbox(b, open(b), n)}
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
