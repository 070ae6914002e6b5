package resolve

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	cached  prometheus.Counter
	results *prometheus.CounterVec
	sent    *prometheus.CounterVec
}

func newMetrics(r *Resolver, reg prometheus.Registerer) *metrics {
	m := &metrics{
		cached: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_dns_cache_hits_total", Help: "Questions answered from the cache."}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_dns_lookups_total", Help: "Questions put to servers, by result."}, []string{"result"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_dns_queries_total", Help: "Queries sent, by network; several may belong to one question."}, []string{"network"}),
	}
	if reg != nil {
		reg.MustRegister(m.cached, m.results, m.sent,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "mailfarm_dns_cache_bytes", Help: "Octets held by the cache."}, func() float64 { return float64(r.cache.bytes()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "mailfarm_dns_in_flight", Help: "Questions under way."}, func() float64 { return float64(len(r.slots)) }),
		)
	}
	return m
}

func (m *metrics) asked(f *found) {
	result := "found"
	switch {
	case f.err == nil:
	case errors.Is(f.err, ErrNotFound):
		result = "not_found"
	default:
		result = "failed"
	}
	m.results.WithLabelValues(result).Inc()
}
