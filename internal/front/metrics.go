package front

import "github.com/prometheus/client_golang/prometheus"

// newRefused counts the connections of a service that were not let in. A nil r keeps the counter to itself.
func newRefused(r prometheus.Registerer, service string) (*prometheus.CounterVec, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_front_refused_total", Help: "Connections that were not let in, by limit.",
		ConstLabels: prometheus.Labels{"service": service},
	}, []string{"limit"})
	for _, limit := range []Limit{LimitDraining, LimitConnections, LimitAddress, LimitProxy} {
		refused.WithLabelValues(string(limit))
	}
	if r == nil {
		return refused, nil
	}
	return refused, r.Register(refused)
}
