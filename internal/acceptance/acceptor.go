package acceptance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/reply"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Role is whom an Acceptor works for.
type Role string

// Roles.
const (
	Ingress    Role = "ingress"
	Submission Role = "submission"
)

// Acceptor accepts messages for one role.
type Acceptor struct {
	role     Role
	hostname string
	cfg      Config
	deps     Deps
	metrics  *metrics
	points   crashPoints
	outbox   *outbox
	indexers sync.Pool
	// filterRests is until when the filter is not asked, Unix nanoseconds: it has just let a message wait in vain.
	filterRests atomic.Int64
}

// New checks cfg. hostname stands behind "by" in Received fields and in Message-IDs that are added.
func New(role Role, hostname string, cfg Config, deps Deps) (*Acceptor, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("acceptance: %w", err)
	}
	if hostname == "" {
		return nil, errors.New("acceptance: hostname is empty")
	}
	deps.Defaults()
	a := &Acceptor{
		role: role, hostname: hostname, cfg: cfg, deps: deps,
		metrics: newMetrics(deps.Metrics, role), points: pointsOf(role),
		indexers: sync.Pool{New: func() any { return new(message.Indexer) }},
	}
	a.outbox = newOutbox(cfg, deps, a.metrics)
	return a, nil
}

// Run publishes what has been accepted until ctx ends, and then, for as long as one batch may take, what still waits.
// End it after the last Commit. What it leaves is published by recovery.
func (a *Acceptor) Run(ctx context.Context) error { return a.outbox.run(ctx) }

// While publishes as Run does while serve runs, and ends it behind what serve accepted last. serve ends when ctx does.
func (a *Acceptor) While(ctx context.Context, serve func() error) error {
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	published := make(chan error, 1)
	go func() { published <- a.Run(publishing) }()
	err := serve()
	stop()
	return errors.Join(err, <-published)
}

// Unpublished is how many accepted messages wait for the bus.
func (a *Acceptor) Unpublished() int { return a.outbox.len() }

// Options of one message.
type Options struct {
	// Trusted is mail of our own accounts.
	Trusted bool
	// Complete adds Date and Message-ID where they are missing and hides Bcc (RFC 6409 §8).
	Complete bool
}

// Begin opens the message of env, which has everything that is known before the body; Begin keeps it.
// 451 4.3.0 when too much waits for the bus.
func (a *Acceptor) Begin(ctx context.Context, env *mailv1.Envelope, opts Options) (*Message, error) {
	if n := a.outbox.len(); n >= a.cfg.Backlog {
		a.metrics.refused.WithLabelValues("backlog").Inc()
		return nil, reply.Transient(451, "4.3.0", "too much mail is waiting, try again later").
			Because(fmt.Errorf("%d messages wait for the bus", n))
	}
	m := &Message{a: a, env: env, opts: opts, began: a.deps.Now()}
	if err := m.id.from(env); err != nil {
		return nil, err
	}
	draft, err := a.deps.Blobs.Create(noBody)
	if err != nil {
		return nil, a.storeError("begin frame", err)
	}
	m.draft = draft
	m.indexer = a.indexers.Get().(*message.Indexer)
	m.indexer.Reset()
	m.check = a.startCheck(ctx, env, opts.Trusted)
	return m, nil
}

// log is for events of one message.
func (a *Acceptor) log(ctx context.Context, level slog.Level, event string, attrs ...slog.Attr) {
	a.deps.Log.LogAttrs(ctx, level, event, attrs...)
}
