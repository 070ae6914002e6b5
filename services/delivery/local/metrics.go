package local

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	outcomes *prometheus.CounterVec
	delay    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_delivery_local_recipients_total", Help: "Recipients by the outcome of an attempt."}, []string{"outcome"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_delivery_local_delay_seconds", Help: "From acceptance to the mailbox.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}),
	}
	reg.MustRegister(m.outcomes, m.delay)
	return m
}

func nanoseconds(n int64) time.Duration { return time.Duration(n) }
