package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// twoLedgers are two processes' handles of one database, on its own clock.
func twoLedgers(t *testing.T, pg *servers.PG) [2]ledger.Ledger {
	t.Helper()
	return [2]ledger.Ledger{connect(t, pg, postgres.Options{}).Ledger(), connect(t, pg, postgres.Options{}).Ledger()}
}

// each runs f for every handle, twice at once.
func each(ledgers [2]ledger.Ledger, f func(worker int, l ledger.Ledger)) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { f(w, ledgers[w%2]) })
	}
	wg.Wait()
}

func recordAll(t testing.TB, l ledger.Ledger, messages []*storev1.Routed) {
	t.Helper()
	for batch := range slices.Chunk(messages, 500) {
		if _, err := l.Record(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// remoteMail makes messages of two recipients in one group each; due tells when.
func remoteMail(n int, due time.Time) (messages []*storev1.Routed) {
	for i := range n {
		rows := []*storev1.RecipientRow{ledgertest.Remote("a@far.example"), ledgertest.Remote("b@far.example")}
		for _, r := range rows {
			r.DueNs = due.UnixNano()
		}
		messages = append(messages, ledgertest.Message(time.Now(), uint32(i), rows...))
	}
	return messages
}

func shuffled[T any](all []T) []T {
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// tally counts, for many goroutines.
type tally struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (c *tally) add(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[key]++
}

// wantOnce fails where something did not happen exactly once, or happened to others than want.
func (c *tally) wantOnce(t *testing.T, what string, want int) {
	t.Helper()
	for key, n := range c.n {
		if n != 1 {
			t.Errorf("%s: %x %d times, want once", what, key, n)
		}
	}
	if len(c.n) != want {
		t.Errorf("%s: %d, want %d", what, len(c.n), want)
	}
}

// TestOneClaimsOneReports has four workers of two processes claim the same work in batches of different order, and report on
// all of it: each group has one owner, and only the owner's report counts.
func TestOneClaimsOneReports(t *testing.T) {
	ledgers := twoLedgers(t, servers.Postgres(t))
	messages := remoteMail(200, time.Now().Add(time.Hour))
	recordAll(t, ledgers[0], messages)
	ctx := t.Context()
	var claimed, reported tally
	each(ledgers, func(worker int, l ledger.Ledger) {
		owner := fmt.Sprint("worker-", worker)
		for batch := range slices.Chunk(shuffled(messages), 16) {
			req := &storev1.ClaimRequest{Owner: owner, LeaseMs: 600_000}
			for _, m := range batch {
				req.Work = append(req.Work, &mailv1.RemoteWork{QueueId: m.Message.QueueId, Group: "far.example"})
			}
			claims, err := l.Claim(ctx, req)
			if err != nil {
				t.Error(err)
				return
			}
			var reports []*storev1.Report
			mine := map[string]bool{}
			for i, c := range claims {
				id := req.Work[i].QueueId
				if mine[string(id)] = c.Claimed; c.Claimed {
					claimed.add(string(id))
				}
				if c.Claimed && (len(c.Recipients) != 2 || string(c.Message.GetQueueId()) != string(id)) {
					t.Errorf("claim of %x: %v, want both recipients and the message", id, c)
				}
				reports = append(reports, &storev1.Report{QueueId: id, Owner: owner, Children: []*mailv1.Accepted{ledgertest.Child(batch[i], 0)},
					Outcomes: []*storev1.Outcome{{Number: 1, State: storev1.State_STATE_RELAYED, Reply: "250 ok"}, {Number: 0, State: storev1.State_STATE_BOUNCED, Reply: "550 no"}}})
			}
			reports = shuffled(reports)
			results, err := l.Report(ctx, reports)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range results {
				if r.Accepted != mine[string(reports[i].QueueId)] {
					t.Errorf("report on %x: accepted %t, claimed %t", reports[i].QueueId, r.Accepted, !r.Accepted)
				}
				if r.Accepted {
					reported.add(string(reports[i].QueueId))
				}
			}
		}
	})
	claimed.wantOnce(t, "claims", len(messages))
	reported.wantOnce(t, "accepted reports", len(messages))
	for _, m := range messages {
		entries, err := ledgers[0].Load(ctx, [][]byte{m.Message.QueueId})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range entries[0].Recipients {
			if !ledger.IsFinal(r.State) || r.Attempts != 1 {
				t.Fatalf("message %x: %v, want it final after one attempt", m.Message.QueueId, r)
			}
		}
	}
	children, err := ledgers[1].TakeOutbox(ctx, 1000, time.Hour)
	if err != nil || len(children) != len(messages) {
		t.Errorf("%d children, %v; want one of each message", len(children), err)
	}
}

// TestOneReportOfMany has four workers report on the same local recipients: one of them is accepted.
func TestOneReportOfMany(t *testing.T) {
	ledgers := twoLedgers(t, servers.Postgres(t))
	var messages []*storev1.Routed
	for i := range uint32(200) {
		messages = append(messages, ledgertest.Message(time.Now(), i, ledgertest.Local("a@example.org", 1)))
	}
	recordAll(t, ledgers[0], messages)
	var accepted tally
	each(ledgers, func(_ int, l ledger.Ledger) {
		for batch := range slices.Chunk(shuffled(messages), 32) {
			var reports []*storev1.Report
			for _, m := range batch {
				reports = append(reports, &storev1.Report{QueueId: m.Message.QueueId, Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 no"}}})
			}
			results, err := l.Report(t.Context(), reports)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range results {
				if r.Accepted {
					accepted.add(string(reports[i].QueueId))
				}
			}
		}
	})
	accepted.wantOnce(t, "accepted reports", len(messages))
}

// TestSweepDuringRecord records messages that are due at once while four workers sweep and take children: every recipient is
// hinted once, every child is taken once, and whatever a sweep hints is recorded in whole.
func TestSweepDuringRecord(t *testing.T) {
	ledgers := twoLedgers(t, servers.Postgres(t))
	ctx := t.Context()
	const workers, batches, size = 4, 15, 20
	var swept, taken tally
	var recording sync.WaitGroup
	recorded := make(chan struct{})
	for w := range workers {
		recording.Go(func() {
			for b := range batches {
				var batch []*storev1.Routed
				for i := range size {
					local, remote := ledgertest.Local("a@example.org", 7), ledgertest.Remote("b@far.example")
					local.DueNs, remote.DueNs = 1, 1
					m := ledgertest.Message(time.Now(), uint32(w<<16|b<<8|i), local, remote)
					m.Children = []*mailv1.Accepted{ledgertest.Child(m, 0)}
					batch = append(batch, m)
				}
				if _, err := ledgers[w%2].Record(ctx, batch); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	go func() { recording.Wait(); close(recorded) }()
	each(ledgers, func(_ int, l ledger.Ledger) {
		for last := false; ; {
			select {
			case <-recorded:
				last = true
			default:
			}
			due, err := l.Sweep(ctx, ledger.SweepAll, 30, time.Hour)
			if err != nil {
				t.Error(err)
				return
			}
			var ids [][]byte
			for _, w := range due.Local {
				swept.add(fmt.Sprintf("%x/%d", w.QueueId, w.Number))
				ids = append(ids, w.QueueId)
			}
			for _, w := range due.Remote {
				swept.add(fmt.Sprintf("%x/%s", w.QueueId, w.Group))
				ids = append(ids, w.QueueId)
			}
			entries, err := l.Load(ctx, ids)
			if err != nil {
				t.Error(err)
				return
			}
			for i, e := range entries {
				if e.Message == nil || len(e.Recipients) != 2 {
					t.Errorf("hinted %x, which is recorded as %v", ids[i], e)
				}
			}
			children, err := l.TakeOutbox(ctx, 30, time.Hour)
			if err != nil {
				t.Error(err)
				return
			}
			for _, c := range children {
				taken.add(string(c.ID[:]))
			}
			if last && due.Rows == 0 && len(children) == 0 {
				return
			}
		}
	})
	swept.wantOnce(t, "hints", 2*workers*batches*size)
	taken.wantOnce(t, "children", workers*batches*size)
}

// TestSweepWaitsForNobody holds due rows in a transaction that goes on: sweep and outbox take the others meanwhile.
func TestSweepWaitsForNobody(t *testing.T) {
	pg := servers.Postgres(t)
	ledgers := twoLedgers(t, pg)
	messages := remoteMail(10, time.Unix(0, 1))
	for _, m := range messages {
		m.Children = []*mailv1.Accepted{ledgertest.Child(m, 0)}
	}
	recordAll(t, ledgers[0], messages)
	// Shorter than pgdb's lock timeout: whoever waits for the lock meets this first.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	held := messages[3].Message.QueueId
	for _, q := range []string{"SELECT 1 FROM recipient WHERE queue_id = $1 FOR UPDATE", "SELECT 1 FROM outbox WHERE owner = $1 FOR UPDATE"} {
		if _, err := tx.Exec(ctx, q, held); err != nil {
			t.Fatal(err)
		}
	}
	due, err := ledgers[0].Sweep(ctx, ledger.SweepAll, 100, time.Hour)
	if err != nil || due.Rows != 18 || len(due.Remote) != 9 {
		t.Errorf("sweep: %d rows, %d hints, %v; want those of nine messages", due.Rows, len(due.Remote), err)
	}
	children, err := ledgers[0].TakeOutbox(ctx, 100, time.Hour)
	if err != nil || len(children) != 9 {
		t.Errorf("outbox: %d children, %v; want nine", len(children), err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if due, err := ledgers[1].Sweep(ctx, ledger.SweepAll, 100, time.Hour); err != nil || due.Rows != 2 {
		t.Errorf("sweep afterwards: %d rows, %v; want the two that were held", due.Rows, err)
	}
}

// TestSameMessagesAtOnce has four workers record the same messages in batches of different order: each is recorded once, and
// all hear of the same rows.
func TestSameMessagesAtOnce(t *testing.T) {
	ledgers := twoLedgers(t, servers.Postgres(t))
	messages := remoteMail(200, time.Now().Add(time.Hour))
	var recorded tally
	each(ledgers, func(_ int, l ledger.Ledger) {
		for batch := range slices.Chunk(shuffled(messages), 16) {
			var copies []*storev1.Routed
			for _, m := range batch {
				copies = append(copies, proto.Clone(m).(*storev1.Routed))
			}
			results, err := l.Record(t.Context(), copies)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range results {
				if r.Recorded {
					recorded.add(string(copies[i].Message.QueueId))
				}
				if r.Conflict || len(r.Recipients) != 2 {
					t.Errorf("got %v, want the two rows", r)
				}
			}
		}
	})
	recorded.wantOnce(t, "recorded", len(messages))
}

// TestRerouteOnce has four workers release the same quarantined messages while a router records them anew from the outbox:
// none is lost, and each release counts once.
func TestRerouteOnce(t *testing.T) {
	ledgers := twoLedgers(t, servers.Postgres(t))
	ctx := t.Context()
	var messages []*storev1.Routed
	var ids [][]byte
	for i := range uint32(100) {
		m := ledgertest.Message(time.Now(), i, ledgertest.Settled("a@example.org", storev1.State_STATE_QUARANTINED))
		messages, ids = append(messages, m), append(ids, m.Message.QueueId)
	}
	recordAll(t, ledgers[0], messages)
	var mu sync.Mutex
	released := uint32(0) // guarded by mu
	each(ledgers, func(_ int, l ledger.Ledger) {
		for batch := range slices.Chunk(shuffled(ids), 10) {
			n, err := l.Act(ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, QueueIds: batch})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			released += n
			mu.Unlock()
		}
	})
	if released != uint32(len(ids)) {
		t.Errorf("released %d recipients, want %d", released, len(ids))
	}
	waiting, err := ledgers[0].Waiting(ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	known, err := ledgers[0].Known(ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ids {
		if !waiting[i] || known[i].Found {
			t.Errorf("message %x: waiting %t, in the ledger %t; want it in the outbox alone", ids[i], waiting[i], known[i].Found)
		}
	}
}

// TestPeersSendAnything records and reports what peers may say and PostgreSQL does not store.
func TestPeersSendAnything(t *testing.T) {
	l := connect(t, servers.Postgres(t), postgres.Options{}).Ledger()
	m := ledgertest.Message(time.Now(), 1, ledgertest.Remote("a@far.example"))
	m.Message.Envelope.MessageId = "<nul\x00@example.net>"
	if r, err := l.Record(t.Context(), []*storev1.Routed{m}); err != nil || !r[0].Recorded {
		t.Fatalf("got %v, %v", r, err)
	}
	if r, err := l.Report(t.Context(), []*storev1.Report{{QueueId: m.Message.QueueId,
		Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "550 \x00\x00 no", Relay: "mx\x00.far.example"}}}}); err != nil || !r[0].Accepted {
		t.Fatalf("got %v, %v", r, err)
	}
	e, err := l.Load(t.Context(), [][]byte{m.Message.QueueId})
	if err != nil || e[0].Message.Envelope.MessageId != m.Message.Envelope.MessageId || e[0].Recipients[0].LastReply != "550 \uFFFD\uFFFD no" {
		t.Errorf("got %v, %v; want the envelope as it was and the reply without NUL", e, err)
	}
}
