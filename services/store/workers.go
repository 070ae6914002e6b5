package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// WorkBus is what the workers need of the bus; *bus.Conn is one.
type WorkBus interface {
	// PublishAll returns once the stream has all payloads; keys and payloads pair up.
	PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error
	// Backlog is how much work of a subject waits or is in hand.
	Backlog(ctx context.Context, s bus.Subject) (uint64, error)
	// Mark notes where a subject's stream ends now.
	Mark(ctx context.Context, s bus.Subject) (bus.Mark, error)
	// Passed tells whether all that was published before the mark was acknowledged; sameStream is false where the stream
	// is another one by now.
	Passed(ctx context.Context, m bus.Mark) (passed, sameStream bool, err error)
}

// LedgerConfig is the part of the role's configuration that is about the ledger; the zero value is good.
type LedgerConfig struct {
	// SweepEvery is how often due work is looked for. Default 1s.
	SweepEvery time.Duration `yaml:"sweep_every"`
	// SweepBatch is how many recipients one sweep takes. Default 1000.
	SweepBatch int `yaml:"sweep_batch"`
	// SweepAgain is when a recipient that was hinted and not taken up is hinted again. Default 2m.
	SweepAgain time.Duration `yaml:"sweep_again"`
	// MaxBacklog is how much work may wait on the bus before the sweep pauses. Default 20000.
	MaxBacklog uint64 `yaml:"max_backlog"`
	// OutboxEvery is how often the outbox is looked into; new children wake it. Default 1s.
	OutboxEvery time.Duration `yaml:"outbox_every"`
	// OutboxBatch is how many children are published at once. Default 256.
	OutboxBatch int `yaml:"outbox_batch"`
	// OutboxAgain is after how long a child that the router has not recorded is published again; it doubles. Default 5s.
	OutboxAgain time.Duration `yaml:"outbox_again"`
	// RecoverEvery is how often the blob store is compared with the ledger while there is mail; looks that meet none come ever
	// less often, down to one each RecoverAfter. Default 1s.
	RecoverEvery time.Duration `yaml:"recover_every"`
	// RecoverAfter is how old an accepted message must be before recovery looks after it: longer than a publish takes. Default 5s.
	RecoverAfter time.Duration `yaml:"recover_after"`
	// RecoverHorizon is the age from which a message that was never routed waits for an operator. Default 168h.
	RecoverHorizon time.Duration `yaml:"recover_horizon"`
	// RecoverBatch is how many messages wait for recovery at once. Default 2000.
	RecoverBatch int `yaml:"recover_batch"`
	// RecoverHeld keeps recovery from publishing, as after a restore from a backup. Default false.
	RecoverHeld bool `yaml:"recover_held"`
	// AuditEvery is how often everything is accounted for, by what earlier audits found settled and by looking at all else;
	// `mailfarm audit` does so at once. Default 15m.
	AuditEvery time.Duration `yaml:"audit_every"`
	// AuditFullEvery is how often everything is looked at again, so that a loss of what was settled is found. Default 24h.
	AuditFullEvery time.Duration `yaml:"audit_full_every"`
	// AuditPause is how long an audit rests after every 512 messages or frames, so that mail goes first. Default 5ms.
	AuditPause time.Duration `yaml:"audit_pause"`
	// PruneAfter is the age from which final rows go. Default 720h.
	PruneAfter time.Duration `yaml:"prune_after"`
	// PruneEvery is how often they are looked for. Default 1h.
	PruneEvery time.Duration `yaml:"prune_every"`
	// Lease is how long a process that died keeps the others from its workers' tasks. Default 15s.
	Lease time.Duration `yaml:"lease"`
}

