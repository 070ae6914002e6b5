package s3

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// life is an incarnation of this process.
type life struct {
	id   uint64
	salt uint64
	// ctx ends with the life: what is under way is given up.
	ctx context.Context
	end context.CancelFunc

	next    uint32        // number of the next segment; guarded by writer.mu
	length  uint32        // of the segment placed last; guarded by writer.mu
	durable atomic.Uint32 // segments that are stored, verified, and without a gap before them
	bodies  atomic.Uint64 // last number of a body apart
	over    error         // why it ended; only the writer's answering goroutine uses it
}

// keeper sees to it that this process has an incarnation and tells others that it lives.
type keeper struct {
	s    *Store
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done chan struct{}
	kick chan struct{}

	mu      sync.Mutex // guards what follows
	life    *life
	err     error         // why there is no life; nil while one is being begun
	away    error         // what the last heartbeat failed with
	told    bool          // that the server is away
	changed chan struct{} // closed when life or err change
	own     map[uint64]bool
	left    []uint64 // lives that ended and are to be sealed

	// only the loop uses them
	beats  uint64
	beaten time.Time
}

func (k *keeper) init(s *Store) {
	k.s = s
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.done = make(chan struct{})
	k.kick = make(chan struct{}, 1)
	k.changed = make(chan struct{})
	k.own = map[uint64]bool{}
}

// start begins the first life.
func (k *keeper) start(ctx context.Context) error {
	if err := k.begin(ctx); err != nil {
		return err
	}
	go k.run()
	return nil
}

// begin claims a number and begins a life.
func (k *keeper) begin(ctx context.Context) error {
	l, err := k.claim(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if k.ctx.Err() == nil {
			k.setAway(err)
			k.err = err
		}
	} else {
		k.life, k.err = l, nil
		k.own[l.id] = true
		k.setBack()
		k.beaten = time.Now()
	}
	close(k.changed)
	k.changed = make(chan struct{})
	return err
}

// setAway and setBack tell once that the server went, and once that it is there again. Called with mu held.
func (k *keeper) setAway(err error) {
	k.away = err
	k.s.metrics.away.Set(1)
	if !k.told {
		k.told = true
		k.s.opt.Log.Error("S3 server is away or refuses", obs.Addr(k.s.cfg.Endpoint), obs.Error(err))
	}
}

func (k *keeper) setBack() {
	k.away = nil
	k.s.metrics.away.Set(0)
	if k.told {
		k.told = false
		k.s.opt.Log.Info("S3 server is back", obs.Addr(k.s.cfg.Endpoint))
	}
}

// maxClaims bounds how often a number is tried; each try fails only because another process began at the same moment.
const maxClaims = 100

// claim takes a number that nobody has or had: the conditional put of its claim succeeds once. The number is higher than
// any other's whose claim was there before: where a higher one turns up behind the put, this one is given up unused. So
// whoever has seen a number knows, one listing later, all lower ones.
//
// Numbers follow the clock where it is ahead, so that they are not used again when a bucket was emptied or an older copy
// of it was put back: what the index and the ledger say of an earlier incarnation must not lead to a frame of this one.
func (k *keeper) claim(ctx context.Context) (*life, error) {
	b := k.s.bucket
	for range maxClaims {
		if err := k.s.roster.refresh(ctx); err != nil {
			return nil, fmt.Errorf("list incarnations: %w", err)
		}
		now := k.s.opt.Now()
		id := max(k.s.roster.last()+1, uint64(max(now.Unix(), 0)))
		var random [16]byte
		rand.Read(random[:])
		salt := binary.BigEndian.Uint64(random[:])
		err := b.create(ctx, claimKey(id), contentOf(record(claimMagic, salt, uint64(now.UnixNano()), binary.BigEndian.Uint64(random[8:]))))
		if errors.Is(err, errExists) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("claim incarnation %d: %w", id, err)
		}
		fault.Point("s3.claimed")
		higher := false
		err = b.retry(ctx, func(ctx context.Context) error {
			higher = false
			return b.list(ctx, "inc/", claimKey(id)+"~", func(listed) error { higher = true; return nil })
		})
		if err != nil {
			return nil, fmt.Errorf("look behind incarnation %d: %w", id, err)
		}
		if higher {
			if err := b.remove(ctx, claimKey(id)); err != nil {
				return nil, fmt.Errorf("give up incarnation %d: %w", id, err)
			}
			continue
		}
		l := &life{id: id, salt: salt}
		l.ctx, l.end = context.WithCancel(context.Background())
		return l, nil
	}
	return nil, fmt.Errorf("no incarnation after %d tries", maxClaims)
}

