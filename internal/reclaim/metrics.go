package reclaim

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the worker. Write amplification is rewritten over freed octets.
type metrics struct {
	freed, rewritten, segments, moved, condemned, pardoned prometheus.Counter
	octets                                                 *prometheus.GaugeVec
	inHand                                                 *prometheus.GaugeVec
	passedOver                                             prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_reclaim_" + name, Help: help})
	}
	m := &metrics{
		freed:     counter("freed_bytes_total", "Octets of the blob store given back."),
		rewritten: counter("rewritten_bytes_total", "Octets copied so that segments could be removed."),
		segments:  counter("removed_segments_total", "Segments removed."),
		moved:     counter("moved_frames_total", "Frames copied to another place."),
		condemned: counter("condemned_frames_total", "Frames that nothing referred to."),
		pardoned:  counter("pardoned_frames_total", "Frames that were condemned and referred to after all."),
		octets: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mailfarm_blob_bytes", Help: "Octets of the blob store in the last round: live, dead, live_bodies, dead_bodies, open.",
		}, []string{"state"}),
		inHand: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mailfarm_reclaim_segments", Help: "Segments in hand: bodies, dead, empty, stuck.",
		}, []string{"step"}),
		passedOver: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailfarm_reclaim_unreadable_segments", Help: "Segments passed over because the blob store failed at them.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.freed, m.rewritten, m.segments, m.moved, m.condemned, m.pardoned, m.octets, m.inHand, m.passedOver} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) totals(t *Totals) {
	for state, n := range map[string]int64{"live": t.Live, "dead": t.Dead, "live_bodies": t.LiveBodies, "dead_bodies": t.DeadBodies, "open": t.Open} {
		m.octets.WithLabelValues(state).Set(float64(n))
	}
}

func (m *metrics) hand(work []Work) {
	n := map[Step]int{}
	for _, w := range work {
		n[w.Step]++
	}
	for step, label := range map[Step]string{Bodies: "bodies", Dead: "dead", Empty: "empty", Stuck: "stuck"} {
		m.inHand.WithLabelValues(label).Set(float64(n[step]))
	}
}
