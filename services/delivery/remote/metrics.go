package remote

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	outcomes       *prometheus.CounterVec
	parked, waited prometheus.Counter
	plaintext      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, g *gate) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_recipients_total", Help: "Recipients by the outcome of an attempt."}, []string{"outcome"}),
		parked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_parked_total", Help: "Hints left to the ledger because enough wait for their destination."}),
		waited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_waited_total", Help: "Hints that waited here because their destination had enough connections."}),
		plaintext: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_delivery_remote_tls_failures_total", Help: "Connections continued without TLS after STARTTLS failed."}),
	}
	gauge := func(name, help string, of func(running, waiting int) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(of(g.counts())) })
	}
	reg.MustRegister(m.outcomes, m.parked, m.waited, m.plaintext,
		gauge("mailfarm_delivery_remote_running", "Messages being sent now.", func(running, _ int) int { return running }),
		gauge("mailfarm_delivery_remote_waiting", "Messages that wait here for a connection.", func(_, waiting int) int { return waiting }))
	return m
}
