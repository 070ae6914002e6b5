package filter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

type metrics struct {
	verdicts *prometheus.CounterVec
	reasons  *prometheus.CounterVec
	wait     prometheus.Histogram
	retried  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_filter_verdicts_total", Help: "Messages judged, by stage and what is to become of them."}, []string{"stage", "action"}),
		reasons: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_filter_reasons_total", Help: "Reasons given in verdicts."}, []string{"reason"}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_filter_wait_seconds", Help: "From a message's last octet to its verdict.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_filter_postponed_total", Help: "Work from the bus postponed because blob store or bus were away."}),
	}
	if reg != nil {
		reg.MustRegister(m.verdicts, m.reasons, m.wait, m.retried)
	}
	return m
}

// Stages of judging, as metric labels.
const (
	stageDialogue = "dialogue"
	stageBus      = "bus"
)

func (m *metrics) judged(stage string, v *mailv1.Verdict, wait time.Duration) {
	m.verdicts.WithLabelValues(stage, actionName(v.Action)).Inc()
	for _, r := range v.Reasons {
		m.reasons.WithLabelValues(r.Name).Inc()
	}
	m.wait.Observe(wait.Seconds())
}

func actionName(a mailv1.Action) string {
	switch a {
	case mailv1.Action_ACTION_ACCEPT:
		return "accept"
	case mailv1.Action_ACTION_JUNK:
		return "junk"
	case mailv1.Action_ACTION_REJECT:
		return "reject"
	case mailv1.Action_ACTION_QUARANTINE:
		return "quarantine"
	case mailv1.Action_ACTION_DISCARD:
		return "discard"
	}
	return "none"
}