// Default fills in what is not set.
func (c *LedgerConfig) Default() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.SweepEvery, time.Second}, {&c.SweepAgain, 2 * time.Minute}, {&c.OutboxEvery, time.Second}, {&c.OutboxAgain, 5 * time.Second},
		{&c.RecoverEvery, time.Second}, {&c.RecoverAfter, 5 * time.Second}, {&c.RecoverHorizon, 7 * 24 * time.Hour},
		{&c.AuditEvery, 15 * time.Minute}, {&c.AuditFullEvery, 24 * time.Hour}, {&c.AuditPause, 5 * time.Millisecond},
		{&c.PruneAfter, ledger.PruneAfter}, {&c.PruneEvery, time.Hour}, {&c.Lease, 15 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.SweepBatch, 1000}, {&c.OutboxBatch, 256}, {&c.RecoverBatch, 2000}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.MaxBacklog == 0 {
		c.MaxBacklog = 20_000
	}
}

// Validate tells all faults at once.
func (c *LedgerConfig) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
		low  time.Duration
	}{
		{"sweep_every", c.SweepEvery, 10 * time.Millisecond}, {"sweep_again", c.SweepAgain, time.Second},
		{"outbox_every", c.OutboxEvery, 10 * time.Millisecond}, {"outbox_again", c.OutboxAgain, 100 * time.Millisecond},
		{"recover_every", c.RecoverEvery, 10 * time.Millisecond}, {"recover_after", c.RecoverAfter, 100 * time.Millisecond},
		{"recover_horizon", c.RecoverHorizon, time.Hour}, {"audit_every", c.AuditEvery, time.Second},
		{"audit_full_every", c.AuditFullEvery, time.Second}, {"audit_pause", c.AuditPause, time.Nanosecond},
		{"prune_after", c.PruneAfter, time.Hour}, {"prune_every", c.PruneEvery, time.Second}, {"lease", c.Lease, time.Second},
	} {
		if d.v < d.low {
			errs = append(errs, fmt.Errorf("%s: %v is below %v", d.name, d.v, d.low))
		}
	}
	for _, d := range []struct {
		name string
		v    int
	}{{"sweep_batch", c.SweepBatch}, {"outbox_batch", c.OutboxBatch}, {"recover_batch", c.RecoverBatch}} {
		if d.v < 1 || d.v > 100_000 {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and 100000", d.name, d.v))
		}
	}
	return errors.Join(errs...)
}

// maintainEvery is how often it is looked whether the bus is as it should be.
const maintainEvery = 3 * time.Second

// LedgerDeps is what the ledger's part of the role needs.
type LedgerDeps struct {
	Ledger ledger.Ledger
	Leases index.Leases
	Blobs  blob.Store
	Bus    WorkBus
	// Watch is what monitoring is told of the bus; nil: nothing.
	Watch WatchedBus
	// Maintain makes streams of a bus that processes share where they are missing; nil: nobody need.
	Maintain func(ctx context.Context) error
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
	// Referred tells of frames whether a row refers to them (reclaim.Books.InUse): of those that are gone, the auditor misses
	// no others. Nil where frames are never given back.
	Referred func(ctx context.Context, ids []blob.ID) ([]bool, error)
	// Notes is what recovery leaves for those who give room back (reclaim.Books). Nil where frames are never given back.
	Notes reclaim.Books
	// Holder names this process in leases, unlike any other.
	Holder string
}

// ledgerPart is the ledger's part of the role: two servers and its workers.
type ledgerPart struct {
	cfg    LedgerConfig
	deps   LedgerDeps
	ledger *ledgerServer
	queue  *queueServer
	tasks  []*task
}

