package certs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var expiry = prometheus.NewDesc("mailfarm_certificate_expiry_seconds",
	"Seconds until the certificate in use is over; negative afterwards.", []string{"name", "file"}, nil)

// collector tells how long certificates last.
type collector struct{ r *Reloader }

// Describe tells of nothing, so that several Reloaders can be registered.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect is prometheus.Collector's.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for i, cert := range c.r.state.Load().certificates {
		out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, time.Until(cert.Leaf.NotAfter).Seconds(),
			c.r.cfg.Name, c.r.cfg.Pairs[i].CertificateFile)
	}
}
