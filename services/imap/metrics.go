package imap

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/services/imap/internal/view"
)

// metrics are the role's. Labels are bounded: verbs come from the command table.
type metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	idle        prometheus.Gauge
	commands    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	logins      *prometheus.CounterVec
	pushes      prometheus.Counter
	missed      prometheus.Counter
	panics      prometheus.Counter
	sent        prometheus.Counter
	indexAsked  prometheus.Counter
	received    prometheus.Counter
	octets      *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, boxes *view.Cache, keys func() int64) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mailfarm_imap_connections", Help: "Open connections."}),
		accepted:    prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_connections_total", Help: "Connections accepted."}),
		idle:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "mailfarm_imap_idle_sessions", Help: "Sessions in IDLE."}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_imap_commands_total",
			Help: "Commands, by verb and result."}, []string{"command", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mailfarm_imap_command_seconds",
			Help:    "Time a command took, without IDLE.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}}, []string{"command"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_imap_logins_total",
			Help: "Logins, by mechanism and result."}, []string{"mechanism", "result"}),
		pushes: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_pushes_total",
			Help: "Updates told to idle sessions."}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_counter_changes_total",
			Help: "Accounts that the comparison of counters found changed."}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_panics_total", Help: "Connections ended by a panic."}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_sent_octets_total", Help: "Octets sent, before TLS."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_received_octets_total", Help: "Octets received, before TLS."}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_imap_command_octets_total",
			Help: "Octets of commands and of what they were answered, uncompressed, by verb and direction."}, []string{"command", "direction"}),
		indexAsked: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_imap_index_asked_total",
			Help: "Searches that the full-text index spared some messages."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.accepted, m.idle, m.commands, m.seconds, m.logins,
		m.pushes, m.missed, m.panics, m.sent, m.received, m.octets, m.indexAsked,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mailfarm_imap_open_mailboxes",
			Help: "Mailboxes held in memory for sessions."}, func() float64 { return float64(boxes.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mailfarm_imap_left_mailboxes_octets",
			Help: "What is held of mailboxes that no session has selected any more."}, func() float64 { return float64(boxes.Left()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "mailfarm_imap_left_mailboxes_refreshed_total",
			Help: "Large mailboxes brought up to date that no session has selected any more."}, func() float64 { return float64(boxes.Freshened()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mailfarm_imap_keys_octets",
			Help: "What is held of headers for SEARCH, SORT and THREAD."}, func() float64 { return float64(keys()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// verbMetrics are one verb's, looked up once.
type verbMetrics struct {
	ok, no, bad prometheus.Counter
	seconds     prometheus.Observer
	in, out     prometheus.Counter
}

func (m *metrics) verb(name string) verbMetrics {
	return verbMetrics{
		ok: m.commands.WithLabelValues(name, "ok"), no: m.commands.WithLabelValues(name, "no"),
		bad: m.commands.WithLabelValues(name, "bad"), seconds: m.seconds.WithLabelValues(name),
		in: m.octets.WithLabelValues(name, "in"), out: m.octets.WithLabelValues(name, "out"),
	}
}

func (v *verbMetrics) count(status string, took time.Duration) {
	switch status {
	case statusOK:
		v.ok.Inc()
	case statusNo:
		v.no.Inc()
	default:
		v.bad.Inc()
	}
	if took > 0 {
		v.seconds.Observe(took.Seconds())
	}
}

// octets counts those of a command and of its answer.
func (v *verbMetrics) octets(in, out int64) {
	v.in.Add(float64(max(in, 0)))
	v.out.Add(float64(max(out, 0)))
}
