package pgdb

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a pool.
type metrics struct {
	registry   prometheus.Registerer
	collectors []prometheus.Collector
	retries    *prometheus.CounterVec
}

func newMetrics(db *DB, schema string, registry prometheus.Registerer) (*metrics, error) {
	labels := prometheus.Labels{"schema": schema}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value)
	}
	m := &metrics{registry: registry}
	m.retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_database_retries_total", Help: "Transactions begun anew, by reason.", ConstLabels: labels}, []string{"reason"})
	m.collectors = []prometheus.Collector{
		m.retries,
		gauge("mailfarm_database_connections", "Open connections.", func() float64 { return float64(db.pool.Stat().TotalConns()) }),
		gauge("mailfarm_database_connections_used", "Connections in use.", func() float64 { return float64(db.pool.Stat().AcquiredConns()) }),
		gauge("mailfarm_database_away", "1 while the database cannot be reached.", func() float64 {
			if db.away.Load() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "mailfarm_database_wait_seconds_total",
			Help: "Time that calls waited for a connection.", ConstLabels: labels},
			func() float64 { return db.pool.Stat().AcquireDuration().Seconds() }),
	}
	if registry == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := registry.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.collectors {
		m.registry.Unregister(c)
	}
}
