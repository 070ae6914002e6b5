package store

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/index"
)

// metrics of mailboxes and bodies.
type metrics struct {
	deliveries   *prometheus.CounterVec
	batch        prometheus.Histogram
	deliverTime  prometheus.Histogram
	appended     prometheus.Counter
	bodyBytes    prometheus.Counter
	hintsLost    prometheus.Counter
	reindexed    prometheus.Counter
	byStatus     [index.NoAccount + 1]prometheus.Counter
	snapshotTime prometheus.Histogram
}

// statusLabels are the label values of deliveries.
var statusLabels = [...]string{index.Delivered: "delivered", index.Duplicate: "duplicate", index.Failed: "failed",
	index.OverQuota: "over_quota", index.Stale: "stale", index.NoAccount: "no_account"}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_store_deliveries_total", Help: "Recipients that Deliver was called for, by outcome.",
		}, []string{"status"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_store_deliver_batch", Help: "Recipients per call of Deliver.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		deliverTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_store_deliver_seconds", Help: "How long a call of Deliver took.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		appended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_store_appended_total", Help: "Messages stored by Append.",
		}),
		bodyBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_store_body_bytes_total", Help: "Octets of bodies that were read.",
		}),
		hintsLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_store_hints_lost_total", Help: "Change notices that could not be published.",
		}),
		reindexed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailfarm_store_reindexed_total", Help: "Emails whose part index was made anew.",
		}),
		snapshotTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailfarm_store_snapshot_seconds", Help: "How long a snapshot took to stream.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
		}),
	}
	for s := index.Delivered; s <= index.NoAccount; s++ {
		m.byStatus[s] = m.deliveries.WithLabelValues(statusLabels[s])
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.deliveries, m.batch, m.deliverTime, m.appended, m.bodyBytes, m.hintsLost, m.reindexed, m.snapshotTime} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}
