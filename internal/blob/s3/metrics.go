package s3

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reg        prometheus.Registerer
	registered []prometheus.Collector

	commits        *prometheus.CounterVec
	requests       *prometheus.CounterVec
	bytes          *prometheus.CounterVec
	seconds        *prometheus.HistogramVec
	frames         prometheus.Histogram
	segmentBytes   prometheus.Histogram
	endings        *prometheus.CounterVec
	away           prometheus.Gauge
	waiting        prometheus.Gauge
	cached, missed prometheus.Counter

	mu    sync.Mutex // guards tally
	tally Stats
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_blob_s3_reads_total",
		Help: "Frames and segments read, by where from: cache, server.",
	}, []string{"from"})
	m := &metrics{
		reg:   reg,
		tally: Stats{Requests: map[string]int64{}},
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_blob_commits_total",
			Help: "Frames answered, by result: durable, full, failed.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_blob_s3_requests_total",
			Help: "Requests to the S3 server, by verb and result: the status, or error.",
		}, []string{"verb", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_blob_s3_bytes_total",
			Help: "Octets of objects, by direction: sent, received.",
		}, []string{"direction"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mailfarm_blob_s3_request_seconds",
			Help:    "Time until the S3 server's answer began, by verb.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"verb"}),
		frames: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mailfarm_blob_s3_frames_per_segment",
			Help:    "Frames that shared one segment.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		segmentBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mailfarm_blob_s3_segment_bytes",
			Help:    "Octets of a segment.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 10),
		}),
		endings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_blob_s3_incarnations_ended_total",
			Help: "Incarnations of this process that ended before it did, by reason: sealed, refused, unknown.",
		}, []string{"reason"}),
		away: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailfarm_blob_s3_away",
			Help: "1 while the S3 server is away and commits fail at once.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailfarm_blob_s3_waiting_bytes",
			Help: "Octets of frames that wait for the S3 server.",
		}),
		cached: reads.WithLabelValues("cache"),
		missed: reads.WithLabelValues("server"),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.commits, m.requests, m.bytes, m.seconds, m.frames, m.segmentBytes, m.endings,
		m.away, m.waiting, reads} {
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

// counting is a transport that counts.
type counting struct {
	next    http.RoundTripper
	metrics *metrics
}

// RoundTrip counts the request.
func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	verb, m := verbOf(r), c.metrics
	start := time.Now()
	resp, err := c.next.RoundTrip(r)
	m.seconds.WithLabelValues(verb).Observe(time.Since(start).Seconds())
	if err == nil && resp.StatusCode == http.StatusNotFound && !saysMissing(r, resp) {
		resp.StatusCode, resp.Status = http.StatusBadGateway, "502 Bad Gateway"
	}
	sent := max(r.ContentLength, 0)
	m.bytes.WithLabelValues("sent").Add(float64(sent))
	result := "error"
	if err == nil {
		result = strconv.Itoa(resp.StatusCode)
		resp.Body = &countedBody{ReadCloser: resp.Body, metrics: m}
	}
	m.requests.WithLabelValues(verb, result).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tally.Requests[verb]++
	m.tally.Sent += sent
	if err != nil || resp.StatusCode >= 500 {
		m.tally.Errors++
	}
	return resp, err
}

// saysMissing tells whether a 404 comes from an S3 server, whose errors are XML, and not from something on the way that
// knows no objects: a scan passes over a segment that is missing.
func saysMissing(r *http.Request, resp *http.Response) bool {
	return r.Method == http.MethodHead || strings.Contains(resp.Header.Get("Content-Type"), "xml")
}

// verbOf names a request; listings and steps of multipart uploads have names of their own.
func verbOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("list-type"):
		return "LIST"
	case q.Has("uploads") && r.Method == http.MethodGet:
		return "LISTUPLOADS"
	}
	switch r.Method {
	case http.MethodGet, http.MethodPut, http.MethodHead, http.MethodDelete, http.MethodPost:
		return r.Method
	}
	return "OTHER"
}

type countedBody struct {
	io.ReadCloser
	metrics *metrics
	n       int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

func (b *countedBody) Close() error {
	m := b.metrics
	m.bytes.WithLabelValues("received").Add(float64(b.n))
	m.mu.Lock()
	m.tally.Received += b.n
	m.mu.Unlock()
	b.n = 0
	return b.ReadCloser.Close()
}

// answered counts frames that were answered.
func (m *metrics) answered(result string, n int) {
	m.commits.WithLabelValues(result).Add(float64(n))
	if result == "durable" {
		m.mu.Lock()
		m.tally.Messages += int64(n)
		m.mu.Unlock()
	}
}
