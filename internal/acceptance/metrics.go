package acceptance

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	role                              prometheus.Labels
	accepted, octets, publishFailures prometheus.Counter
	refused, checks                   *prometheus.CounterVec
	commit, wait                      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, role Role) *metrics {
	m := &metrics{role: prometheus.Labels{"role": string(role)}}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: m.role})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: m.role}, []string{label})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: m.role, Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10),
		})
	}
	m.accepted = counter("mailfarm_accepted_messages_total", "Messages accepted and durable.")
	m.octets = counter("mailfarm_accepted_octets_total", "Octets of accepted messages.")
	m.publishFailures = counter("mailfarm_publish_failures_total", "Attempts to publish accepted messages that failed.")
	m.refused = vector("mailfarm_refused_messages_total", "Messages refused after their data began, by reason.", "reason")
	m.checks = vector("mailfarm_filter_checks_total", "Verdicts asked for in the dialogue, by outcome.", "outcome")
	m.commit = histogram("mailfarm_commit_seconds", "Time until a message was durable.")
	m.wait = histogram("mailfarm_accept_filter_wait_seconds", "Time waited for a verdict after the last octet.")
	reg.MustRegister(m.accepted, m.octets, m.publishFailures, m.refused, m.checks, m.commit, m.wait)
	return m
}

func (m *metrics) watchBacklog(reg prometheus.Registerer, backlog func() float64) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mailfarm_unpublished_messages", Help: "Accepted messages that wait for the bus.", ConstLabels: m.role,
	}, backlog))
}
