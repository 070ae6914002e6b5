package store

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/ledger"
)

// auditMetrics are those of the elected auditor. Every process has them; only the elected one shows the counts, so that a
// farm has one value of each, and none of a process that was elected once.
type auditMetrics struct {
	now     func() time.Time
	auditor *prometheus.Desc
	audited *prometheus.Desc
	alarm   *prometheus.Desc
	counts  []*prometheus.Desc

	mu sync.Mutex
	// until is when the election ends unless it is held again; working holds it while an audit goes on.
	until   time.Time
	working bool
	last    *ledger.AuditReport
}

func newAuditMetrics(now func() time.Time) *auditMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("mailfarm_"+name, help, nil, nil)
	}
	m := &auditMetrics{
		now:     now,
		auditor: desc("auditor", "1 if this process is the farm's elected auditor."),
		audited: desc("audit_time_seconds", "When the elected auditor's last audit ended, seconds since 1970."),
		alarm:   desc("unaccounted_recipients", "Accepted recipients that are in no state, by the elected auditor's last audit: any value but 0 is an alarm."),
	}
	for _, name := range auditNames {
		m.counts = append(m.counts, desc("audit_"+name, "Recipients in the elected auditor's last audit: "+name+"."))
	}
	return m
}

// hold says that this process is elected up to a time.
func (m *auditMetrics) hold(until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = until
}

// busy says that an audit goes on, whose end the election outlasts.
func (m *auditMetrics) busy(working bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.working = working
}

// show takes the latest audit.
func (m *auditMetrics) show(r ledger.AuditReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = &r
}

// Describe tells of all metrics, shown or not.
func (m *auditMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.auditor
	out <- m.audited
	out <- m.alarm
	for _, d := range m.counts {
		out <- d
	}
}

// Collect shows what this process may show.
func (m *auditMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.working && !m.now().Before(m.until) {
		gauge(m.auditor, 0)
		return
	}
	gauge(m.auditor, 1)
	if m.last == nil {
		return
	}
	gauge(m.audited, float64(m.last.At.UnixNano())/1e9)
	gauge(m.alarm, float64(m.last.Result.GetUnaccounted()))
	for i, n := range auditCounts(m.last.Result) {
		gauge(m.counts[i], float64(n))
	}
}