// alive returns the life under way. While one is being begun it waits, but not long; while the server is away it fails
// at once.
func (k *keeper) alive(ctx context.Context) (*life, error) {
	var timeout <-chan time.Time
	for {
		k.mu.Lock()
		l, err, changed := k.life, k.err, k.changed
		k.mu.Unlock()
		if l != nil {
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAway, err)
		}
		if timeout == nil {
			timer := time.NewTimer(k.s.cfg.RequestTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return nil, ErrAway
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Incarnation is the number that this process writes under now; it changes where a life ends in trouble. 0: there is none.
func (s *Store) Incarnation() uint64 {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	if s.keeper.life == nil {
		return 0
	}
	return s.keeper.life.id
}

// failing tells at once whether commits would fail.
func (k *keeper) failing() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life == nil && k.err != nil {
		return fmt.Errorf("%w: %w", ErrAway, k.err)
	}
	return nil
}

// Ready tells whether a message could be stored now, as far as the last request to the server tells.
func (s *Store) Ready() error {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	if s.keeper.away != nil {
		return fmt.Errorf("%w: %w", ErrAway, s.keeper.away)
	}
	return nil
}

// lose ends a life. Commits fail at once from here on where why is a server that is away, and wait for the next life
// otherwise.
func (k *keeper) lose(l *life, reason string, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.end()
	k.s.metrics.endings.WithLabelValues(reason).Inc()
	if k.life != l {
		return
	}
	k.life, k.err = nil, nil
	k.left = append(k.left, l.id)
	if reason == reasonUnknown {
		k.err = why
		k.setAway(why)
	} else {
		k.s.opt.Log.Warn("incarnation ended, another begins", obs.Reason(reason), obs.Error(why))
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

func (k *keeper) isOwn(id uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own[id]
}

// run begins lives, seals those that ended, and gives signs of life.
func (k *keeper) run() {
	defer close(k.done)
	const soon = time.Second
	timer := time.NewTimer(k.s.cfg.Heartbeat)
	defer timer.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.kick:
		case <-timer.C:
		}
		wait := k.s.cfg.Heartbeat
		if !k.step() {
			wait = min(wait, soon)
		}
		timer.Reset(wait)
	}
}

// step does what is to be done, and tells whether all of it succeeded.
func (k *keeper) step() bool {
	k.mu.Lock()
	l := k.life
	k.mu.Unlock()
	if l == nil {
		if k.begin(k.ctx) != nil {
			return false
		}
		k.mu.Lock()
		l = k.life
		k.mu.Unlock()
	}
	if time.Since(k.beaten) >= k.s.cfg.Heartbeat/2 || k.s.Ready() != nil {
		if !k.beat(l) {
			return false
		}
	}
	return k.buryLeft(k.ctx)
}

// beat gives a sign of life.
func (k *keeper) beat(l *life) bool {
	k.beats++
	sign := append(record(beatMagic, k.beats, uint64(l.durable.Load()), 0), k.s.ownTraffic()...)
	err := k.s.bucket.put(k.ctx, claimKey(l.id)+beatSuffix, sign)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.beaten = time.Now()
		k.setBack()
	case k.ctx.Err() == nil:
		k.setAway(err)
	}
	return err == nil
}

// buryLeft seals the lives that ended.
func (k *keeper) buryLeft(ctx context.Context) bool {
	for {
		k.mu.Lock()
		if len(k.left) == 0 {
			k.mu.Unlock()
			return true
		}
		id := k.left[0]
		k.mu.Unlock()
		if err := k.s.bury(ctx, id); err != nil {
			return false
		}
		k.mu.Lock()
		k.left = k.left[1:]
		k.mu.Unlock()
	}
}

// close ends the life in order.
func (k *keeper) close() error {
	k.stop()
	<-k.done
	ctx, cancel := context.WithTimeout(context.Background(), k.s.cfg.RetryFor)
	defer cancel()
	k.mu.Lock()
	l := k.life
	k.mu.Unlock()
	var err error
	if l != nil {
		l.end()
		err = k.s.end(ctx, l.id, l.durable.Load())
	}
	if !k.buryLeft(ctx) && err == nil {
		err = errors.New("an incarnation that ended is not sealed")
	}
	return err
}
