package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestRetentionTells: a worker that fails, or has more to do, is not done.
func TestRetentionTells(t *testing.T) {
	m, err := newRetentionMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	r := &retention{deps: RetentionDeps{Now: func() time.Time { return now }}, metrics: m}
	var more bool
	w := r.watch("purge", &task{every: 10 * time.Minute, step: func(context.Context) (bool, error) { return more, err }})
	want := func(what string, seconds float64) {
		t.Helper()
		if got := testutil.ToFloat64(m.done.WithLabelValues("purge")); got != seconds {
			t.Errorf("%s: done at %v, want %v", what, got, seconds)
		}
	}
	step := func() {
		t.Helper()
		now = now.Add(time.Minute)
		if gotMore, got := w.step(t.Context()); gotMore != more || !errors.Is(got, err) {
			t.Errorf("the step says %v, %v", gotMore, got)
		}
	}
	want("at the start", 1000)
	err = errors.New("away")
	step()
	want("failed", 1000)
	err, more = nil, true
	step()
	want("with more to do", 1000)
	more = false
	step()
	want("done", 1180)
	if got := testutil.ToFloat64(m.every.WithLabelValues("purge")); got != 600 {
		t.Errorf("every %v, want 600", got)
	}
}
