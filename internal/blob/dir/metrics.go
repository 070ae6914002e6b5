package dir

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	reg        prometheus.Registerer
	registered []prometheus.Collector

	durable, full, failed   prometheus.Counter
	flushes                 prometheus.Counter
	frames                  prometheus.Histogram
	segmentBytes, bodyBytes prometheus.Counter
	abandoned               prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	commits := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_blob_commits_total",
		Help: "Frames answered, by result: durable, full, failed.",
	}, []string{"result"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_blob_written_bytes_total",
		Help: "Octets written, by place: segment, body.",
	}, []string{"place"})
	m := &metrics{
		reg:     reg,
		durable: commits.WithLabelValues("durable"),
		full:    commits.WithLabelValues("full"),
		failed:  commits.WithLabelValues("failed"),
		flushes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_blob_flushes_total",
			Help: "Flushes of segments for frames.",
		}),
		frames: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mailfarm_blob_frames_per_flush",
			Help:    "Frames that shared one flush.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		segmentBytes: bytes.WithLabelValues("segment"),
		bodyBytes:    bytes.WithLabelValues("body"),
		abandoned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_blob_abandoned_segments_total",
			Help: "Segments given up after a failed write or flush.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{commits, bytes, m.flushes, m.frames, m.abandoned} {
		if err := reg.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

// unregister lets the next store of the process take the names.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.reg.Unregister(c)
	}
}
