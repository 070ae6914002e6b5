package store

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// gauges are the auditor's metrics of one process.
func gauges(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, f := range must(reg.Gather()) {
		if g := f.GetMetric()[0].GetGauge(); g != nil {
			values[f.GetName()] = g.GetValue()
		}
	}
	return values
}

// TestOneElectedAuditor has two processes: one shows the farm's counts, and when it dies the other does within 30 s.
func TestOneElectedAuditor(t *testing.T) {
	w := newWorld(t)
	w.record(w.frame(blob.Accepted, nil, "a@example.org"))
	w.clock.Advance(time.Minute)
	w.recover()
	regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	var farm []*ledgerPart
	for i, name := range []string{"store-a", "store-b"} {
		deps := w.process(name).deps
		deps.Metrics = regs[i]
		part, err := newLedgerPart(w.cfg, deps)
		if err != nil {
			t.Fatal(err)
		}
		farm = append(farm, part)
	}
	step := func(i int) {
		t.Helper()
		audit := farm[i].tasks[3]
		audit.held = time.Time{} // the leases go by the clock of the test
		if _, err := audit.underLease(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, elected int, unaccounted float64) {
		t.Helper()
		for i, reg := range regs {
			got := gauges(t, reg)
			n, shown := got["mailfarm_unaccounted_recipients"]
			if yes := i == elected; got["mailfarm_auditor"] == 1 != yes || shown != yes || yes && n != unaccounted {
				t.Errorf("%s: process %d: auditor %v, unaccounted shown %t: %v; want process %d to show %v", when, i, got["mailfarm_auditor"], shown, n, elected, unaccounted)
			}
		}
		last, err := farm[1-elected].queue.Audit(w.ctx, &storev1.AuditRequest{Last: true})
		if err != nil || last.Auditor != farm[elected].deps.Holder || float64(last.Unaccounted) != unaccounted || last.AuditedNs == 0 {
			t.Errorf("%s: the other process tells of %v, %v", when, last, err)
		}
	}
	if _, err := farm[0].queue.Audit(w.ctx, &storev1.AuditRequest{Last: true}); err == nil {
		t.Error("the latest audit was told before there was one")
	}
	step(0)
	step(1)
	want("elected", 0, 0)
	if every, limit := farm[1].tasks[3].every, 30*time.Second; every+farm[1].cfg.Lease > limit {
		t.Errorf("a lease of %v is asked for every %v: nobody takes over within %v", farm[1].cfg.Lease, every, limit)
	}
	// It dies. Something is lost meanwhile.
	w.spoil("DELETE FROM recipient")
	w.clock.Advance(farm[1].tasks[3].every)
	step(1)
	want("its lease runs", 0, 0)
	w.clock.Advance(farm[1].cfg.Lease)
	step(1)
	want("taken over", 1, 1)
	// It was not dead: it does not show what it knew, and the other goes on.
	w.clock.Advance(farm[1].tasks[3].every)
	step(1)
	step(0)
	want("back again", 1, 1)
}
