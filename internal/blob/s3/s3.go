// Package s3 keeps blobs in a bucket of an S3 server.
//
//	<prefix>inc/<incarnation>          claim: salt of the writer, made once by a conditional put
//	<prefix>inc/<incarnation>.beat     heartbeat, written again and again while the writer lives
//	<prefix>inc/<incarnation>.end      how many segments it has, once it is dead
//	<prefix>inc/<incarnation>.swept    there once its orphans were removed
//	<prefix>seg/<incarnation>/<n>      segments: a header, then frames one after another; or the seal
//	<prefix>body/<incarnation>/<n>     bodies above the threshold, as they are
//
// Frames that are committed at about the same time share a segment, which is one object. Several segments may be under way
// at once, and answers go out in segment order: nobody hears of success for segment N+1 before N is stored and verified.
// What lies behind a gap was never answered. Reads go by key; only recovery's list of incarnations lists, and that one
// folder, from the oldest living incarnation on.
//
// # Who is dead
//
// No clock is compared with another. A reader calls a writer silent when it saw the same heartbeat for Config.DeadAfter by
// its own monotonic clock, and a silent one dead once it has sealed it: it puts a seal, by a conditional put, at the number
// of the first segment that is missing. Segments are conditional puts as well, so exactly one of the two is stored. A
// writer that only was paused, or cut off, finds the seal where its next segment should go, answers nobody for it, and goes
// on under a new incarnation. So a wrong guess about who is dead costs a few requests and never a message, and an
// incarnation with an end never gets another frame. The server must honour If-None-Match: *, which Open makes sure of.
//
// # Unknown outcomes
//
// A put that timed out, was cut off or answered 5xx is tried again under the same key with the same octets; where the key
// is taken then, what lies there is compared. If the outcome is still unknown when Config.RetryFor is over, those who wait
// get an error, and so do all behind them; the incarnation ends (this process seals it as soon as it can) and a new one
// begins. While the server is away, Create and Commit fail at once.
package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Options are what a Store is given beside its configuration. The zero value of each means its default.
type Options struct {
	// Now is the clock that segments are dated by. Default time.Now.
	Now func() time.Time
	// Log takes what degrades the store. Default slog.Default().
	Log *slog.Logger
	// Registerer takes the metrics. Default none.
	Registerer prometheus.Registerer
}

// Store is a blob store in a bucket. It implements blob.Reclaimer.
type Store struct {
	cfg     Config
	opt     Options
	bucket  *bucket
	metrics *metrics
	cache   *cache
	roster  roster
	ends    ends
	writer  writer
	keeper  keeper
	moves   blob.Moves
	parts   chan struct{} // a slot for each part of a large body under way

	joining atomic.Int64 // drafts that were begun and are not yet on their way
	waiting atomic.Int64 // octets of frames that are being committed
	queue   chan *pending

	mu       sync.Mutex // guards closed, and inflight and tidying against Close
	closed   bool
	inflight sync.WaitGroup // what Close waits for before it stops the writer
	tidying  sync.WaitGroup // removals in the background
}

var (
	_ blob.Reclaimer = (*Store)(nil)
	_ blob.Meter     = (*Store)(nil)
)

// Open begins a new incarnation in the bucket. The configuration must be valid; what it leaves out has its default.
//
// It fails where the server is away (ErrAway), refuses the keys, lacks the bucket, or does not honour conditional puts.
// ctx bounds Open only.
func Open(ctx context.Context, cfg Config, opt Options) (*Store, error) {
	s, err := open(ctx, cfg, opt)
	if err != nil {
		return nil, fmt.Errorf("open blob bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config, opt Options) (_ *Store, err error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.Spool, 0o700); err != nil {
		return nil, fmt.Errorf("spool folder: %w", err)
	}
	s := &Store{
		cfg:   cfg,
		opt:   opt,
		cache: newCache(cfg.CacheBytes),
		queue: make(chan *pending, 256),
		parts: make(chan struct{}, cfg.Parallel),
	}
	if s.metrics, err = newMetrics(opt.Registerer); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.metrics.unregister()
		}
	}()
	if s.bucket, err = newBucket(&s.cfg, s.metrics); err != nil {
		return nil, err
	}
	s.roster.init(s)
	s.keeper.init(s)
	s.writer.init(s)
	if err = s.checkConditions(ctx); err == nil {
		err = s.keeper.start(ctx)
	}
	if err != nil {
		s.bucket.closeIdle()
		if !isFinal(err) && !errors.Is(err, errConditions) && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrAway, err)
		}
		return nil, err
	}
	s.writer.start()
	return s, nil
}

// enter begins something that Close waits for; s.inflight.Done ends it.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return blob.ErrClosed
	}
	s.inflight.Add(1)
	return nil
}

// check tells whether the store can still be asked.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return blob.ErrClosed
	}
	return nil
}

// tidyUnlessClosed does something in the background that Close waits for.
func (s *Store) tidyUnlessClosed(what func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.tidying.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.RetryFor)
		defer cancel()
		what(ctx)
	})
}

// Close waits for drafts being committed and notes where the incarnation ends. Frames that are open can be read until they
// are closed. What else is called answers blob.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.inflight.Wait()
	close(s.queue)
	s.writer.wait()
	err := s.keeper.close()
	s.tidying.Wait()
	s.metrics.unregister()
	s.bucket.closeIdle()
	if err != nil {
		// Nothing is lost: another process seals the incarnation.
		return fmt.Errorf("close blob bucket %s: %w", s.cfg.Bucket, err)
	}
	return nil
}

// errConditions is a server that lets one writer overwrite another's segment.
var errConditions = errors.New("the S3 server does not honour If-None-Match: *, which mailfarm needs")
