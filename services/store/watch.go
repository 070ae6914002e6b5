package store

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
)

// WatchedBus is what the watcher asks of the bus; *bus.Conn is one.
type WatchedBus interface {
	// Lags tells of all partitions of all work subjects.
	Lags(ctx context.Context) ([]bus.Lag, error)
	// CountDead tells how many dead letters there are.
	CountDead(ctx context.Context) (uint64, error)
}

const (
	// watchEvery is how often queue and bus are measured for monitoring.
	watchEvery = 10 * time.Second
	// maxWithheld bounds what is counted of withheld frames.
	maxWithheld = 1000
)

// watcher measures what the farm has one of: the queue and the bus. One process does, under its lease, so that monitoring
// has each figure once and the database is asked once.
type watcher struct {
	ledger  ledger.Ledger
	bus     WatchedBus
	lease   time.Duration
	now     func() time.Time
	metrics *watchMetrics
}

// step measures. What cannot be measured now is not shown; the rest is.
func (w *watcher) step(ctx context.Context) (more bool, err error) {
	f := figures{until: w.now().Add(max(w.lease, 2*watchEvery))}
	var errs []error
	note := func(err error) bool {
		errs = append(errs, err)
		return err == nil
	}
	f.depth, err = w.ledger.Depth(ctx)
	f.queue = note(err)
	withheld, err := w.ledger.Withheld(ctx, ledger.Undecided, envelope.QueueID{}, maxWithheld)
	f.withheld, f.queue = len(withheld), note(err) && f.queue
	if w.bus != nil {
		f.lags, err = w.bus.Lags(ctx)
		f.bus = note(err)
		f.dead, err = w.bus.CountDead(ctx)
		f.bus = note(err) && f.bus
	}
	w.metrics.show(f)
	return false, errors.Join(errs...)
}

// figures are what one step measured.
type figures struct {
	// until is when they are too old to be shown.
	until time.Time
	// queue and bus tell whether those parts were measured.
	queue, bus bool
	depth      ledger.Depth
	withheld   int
	lags       []bus.Lag
	dead       uint64
}

// watchMetrics shows the watcher's figures while this process is the watcher.
type watchMetrics struct {
	now                                       func() time.Time
	recipients, late, outbox, undecided, dead *prometheus.Desc
	waiting, inHand                           *prometheus.Desc

	mu   sync.Mutex
	last figures // guarded by mu
}

func newWatchMetrics(now func() time.Time) *watchMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mailfarm_"+name, help, labels, nil)
	}
	return &watchMetrics{
		now:        now,
		recipients: desc("queue_recipients", "Recipients that are not final: queued ones are tried when due, parked ones are held or quarantined.", "state"),
		late:       desc("queue_late_seconds", "How long the longest due recipient has been due and was not hinted."),
		outbox:     desc("queue_outbox_messages", "Messages that the farm made and the router has not recorded yet."),
		undecided:  desc("queue_withheld_messages", "Messages beyond recovery's horizon that wait for an operator, counted up to 1,000."),
		dead:       desc("bus_dead_letters", "Work that panicked or could not be read, until an operator looks."),
		waiting:    desc("bus_waiting", "Work that waits on the bus.", "subject", "partition"),
		inHand:     desc("bus_in_hand", "Work that processes have taken from the bus and not finished.", "subject", "partition"),
	}
}

func (m *watchMetrics) show(f figures) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = f
}

// Describe is prometheus.Collector's.
func (m *watchMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.recipients, m.late, m.outbox, m.undecided, m.dead, m.waiting, m.inHand} {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (m *watchMetrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	f := m.last
	m.mu.Unlock()
	if !m.now().Before(f.until) {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if f.queue {
		gauge(m.recipients, float64(f.depth.Queued), "queued")
		gauge(m.recipients, float64(f.depth.Parked), "parked")
		gauge(m.late, f.depth.Late.Seconds())
		gauge(m.outbox, float64(f.depth.Outbox))
		gauge(m.undecided, float64(f.withheld))
	}
	if f.bus {
		gauge(m.dead, float64(f.dead))
		for _, l := range f.lags {
			gauge(m.waiting, float64(l.Waiting), string(l.Subject), strconv.Itoa(l.Partition))
			gauge(m.inHand, float64(l.InHand), string(l.Subject), strconv.Itoa(l.Partition))
		}
	}
}
