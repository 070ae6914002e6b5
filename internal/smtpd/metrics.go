package smtpd

import "github.com/prometheus/client_golang/prometheus"

// Collector gives the server's Stats as metrics. labels tell it from other servers of the process, as in role=ingress,
// protocol=lmtp; servers that are registered together have the same label names.
func (s *Server) Collector(labels prometheus.Labels) prometheus.Collector {
	c := &collector{server: s}
	add := func(kind prometheus.ValueType, name, help string, value func(Stats) int64) {
		c.series = append(c.series, series{prometheus.NewDesc("mailfarm_smtp_"+name, help, nil, labels), kind, value})
	}
	count := prometheus.CounterValue
	add(prometheus.GaugeValue, "open_connections", "Connections now.", func(s Stats) int64 { return s.Open })
	add(count, "connections_total", "Connections served.", func(s Stats) int64 { return s.Connections })
	add(count, "turned_away_total", "Connections answered 421 for a limit.", func(s Stats) int64 { return s.TurnedAway })
	add(count, "messages_total", "Messages answered 250.", func(s Stats) int64 { return s.Messages })
	add(count, "refused_messages_total", "Messages answered otherwise.", func(s Stats) int64 { return s.RefusedMessages })
	add(count, "octets_total", "Octets of messages answered 250.", func(s Stats) int64 { return s.Octets })
	add(count, "recipients_total", "Recipients accepted.", func(s Stats) int64 { return s.Recipients })
	add(count, "refused_recipients_total", "Recipients refused.", func(s Stats) int64 { return s.RefusedRecipients })
	add(count, "auth_failures_total", "AUTH exchanges that failed.", func(s Stats) int64 { return s.AuthFailures })
	add(count, "tls_handshakes_total", "TLS handshakes begun.", func(s Stats) int64 { return s.Handshakes })
	add(count, "failed_tls_handshakes_total", "TLS handshakes that failed.", func(s Stats) int64 { return s.FailedHandshakes })
	add(count, "panics_total", "Connections ended by a fault of ours.", func(s Stats) int64 { return s.Panics })
	return c
}

type collector struct {
	server *Server
	series []series
}

type series struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Stats) int64
}

// Describe is prometheus.Collector's.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, s := range c.series {
		out <- s.desc
	}
}

// Collect is prometheus.Collector's.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	stats := c.server.Stats()
	for _, s := range c.series {
		out <- prometheus.MustNewConstMetric(s.desc, s.kind, float64(s.value(stats)))
	}
}