// newLedgerPart checks cfg; it starts nothing.
func newLedgerPart(cfg LedgerConfig, deps LedgerDeps) (*ledgerPart, error) {
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Holder == "" {
		return nil, errors.New("store: no name for leases")
	}
	p := &ledgerPart{cfg: cfg, deps: deps}
	m := newLedgerMetrics(deps.Metrics, deps.Now)
	a := &auditor{ledger: deps.Ledger, blobs: deps.Blobs, cfg: &p.cfg, holder: deps.Holder, referred: deps.Referred, now: deps.Now, log: deps.Log, metrics: m.audits}
	sweep := p.task("sweep", cfg.SweepEvery, (&sweeper{ledger: deps.Ledger, bus: deps.Bus, cfg: &p.cfg, metrics: m}).step)
	outbox := p.task("outbox", cfg.OutboxEvery, (&postman{ledger: deps.Ledger, bus: deps.Bus, cfg: &p.cfg, metrics: m}).step)
	lost := newRecovery(deps, &p.cfg, m)
	recover := p.task("recovery", cfg.RecoverEvery, lost.step)
	recover.pause = lost.pause
	// The auditor's lease is asked for more often than it audits: when it dies another takes over within a lease and a third.
	audit := p.task("audit", min(cfg.AuditEvery, cfg.Lease/3), a.step)
	prune := p.task("prune", cfg.PruneEvery, (&pruner{ledger: deps.Ledger, cfg: &p.cfg, now: deps.Now, metrics: m}).step)
	watch := p.task("watch", watchEvery, (&watcher{ledger: deps.Ledger, bus: deps.Watch, lease: cfg.Lease, now: deps.Now, metrics: m.watch}).step)
	p.tasks = []*task{sweep, outbox, recover, audit, prune, watch}
	if deps.Maintain != nil {
		p.tasks = append(p.tasks, p.task("bus", maintainEvery, func(ctx context.Context) (bool, error) { return false, deps.Maintain(ctx) }))
	}
	p.ledger = &ledgerServer{ledger: deps.Ledger, wake: outbox.wakeUp}
	p.queue = &queueServer{ledger: deps.Ledger, audit: a.answer, acted: func() {
		sweep.wakeUp()
		outbox.wakeUp()
		recover.wakeUp()
	}}
	return p, nil
}

// register puts both servers on a gRPC server.
func (p *ledgerPart) register(r grpc.ServiceRegistrar) {
	storev1.RegisterLedgerServer(r, p.ledger)
	storev1.RegisterQueueServer(r, p.queue)
}

// AddLedger adds the ledger to the role: its two services, and its workers. It is called before Register and Run.
func (s *Service) AddLedger(cfg LedgerConfig, deps LedgerDeps) error {
	p, err := newLedgerPart(cfg, deps)
	if err != nil {
		return fmt.Errorf("configure store: %w", err)
	}
	s.servers = append(s.servers, p.register)
	s.workers = append(s.workers, p.run)
	s.deps.Mailboxes = wakingMailboxes{Mailboxes: s.deps.Mailboxes, wake: p.ledger.wake}
	return nil
}

// wakingMailboxes tells the outbox worker of the children that Deliver put in the outbox.
type wakingMailboxes struct {
	index.Mailboxes
	wake func()
}

func (m wakingMailboxes) Deliver(ctx context.Context, deliveries []index.Delivery) ([]index.DeliverResult, error) {
	results, err := m.Mailboxes.Deliver(ctx, deliveries)
	for i := range deliveries {
		if len(deliveries[i].Children) > 0 {
			m.wake()
			break
		}
	}
	return results, err
}

// run runs the workers until ctx ends and gives their leases back.
func (p *ledgerPart) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, t := range p.tasks {
		wg.Go(func() { t.run(ctx) })
	}
	wg.Wait()
	return nil
}

func (p *ledgerPart) task(name string, every time.Duration, step func(context.Context) (bool, error)) *task {
	return &task{
		name: "store." + name, every: every, step: step, lease: p.cfg.Lease, leases: p.deps.Leases, holder: p.deps.Holder,
		log: p.deps.Log, wake: make(chan struct{}, 1),
	}
}

// task is work that one process of many does at a time: the one that holds its lease.
type task struct {
	name   string
	every  time.Duration
	step   func(ctx context.Context) (more bool, err error)
	lease  time.Duration
	leases index.Leases
	holder string
	log    *slog.Logger
	wake   chan struct{}
	// pause says how long to wait after a step that did not fail, where that is not always every.
	pause func() time.Duration

	// What follows only run uses.
	failing bool
	// held is when the lease was last taken, by this process's clock and before it asked.
	held time.Time
}

// wakeUp makes the next step come at once.
func (t *task) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// The wait after a step that failed is bounded by maxPause, and for frequent tasks by shortPause: what they do must go on
// soon after an outage.
const (
	maxPause   = 15 * time.Second
	shortPause = 3 * time.Second
)

