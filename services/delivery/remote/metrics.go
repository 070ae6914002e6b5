package remote

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	outcomes  *prometheus.CounterVec
	parked    prometheus.Counter
	plaintext prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_recipients_total", Help: "Recipients by the outcome of an attempt."}, []string{"outcome"}),
		parked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_parked_total", Help: "Hints left to the ledger because their destination had enough connections."}),
		plaintext: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_tls_failures_total", Help: "Connections continued without TLS after STARTTLS failed."}),
	}
	reg.MustRegister(m.outcomes, m.parked, m.plaintext)
	return m
}
