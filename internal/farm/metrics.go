package farm

import (
	"context"
	"log/slog"
	"runtime"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is where parts register theirs and monitoring reads them.
type Metrics interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// newRegistry is replaced by tests that look at what is registered.
var newRegistry = func() Metrics { return prometheus.NewRegistry() }

// measure registers what is of the process as a whole.
func (f *Farm) measure(version string) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		f.infra.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mailfarm_" + name, Help: help, ConstLabels: labels}, value))
	}
	gauge("build_info", "1; which version this process is.", prometheus.Labels{"version": version, "go": runtime.Version()}, func() float64 { return 1 })
	gauge("start_time_seconds", "When this process began, seconds since 1970.", nil, func() float64 { return float64(f.started.UnixNano()) / 1e9 })
	gauge("bus_away", "1 while the bus cannot be reached or takes no work.", nil, func() float64 {
		if f.infra.Bus.Ready() != nil {
			return 1
		}
		return 0
	})
	gauge("data_free_bytes", "Room that is left where the data folder lies.", nil, func() float64 {
		return f.room(func(s *syscall.Statfs_t) uint64 { return s.Bavail })
	})
	gauge("data_size_bytes", "All room where the data folder lies.", nil, func() float64 {
		return f.room(func(s *syscall.Statfs_t) uint64 { return s.Blocks })
	})
}

// room is blocks of the data folder's file system in octets; 0 where it cannot be asked.
func (f *Farm) room(blocks func(*syscall.Statfs_t) uint64) float64 {
	var s syscall.Statfs_t
	if syscall.Statfs(f.cfg.Data, &s) != nil {
		return 0
	}
	return float64(blocks(&s)) * float64(s.Bsize)
}

// roleReady tells of each role of this process whether it could serve.
func (f *Farm) roleReady() prometheus.Collector {
	return roleCollector{f}
}

type roleCollector struct{ f *Farm }

var roleDesc = prometheus.NewDesc("mailfarm_role_ready", "1 if this process runs the role, which the label served tells, and could serve now.", []string{"served"}, nil)

// Describe is prometheus.Collector's.
func (c roleCollector) Describe(out chan<- *prometheus.Desc) { out <- roleDesc }

// Collect is prometheus.Collector's.
func (c roleCollector) Collect(out chan<- prometheus.Metric) {
	v := 0.0
	if ready, _ := c.f.health.Report(context.Background()); ready {
		v = 1
	}
	for _, name := range c.f.shape.roles {
		out <- prometheus.MustNewConstMetric(roleDesc, prometheus.GaugeValue, v, name)
	}
}

// counted is a log whose warnings and errors are counted.
func counted(log *slog.Logger, reg prometheus.Registerer) *slog.Logger {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_log_records_total", Help: "Lines logged: warn says that something is degraded, error that somebody should look."}, []string{"level"})
	reg.MustRegister(records)
	return slog.New(countingHandler{log.Handler(), records.WithLabelValues("warn"), records.WithLabelValues("error")})
}

type countingHandler struct {
	slog.Handler
	warnings, errors prometheus.Counter
}

// Handle counts and hands on.
func (h countingHandler) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelError:
		h.errors.Inc()
	case r.Level >= slog.LevelWarn:
		h.warnings.Inc()
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h countingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup is slog.Handler's.
func (h countingHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
