package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"

	"github.com/mailfarm/mailfarm/internal/servers"
)

var whole = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

// entries reads a mailbox, and fails where its counters, chunks and MODSEQs do not agree.
func entries(t *testing.T, m *postgres.Mailboxes, account mailbox.AccountID, name string) (list []mailbox.Entry) {
	t.Helper()
	boxes, seq, err := m.List(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(boxes, func(b index.Mailbox) bool { return b.Name == name })
	err = m.Snapshot(t.Context(), index.SnapshotQuery{Account: account, Mailbox: boxes[i].ID}, func(p *index.Page) error {
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			for i := range c.Len() {
				list = append(list, c.At(i))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, unseen := boxes[i], uint32(0)
	for i, e := range list {
		if i > 0 && e.UID <= list[i-1].UID || e.UID >= b.UIDNext || e.ModSeq > b.HighestModSeq || b.HighestModSeq > seq {
			t.Errorf("entry %+v behind %d in %+v, account's MODSEQ %d", e, list[max(0, i-1)].UID, b, seq)
		}
		if e.Flags&mailbox.Seen == 0 {
			unseen++
		}
	}
	if int(b.Messages) != len(list) || b.Unseen != unseen {
		t.Errorf("%d entries, %d unseen; the row says %+v", len(list), unseen, b)
	}
	return list
}

// TestStoresAtOnce has two stores deliver, flag, copy, move and expunge in the same few mailboxes. No MODSEQ is given twice,
// readers never see one before a lower one, and the counters agree in the end.
func TestStoresAtOnce(t *testing.T) {
	pg := servers.Postgres(t)
	pool := side(t, pg)
	stores := []*postgres.Mailboxes{connect(t, pg, postgres.Options{}).Mailboxes(), connect(t, pg, postgres.Options{}).Mailboxes()}
	accounts := []mailbox.AccountID{1, 2, 3}
	var added, removed atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	const rounds = 15
	for i, m := range stores {
		wg.Go(func() { // deliveries over all accounts, each batch in another order
			for n := range rounds {
				var list []index.Delivery
				var rows []indextest.Recipient
				for _, k := range rand.Perm(9) {
					d := index.Delivery{QueueID: envelope.NewQueueID(time.Now()), Account: accounts[k%3], Message: message(1000*i + 10*n + k)}
					if k > 5 {
						d.Placements = []index.Placement{{Name: fmt.Sprintf("made/%d", n), Create: true}, {Name: "Archive"}}
					}
					list = append(list, d)
					rows = append(rows, indextest.Recipient{QueueID: d.QueueID, Account: d.Account, State: storev1.State_STATE_QUEUED})
				}
				check(route(pool, rows...))
				results, err := m.Deliver(ctx, list)
				check(err)
				for k, r := range results {
					if r.Status != index.Delivered {
						t.Errorf("delivery: %+v", r)
					}
					added.Add(int64(max(1, len(list[k].Placements))))
				}
			}
		})
		for _, a := range accounts {
			wg.Go(func() {
				boxes, _, err := m.List(ctx, a)
				check(err)
				inbox := boxes[0].ID
				var last mailbox.ModSeq
				for range rounds {
					_, err := m.Flag(ctx, index.FlagChange{Account: a, Mailbox: inbox, UIDs: whole, Mode: index.AddFlags, Flags: []string{`\Seen`}})
					check(err)
					c, err := m.Copy(ctx, a, inbox, mailbox.UIDSet{{First: 1, Last: 5}}, "Archive")
					check(err)
					added.Add(int64(c.Copies.Len()))
					_, err = m.Move(ctx, a, inbox, mailbox.UIDSet{{First: 3, Last: 9}}, "Trash")
					check(err)
					e, err := m.Expunge(ctx, a, c.Target, mailbox.UIDSet{{First: 2, Last: 4}}, true)
					check(err)
					removed.Add(int64(e.Expunged.Len()))
					seqs, err := m.Counters(ctx, []mailbox.AccountID{a})
					check(err)
					if seqs[0] < last || seqs[0] < e.ModSeq {
						t.Errorf("counter %d behind %d and %d", seqs[0], last, e.ModSeq)
					}
					last = seqs[0]
				}
			})
		}
	}
	wg.Wait()
	total := int64(0)
	for _, a := range accounts {
		boxes, _, err := stores[0].List(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			if b.ID != 0 {
				total += int64(len(entries(t, stores[1], a, b.Name)))
			}
		}
	}
	if want := added.Load() - removed.Load(); total != want {
		t.Errorf("%d entries, want %d", total, want)
	}
}

// TestModSeqsInOrder has a reader follow a mailbox that two stores append to: whoever has read up to a MODSEQ never finds a
// lower one that it did not see.
func TestModSeqsInOrder(t *testing.T) {
	pg := servers.Postgres(t)
	stores := []*postgres.Mailboxes{connect(t, pg, postgres.Options{}).Mailboxes(), connect(t, pg, postgres.Options{}).Mailboxes()}
	boxes, _, err := stores[0].List(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	const each = 60
	var wg sync.WaitGroup
	for i, m := range stores {
		wg.Go(func() {
			for n := range each {
				if _, err := m.Append(t.Context(), 7, index.Inbox, []index.Message{message(1000*i + n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	have := map[mailbox.UID]bool{}
	var since mailbox.ModSeq = 1
	for deadline := time.Now().Add(time.Minute); len(have) < 2*each && time.Now().Before(deadline); {
		var highest mailbox.ModSeq
		err := stores[len(have)%2].Snapshot(t.Context(), index.SnapshotQuery{Account: 7, Mailbox: boxes[0].ID, Since: since}, func(p *index.Page) error {
			if p.Mailbox != nil {
				highest = p.Mailbox.HighestModSeq
			}
			for i := range p.Chunks {
				var c mailbox.Chunk
				if err := c.Unpack(&p.Chunks[i]); err != nil {
					return err
				}
				for i, uid := range c.UIDs {
					if !have[uid] && c.ModSeqs[i] <= since {
						t.Errorf("UID %d has MODSEQ %d and came after %d", uid, c.ModSeqs[i], since)
					}
					have[uid] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		since = highest
	}
	wg.Wait()
	if len(have) != 2*each {
		t.Errorf("saw %d entries, want %d", len(have), 2*each)
	}
}

// TestRestartUnderLoad restarts the server as a crash does while two stores deliver. Whoever got an error tries again; each
// message is there once.
func TestRestartUnderLoad(t *testing.T) {
	pg := servers.OwnPostgres(t)
	stores := []*postgres.Mailboxes{connect(t, pg, postgres.Options{}).Mailboxes(), connect(t, pg, postgres.Options{}).Mailboxes()}
	const workers, each = 6, 40
	var work [workers][]index.Delivery
	var rows []indextest.Recipient
	for w := range workers {
		for i := range each {
			d := index.Delivery{QueueID: envelope.NewQueueID(time.Now()), Account: mailbox.AccountID(1 + (w+i)%4), Message: message(1000*w + i)}
			work[w] = append(work[w], d)
			rows = append(rows, indextest.Recipient{QueueID: d.QueueID, Account: d.Account, State: storev1.State_STATE_QUEUED})
		}
	}
	pool := side(t, pg)
	if err := route(pool, rows...); err != nil {
		t.Fatal(err)
	}
	var done, failed atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for w := range workers {
		wg.Go(func() {
			for list := range slices.Chunk(work[w], 4) {
				for ctx.Err() == nil {
					results, err := stores[w%2].Deliver(ctx, list)
					if err == nil && !slices.ContainsFunc(results, func(r index.DeliverResult) bool { return r.Status == index.Failed }) {
						break
					}
					failed.Add(1)
				}
				done.Add(int64(len(list)))
			}
		})
	}
	for i := range 3 {
		for done.Load() < int64(1+i)*workers*each/5 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		pg.Restart(t, true)
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%d of %d are delivered", done.Load(), workers*each)
	}
	total := 0
	for a := mailbox.AccountID(1); a <= 4; a++ {
		emails := map[mailbox.EmailID]bool{}
		for _, e := range entries(t, stores[0], a, index.Inbox) {
			emails[e.Email] = true
			total++
		}
	}
	var open int
	err := side(t, pg).QueryRow(ctx, "SELECT COUNT(*) FROM recipient WHERE state <> $1", int64(storev1.State_STATE_DELIVERED)).Scan(&open)
	if total != workers*each || open != 0 || err != nil {
		t.Errorf("%d entries, want %d; %d recipients open, %v; %d calls failed", total, workers*each, open, err, failed.Load())
	}
}

// TestLeaseRace has many holders want one lease: one gets it.
func TestLeaseRace(t *testing.T) {
	pg := servers.Postgres(t)
	leases := []*postgres.Leases{connect(t, pg, postgres.Options{}).Leases(), connect(t, pg, postgres.Options{}).Leases()}
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			has, err := leases[i%2].Acquire(t.Context(), "sweep", fmt.Sprint("store-", i), time.Minute)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[has]++
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