// longest bounds the wait after a step that failed.
func (t *task) longest() time.Duration {
	if t.every <= shortPause {
		return shortPause
	}
	return max(maxPause, t.every)
}

func (t *task) run(ctx context.Context) {
	pause := t.every
	for ctx.Err() == nil {
		more, err := t.underLease(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			// Infrastructure that is away is the usual cause: said once, tried again with growing waits.
			if pause = min(max(2*pause, time.Second), t.longest()); !t.failing {
				t.log.WarnContext(ctx, "store worker failed", slog.String("worker", t.name), obs.Error(err))
			}
			t.failing = true
		default:
			if t.failing {
				t.log.InfoContext(ctx, "store worker goes on", slog.String("worker", t.name))
			}
			if t.failing, pause = false, t.every; t.pause != nil {
				pause = t.pause()
			}
		}
		if more && err == nil {
			continue
		}
		t.sleep(ctx, pause)
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.lease)
	defer cancel()
	if err := t.leases.Release(release, t.name, t.holder); err != nil {
		t.log.DebugContext(ctx, "lease not given back", slog.String("worker", t.name), obs.Error(err))
	}
}

func (t *task) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-t.wake:
	}
}

// underLease runs one step, if this process has or gets the lease, and renews it meanwhile. A lease that cannot be renewed
// ends the step.
func (t *task) underLease(ctx context.Context) (more bool, err error) {
	if mine, err := t.acquire(ctx); err != nil || !mine {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { t.renew(ctx, cancel) })
	defer renewing.Wait()
	defer cancel(nil)
	more, err = t.step(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return more, err
}

// acquire takes the lease or finds that a good part of it is left: an idle worker costs the database little.
func (t *task) acquire(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Sub(t.held) < t.lease/3 {
		return true, nil
	}
	t.held = time.Time{}
	holder, err := t.leases.Acquire(ctx, t.name, t.holder, t.lease)
	if err != nil {
		return false, fmt.Errorf("acquire the lease: %w", err)
	}
	if holder == t.holder {
		t.held = now
	}
	return holder == t.holder, nil
}

var errLeaseLost = errors.New("another process has the lease")

func (t *task) renew(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(t.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		try, stop := context.WithTimeout(ctx, t.lease/3)
		holder, err := t.leases.Acquire(try, t.name, t.holder, t.lease)
		stop()
		if err == nil && holder != t.holder {
			err = errLeaseLost
		}
		if err != nil {
			cancel(fmt.Errorf("renew the lease: %w", err))
			return
		}
	}
}

// ledgerMetrics are those of the workers.
type ledgerMetrics struct {
	swept, paused, children, recovered, pruned prometheus.Counter
	candidates, withheld, unreadable           prometheus.Gauge
	audits                                     *auditMetrics
	watch                                      *watchMetrics
}

func newLedgerMetrics(reg prometheus.Registerer, now func() time.Time) *ledgerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_store_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "mailfarm_" + name, Help: help})
	}
	m := &ledgerMetrics{
		swept:      counter("swept_recipients_total", "Recipients that were due and hinted."),
		paused:     counter("sweep_paused_total", "Sweeps put off because much work waits on the bus."),
		children:   counter("outbox_published_total", "Publishes of messages that the farm made."),
		recovered:  counter("recovered_messages_total", "Accepted messages published again by recovery."),
		pruned:     counter("pruned_messages_total", "Messages whose rows were old and final and went."),
		candidates: gauge("store_recovery_candidates", "Durable messages that the ledger does not know yet."),
		withheld:   gauge("store_recovery_withheld", "Messages beyond recovery's horizon that it noted since its start: they wait for an operator."),
		unreadable: gauge("store_recovery_unreadable", "Incarnations of the blob store that recovery cannot read to their end: what lies behind waits."),
		audits:     newAuditMetrics(now),
		watch:      newWatchMetrics(now),
	}
	if reg != nil {
		reg.MustRegister(m.swept, m.paused, m.children, m.recovered, m.pruned, m.candidates, m.withheld, m.unreadable, m.audits, m.watch)
	}
	return m
}
