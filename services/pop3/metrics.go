package pop3

import "github.com/prometheus/client_golang/prometheus"

// metrics are the role's. Labels are bounded: verbs come from the command table.
type metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	commands    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	logins      *prometheus.CounterVec
	retrieved   prometheus.Counter
	removed     prometheus.Counter
	sent        prometheus.Counter
	received    prometheus.Counter
	octets      *prometheus.CounterVec
	panics      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mailfarm_pop3_connections", Help: "Open connections."}),
		accepted:    prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_connections_total", Help: "Connections accepted."}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_pop3_commands_total",
			Help: "Commands, by verb and result."}, []string{"command", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mailfarm_pop3_command_seconds",
			Help:    "Time a command took.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}}, []string{"command"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_pop3_logins_total",
			Help: "Logins, by mechanism and result."}, []string{"mechanism", "result"}),
		retrieved: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_retrieved_total", Help: "Messages sent whole."}),
		removed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_removed_total", Help: "Messages removed at QUIT."}),
		sent:      prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_sent_octets_total", Help: "Octets sent, before TLS."}),
		received:  prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_received_octets_total", Help: "Octets received, before TLS."}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailfarm_pop3_command_octets_total",
			Help: "Octets of commands and of what they were answered, by verb and direction."}, []string{"command", "direction"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_pop3_panics_total", Help: "Connections ended by a panic."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.accepted, m.commands, m.seconds, m.logins, m.retrieved, m.removed, m.sent, m.received, m.octets, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// verbMetrics are one verb's, looked up once.
type verbMetrics struct {
	ok, err prometheus.Counter
	seconds prometheus.Observer
	in, out prometheus.Counter
}

func (m *metrics) verb(name string) verbMetrics {
	return verbMetrics{ok: m.commands.WithLabelValues(name, "ok"), err: m.commands.WithLabelValues(name, "err"), seconds: m.seconds.WithLabelValues(name),
		in: m.octets.WithLabelValues(name, "in"), out: m.octets.WithLabelValues(name, "out")}
}
