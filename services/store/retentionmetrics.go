package store

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// retentionMetrics tell when the workers of retention came to the end of what was due. One process works at a time: the latest
// of all counts, and one that has just started counts as done.
type retentionMetrics struct{ done, every *prometheus.GaugeVec }

func newRetentionMetrics(r prometheus.Registerer) (*retentionMetrics, error) {
	m := &retentionMetrics{
		done: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mailfarm_retention_done_time_seconds",
			Help: "When a worker of retention last came to its end without an error, or this process started.",
		}, []string{"work"}),
		every: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mailfarm_retention_every_seconds", Help: "How often a worker of retention is to run.",
		}, []string{"work"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.done, m.every} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("retention: %w", err)
		}
	}
	return m, nil
}

// watch has a task tell when it was done.
func (r *retention) watch(work string, t *task) *task {
	done, step := r.metrics.done.WithLabelValues(work), t.step
	tell := func() { done.Set(float64(r.deps.Now().UnixNano()) / 1e9) }
	r.metrics.every.WithLabelValues(work).Set(t.every.Seconds())
	tell()
	t.step = func(ctx context.Context) (more bool, err error) {
		if more, err = step(ctx); err == nil && !more {
			tell()
		}
		return more, err
	}
	return t
}
