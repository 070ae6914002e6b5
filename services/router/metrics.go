package router

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	routed     prometheus.Counter
	recipients *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		routed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_router_messages_total", Help: "Messages routed."}),
		recipients: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_router_recipients_total", Help: "Recipients by what became of them."}, []string{"outcome"}),
	}
	reg.MustRegister(m.routed, m.recipients)
	return m
}
