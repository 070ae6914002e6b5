package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// ErrAway is a bus that cannot be reached now. It says nothing of the work.
var ErrAway = errors.New("bus is away")

// Conn is a process's connection to the bus. Its methods may be called at once from many goroutines.
type Conn struct {
	cfg Config
	log *slog.Logger
	nc  *nats.Conn
	js  jetstream.JetStream

	// layout is what the streams' metadata say; nil: not known, or a bus of this process's own.
	layout   atomic.Pointer[layout]
	watching context.CancelFunc // ends watch; nil where it does not run
	watched  chan struct{}      // closed when watch has ended

	failures atomic.Int64 // publishes and questions that failed
	probed   atomic.Int64 // failures when Probe last looked
	failing  atomic.Bool  // what Probe last found
}

// Connect connects to the servers of cfg, whose streams somebody maintains, or with options (embedded.Server gives one) to a
// server of its own, and then makes or updates streams and consumers.
func Connect(ctx context.Context, cfg Config, log *slog.Logger, opts ...nats.Option) (*Conn, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	c := &Conn{cfg: cfg, log: log}
	all := []nats.Option{
		nats.Name("mailfarm"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // while away a publish fails at once: the ledger remembers
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("bus went away", obs.Error(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("bus came back") }),
	}
	login, err := cfg.login()
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	all = append(all, login...)
	url := nats.DefaultURL
	if len(cfg.Servers) > 0 {
		url = joinServers(cfg.Servers)
	}
	nc, err := nats.Connect(url, append(all, opts...)...)
	if err != nil {
		return nil, away(fmt.Errorf("connect to the bus: %w", err))
	}
	c.nc = nc
	c.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err == nil && !c.shared() {
		err = c.setUp(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("set up the bus: %w", err)
	}
	if c.shared() {
		if err := c.look(ctx); err != nil {
			log.WarnContext(ctx, "bus is not set up yet", obs.Error(err))
		}
		watching, stop := context.WithCancel(context.Background())
		c.watching, c.watched = stop, make(chan struct{})
		go func() {
			defer close(c.watched)
			c.watch(watching)
		}()
	}
	return c, nil
}

func joinServers(servers []string) string {
	s := servers[0]
	for _, more := range servers[1:] {
		s += "," + more
	}
	return s
}

// Ready tells whether the bus can be reached and takes work.
func (c *Conn) Ready() error {
	if !c.nc.IsConnected() || c.failing.Load() || c.shared() && c.layout.Load() == nil {
		return ErrAway
	}
	return nil
}

// Probe tells whether every work stream takes work. It asks only if something failed since it last did, or while it finds
// that none is taken. On a bus of its own it makes streams that are gone anew.
func (c *Conn) Probe(ctx context.Context) error {
	if n := c.failures.Load(); n == c.probed.Swap(n) && !c.failing.Load() {
		return nil
	}
	err := c.probe(ctx)
	if err != nil && !c.shared() && c.setUp(ctx) == nil {
		err = c.probe(ctx)
	}
	c.failing.Store(err != nil)
	return err
}

func (c *Conn) probe(ctx context.Context) error {
	for _, s := range WorkSubjects {
		// No consumer takes this one: partitions are numbers.
		if _, err := c.js.Publish(ctx, string(s)+".probe", nil); err != nil {
			return away(fmt.Errorf("probe %s: %w", s, err))
		}
	}
	return nil
}

// Close sends what is under way, waiting for its acknowledgement as long as ctx lasts, and hangs up.
func (c *Conn) Close(ctx context.Context) {
	select {
	case <-c.js.PublishAsyncComplete():
	case <-ctx.Done():
	}
	if c.watching != nil {
		c.watching()
		<-c.watched
	}
	c.nc.Close()
}
