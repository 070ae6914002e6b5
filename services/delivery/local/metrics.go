package local

import "github.com/prometheus/client_golang/prometheus"

// event is what became of a recipient in one attempt.
type event int

const (
	eventDelivered event = iota
	eventDeferred
	eventBounced
	// eventRepeated is work that was done before.
	eventRepeated
	events
)

// String is the event's name in logs, traces and metrics.
func (e event) String() string {
	return [events]string{"delivered", "deferred", "bounced", "repeated"}[e]
}

type metrics struct {
	outcomes [events]prometheus.Counter
	delay    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_delivery_local_recipients_total", Help: "Recipients by the outcome of an attempt."}, []string{"outcome"})
	m := &metrics{delay: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "mailfarm_delivery_local_delay_seconds", Help: "From acceptance to the mailbox.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)})}
	for e := range m.outcomes {
		m.outcomes[e] = outcomes.WithLabelValues(event(e).String())
	}
	reg.MustRegister(outcomes, m.delay)
	return m
}
