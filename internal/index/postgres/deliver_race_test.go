package postgres_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// fates counts what the callers of one race were told of each message.
type fates struct {
	mu        sync.Mutex
	delivered map[envelope.QueueID]int // guarded by mu
	bounced   map[envelope.QueueID]int // guarded by mu
	deleted   int                      // guarded by mu
}

func (f *fates) note(count func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count()
}

// TestOneFate has two processes deliver messages, bounce them, and delete them by an operator's hand, all at once. Each
// message has one of these fates, which whoever brought it about was told of, and nothing of the others: neither a placement
// with a bounce, nor a row that says delivered of what was deleted.
func TestOneFate(t *testing.T) {
	pg := servers.Postgres(t)
	pool := side(t, pg)
	stores := [2]*postgres.DB{connect(t, pg, postgres.Options{}), connect(t, pg, postgres.Options{})}
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	const size = 24
	var seen [9]int
	for n := range rounds {
		var messages []*storev1.Routed
		for i := range uint32(size) {
			messages = append(messages, ledgertest.Message(time.Now(), i, ledgertest.Local("a@example.org", uint64(1+i%5))))
		}
		recordAll(t, stores[0].Ledger(), messages)
		f := &fates{delivered: map[envelope.QueueID]int{}, bounced: map[envelope.QueueID]int{}}
		race(t, stores, messages, f)
		deleted := 0
		for _, m := range messages {
			id := envelope.QueueID(m.Message.QueueId)
			var state storev1.State
			var due *int64
			var placed int
			var children [][]byte
			err := pool.QueryRow(t.Context(), `SELECT state, due_ns, (SELECT count(*) FROM delivered d WHERE d.queue_id = r.queue_id),
				(SELECT array_agg(child) FROM outbox WHERE owner = r.queue_id) FROM recipient r WHERE queue_id = $1`, id[:]).
				Scan(&state, &due, &placed, &children)
			if err != nil {
				t.Fatal(err)
			}
			want := map[storev1.State]struct {
				delivered, bounced int
				child              []byte
			}{
				storev1.State_STATE_DELIVERED: {delivered: 1, child: ledgertest.Child(m, 0).QueueId},
				storev1.State_STATE_BOUNCED:   {bounced: 1, child: ledgertest.Child(m, 1).QueueId},
				storev1.State_STATE_DISCARDED: {},
			}[state]
			wanted := [][]byte{want.child}
			if want.child == nil {
				wanted = nil
			}
			if due != nil || placed != want.delivered || f.delivered[id] != want.delivered || f.bounced[id] != want.bounced ||
				!slices.EqualFunc(children, wanted, slices.Equal) {
				t.Errorf("round %d, message %s: %v, due %v, placed %d times, delivered %d times, bounced %d times, children %x",
					n, id, state, due, placed, f.delivered[id], f.bounced[id], children)
			}
			if state == storev1.State_STATE_DISCARDED {
				deleted++
			}
			seen[state]++
		}
		if deleted != f.deleted {
			t.Errorf("round %d: %d are deleted, operators were told of %d", n, deleted, f.deleted)
		}
	}
	total := 0
	for a := mailbox.AccountID(1); a <= 5; a++ {
		total += len(entries(t, stores[1].Mailboxes(), a, index.Inbox))
	}
	if total != seen[storev1.State_STATE_DELIVERED] {
		t.Errorf("%d entries, %d messages are delivered", total, seen[storev1.State_STATE_DELIVERED])
	}
	t.Logf("%d delivered, %d bounced, %d deleted", seen[storev1.State_STATE_DELIVERED], seen[storev1.State_STATE_BOUNCED], seen[storev1.State_STATE_DISCARDED])
}

// race has every process do everything to the same messages, each in an order of its own.
func race(t *testing.T, stores [2]*postgres.DB, messages []*storev1.Routed, f *fates) {
	const batch = 4
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for _, d := range stores {
		wg.Go(func() {
			<-begin
			for some := range slices.Chunk(shuffled(messages), batch) {
				list := make([]index.Delivery, len(some))
				for i, m := range some {
					list[i] = index.Delivery{QueueID: envelope.QueueID(m.Message.QueueId), Account: mailbox.AccountID(m.Recipients[0].Account),
						Message: message(i), Children: []*mailv1.Accepted{ledgertest.Child(m, 0)}}
				}
				results, err := d.Mailboxes().Deliver(t.Context(), list)
				if err != nil {
					t.Errorf("deliver: %v", err)
				}
				for i, r := range results {
					switch r.Status {
					case index.Delivered:
						f.note(func() { f.delivered[list[i].QueueID]++ })
					case index.Duplicate, index.Stale:
					default:
						t.Errorf("deliver: %+v", r)
					}
				}
			}
		})
		wg.Go(func() {
			<-begin
			for some := range slices.Chunk(shuffled(messages), batch) {
				reports := make([]*storev1.Report, len(some))
				for i, m := range some {
					reports[i] = &storev1.Report{QueueId: m.Message.QueueId, Children: []*mailv1.Accepted{ledgertest.Child(m, 1)},
						Outcomes: []*storev1.Outcome{{State: storev1.State_STATE_BOUNCED, Reply: "554 5.4.7 expired"}}}
				}
				results, err := d.Ledger().Report(t.Context(), reports)
				if err != nil {
					t.Errorf("report: %v", err)
				}
				for i, r := range results {
					if r.Accepted {
						f.note(func() { f.bounced[envelope.QueueID(some[i].Message.QueueId)]++ })
					}
				}
			}
		})
		wg.Go(func() {
			<-begin
			for some := range slices.Chunk(shuffled(messages), batch) {
				req := &storev1.ActRequest{Action: storev1.Action_ACTION_DELETE}
				for _, m := range some {
					req.QueueIds = append(req.QueueIds, m.Message.QueueId)
				}
				n, err := d.Ledger().Act(t.Context(), req)
				if err != nil {
					t.Errorf("act: %v", err)
				}
				f.note(func() { f.deleted += int(n) })
			}
		})
	}
	close(begin)
	wg.Wait()
}
