package directory

import (
	"github.com/prometheus/client_golang/prometheus"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Results of a login, as metric labels.
const (
	loginGood    = "good"
	loginCached  = "cached"
	loginWrong   = "wrong"
	loginRefused = "refused"
	loginFailed  = "failed"
)

type metrics struct {
	resolved [6]prometheus.Counter // by directoryv1.Kind
	lookups  prometheus.Counter
	logins   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Service) *metrics {
	resolved := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_directory_resolved_total", Help: "Addresses resolved, by what they are."}, []string{"kind"})
	m := &metrics{
		lookups: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_directory_lookups_total", Help: "Look-ups that the cache could not answer and the store did."}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_directory_logins_total", Help: "Logins, by service and result."}, []string{"service", "result"}),
	}
	for kind, name := range map[directoryv1.Kind]string{
		directoryv1.Kind_KIND_UNSPECIFIED: "none", directoryv1.Kind_KIND_ACCOUNT: "account", directoryv1.Kind_KIND_ALIAS: "alias",
		directoryv1.Kind_KIND_REMOTE: "remote", directoryv1.Kind_KIND_UNKNOWN: "unknown", directoryv1.Kind_KIND_INVALID: "invalid",
	} {
		m.resolved[kind] = resolved.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(resolved, m.lookups, m.logins, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mailfarm_directory_logins_waiting", Help: "Logins that wait for their pause to pass or for a core."},
			func() float64 { return float64(s.throttle.waiting()) }))
	}
	return m
}

// serviceLabel keeps the label's values a bounded set.
func serviceLabel(service string) string {
	switch service {
	case "smtp", "imap", "pop3":
		return service
	}
	return "other"
}
