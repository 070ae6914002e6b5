package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/servers"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestDatabaseDies kills the server again and again while messages are recorded, swept, claimed and reported on. What was
// answered stands afterwards; what was not is repeated until it is; in the end every recipient is final, and every child
// was made once.
func TestDatabaseDies(t *testing.T) {
	pg := servers.OwnPostgres(t)
	registry := prometheus.NewRegistry()
	ledgers := [2]ledger.Ledger{connect(t, pg, postgres.Options{Metrics: registry}).Ledger(), connect(t, pg, postgres.Options{}).Ledger()}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	life := &restarted{t: t, ctx: ctx, ids: make(chan []byte, 10_000)}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() { life.record(ledgers[w], w) })
	}
	over := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 2 {
		workers.Go(func() { life.work(ledgers[w], fmt.Sprint("worker-", w), over) })
	}
	const kills = 4
	for range kills {
		life.wait(80)
		pg.Restart(t, true)
	}
	writers.Wait()
	close(life.ids)
	var ids [][]byte
	for id := range life.ids {
		ids = append(ids, id)
	}
	life.finish(ledgers[0], ids)
	close(over)
	workers.Wait()
	begun := retries(t, registry)
	t.Logf("%d kills, %d messages; %d calls failed, %v of one process were begun anew", kills, len(ids), life.failed.Load(), begun)
	if life.failed.Load() == 0 && begun == 0 {
		t.Error("no call met a server that died: the test shows nothing")
	}
	children, err := ledgers[1].TakeOutbox(ctx, 100_000, time.Hour)
	if err != nil || len(children) != len(ids) {
		t.Errorf("%d children, %v; want one of each of %d messages", len(children), err, len(ids))
	}
}

// retries is how many transactions a process began anew.
func retries(t *testing.T, registry *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "mailfarm_database_retries_total" {
			for _, m := range f.Metric {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// restarted is a load that goes on while its server dies.
type restarted struct {
	t      *testing.T
	ctx    context.Context
	ids    chan []byte
	done   atomic.Int64
	failed atomic.Int64
}

// wait waits until n more messages were recorded, or all.
func (r *restarted) wait(n int64) {
	goal := min(r.done.Load()+n, restartMessages)
	for r.done.Load() < goal && r.ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

const restartMessages = 400

// record enters messages in batches; a batch whose outcome is not known is repeated.
func (r *restarted) record(l ledger.Ledger, w int) {
	for b := range restartMessages / 2 / 4 {
		var batch []*storev1.Routed
		for i := range 4 {
			row := ledgertest.Remote("a@far.example")
			row.DueNs = 1
			batch = append(batch, ledgertest.Message(time.Now(), uint32(w<<16|b<<4|i), row))
		}
		for r.ctx.Err() == nil {
			results, err := l.Record(r.ctx, []*storev1.Routed{clone(batch[0]), clone(batch[1]), clone(batch[2]), clone(batch[3])})
			if err != nil {
				r.failed.Add(1)
				continue
			}
			for i, res := range results {
				if res.Conflict || len(res.Recipients) != 1 {
					r.t.Errorf("record: got %v", res)
				}
				r.ids <- batch[i].Message.QueueId
			}
			r.check(l, batch)
			r.done.Add(int64(len(batch)))
			break
		}
	}
}

func clone(m *storev1.Routed) *storev1.Routed { return proto.Clone(m).(*storev1.Routed) }

// check finds what was answered.
func (r *restarted) check(l ledger.Ledger, batch []*storev1.Routed) {
	var ids [][]byte
	for _, m := range batch {
		ids = append(ids, m.Message.QueueId)
	}
	for r.ctx.Err() == nil {
		known, err := l.Known(r.ctx, ids)
		if err != nil {
			r.failed.Add(1)
			continue
		}
		if slices.ContainsFunc(known, func(k ledger.Known) bool { return !k.Found }) {
			r.t.Errorf("recorded messages are gone: %v", known)
		}
		return
	}
}

// work sweeps, claims and reports, as delivery does: each message gives rise to one child.
func (r *restarted) work(l ledger.Ledger, owner string, over <-chan struct{}) {
	for r.ctx.Err() == nil {
		select {
		case <-over:
			return
		default:
		}
		due, err := l.Sweep(r.ctx, ledger.SweepAll, 20, 50*time.Millisecond)
		if err != nil {
			r.failed.Add(1)
			continue
		}
		claims, err := l.Claim(r.ctx, &storev1.ClaimRequest{Owner: owner, LeaseMs: 200, Work: due.Remote})
		if err != nil {
			r.failed.Add(1)
			continue
		}
		var reports []*storev1.Report
		for i, c := range claims {
			if !c.Claimed {
				continue
			}
			w := due.Remote[i]
			reports = append(reports, &storev1.Report{QueueId: w.QueueId, Owner: owner, Generation: w.Generation,
				Children: []*mailv1.Accepted{ledgertest.Child(&storev1.Routed{Message: c.Message}, 0)},
				Outcomes: []*storev1.Outcome{{Number: c.Recipients[0].Number, State: storev1.State_STATE_BOUNCED, Reply: "550 no"}}})
		}
		if _, err := l.Report(r.ctx, reports); err != nil {
			r.failed.Add(1)
		}
	}
}

// finish waits until all recipients are final.
func (r *restarted) finish(l ledger.Ledger, ids [][]byte) {
	for {
		open := 0
		entries, err := l.Load(r.ctx, ids)
		for _, e := range entries {
			if e.Message == nil {
				r.t.Fatal("a recorded message is gone")
			}
			if !ledger.IsFinal(e.Recipients[0].State) {
				open++
			}
		}
		if err == nil && open == 0 {
			return
		}
		if r.ctx.Err() != nil {
			r.t.Fatalf("%d of %d recipients are not final: %v", open, len(ids), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
